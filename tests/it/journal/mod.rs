//! The journal: receivers that write it, and stores that read it.

mod object;
mod receive;
mod source;
