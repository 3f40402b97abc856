//! Evidence bundles: entries with the proofs that they stand in the transparency log, for somebody
//! who has no access to the store.
//!
//! - `name`: the files of a bundle. `readme` is the one that explains the others.
//! - [`prove`]: takes entries from the store and proves them. `nodes` remembers hashes of the tree.
//! - [`signed`]: the checkpoint that it has.
//! - [`write`](mod@write): writes a bundle, as a folder or a zip.
//! - [`read`]: reads a bundle that somebody else may have made.
//! - [`check`]: checks what a bundle proves.
//! - `stream`: lines that are too long to be held.

pub(crate) mod check;
mod keys;
pub(crate) mod name;
mod nodes;
pub(crate) mod prove;
pub(crate) mod read;
mod readme;
pub(crate) mod signed;
mod stream;
pub(crate) mod write;

/// The most entries of a bundle. It bounds the memory that a bundle takes to check.
pub(crate) const MAX_ENTRIES: usize = 100_000;
