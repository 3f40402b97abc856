//! The store: entries in segments, and a catalog of them. Only here is SQLite known.
//!
//! - [`directory`]: the data directory and its lock. `sqlite`, `schema`, `row`: how files are opened
//!   and what stands in them. [`catalog`]: which segments there are.

pub mod catalog;
pub mod directory;
mod error;
mod row;
mod schema;
mod sqlite;

pub use directory::Directory;
pub use error::StoreError;
