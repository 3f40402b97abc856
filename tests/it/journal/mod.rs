//! The journal: receivers that write it.

mod object;
mod receive;
