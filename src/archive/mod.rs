//! The archive: the entries of a store as Parquet files in object storage, for any engine.
//!
//! The format is defined in docs/archive.md.
//!
//! - `layout`: the names of objects. `schema`: the columns of the tables. `rows`: rows in memory.
//! - `encode` and `decode`: a Parquet file. `footer`: what is in a file, and where. `column`: reads a
//!   column. `pages` and `thrift`: check what a file claims first. `entry`: an entry as a row, and back.
//! - `manifest`: which files there are. `place`: creates and reads objects. `leftover`: files
//!   that an interrupted run left.
//! - `archiver`: the thread of `serve`. It uses `segment` (a sealed segment), `late` (what is learned
//!   later), `journal` (how much of a journal is archived), `parts` (the files of a table) and `pace`
//!   (how fast).
//! - `read`: finds the entries that match a query.
//! - `check`: checks an archive by itself. `restore`: reads it back, with `versions`, the newest of
//!   entries. `rebuild`: makes a store of it.
//! - `error`: why the archive cannot be written or read.

pub(crate) mod archiver;
pub(crate) mod check;
mod column;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod entry;
pub(crate) mod error;
mod footer;
mod journal;
mod late;
pub(crate) mod layout;
mod leftover;
pub(crate) mod manifest;
mod pace;
mod pages;
mod parts;
pub(crate) mod place;
pub(crate) mod read;
pub(crate) mod rebuild;
mod restore;
pub(crate) mod rows;
pub(crate) mod schema;
mod segment;
mod thrift;
mod versions;
