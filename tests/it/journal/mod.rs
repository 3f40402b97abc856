//! The journal: object stores, receivers that write it, and stores that read it.

mod chaos;
mod check;
mod object;
mod object_stores;
mod rebuilt;
mod receive;
mod source;
