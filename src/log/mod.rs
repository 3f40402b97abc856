//! The transparency log of a store: its key, its signed checkpoints, and its check.
//!
//! Every entry has a leaf in a Merkle tree (RFC 6962 section 2.1). The store commits the leaves
//! with the entries, and writes the tree as tiles. This module signs the root of the tree and its
//! size, as a checkpoint. Whoever keeps a checkpoint elsewhere can tell later that nothing of what
//! it covers was removed or changed. docs/proof.md says what is proved and what is not.
//!
//! - [`key`]: the keys of the log, and its origin.
//! - [`checkpoints`]: the files with checkpoints.
//! - [`signer`]: the thread of `serve` that signs. [`anchors`]: what it compares the tree with before.
//! - [`publish`]: the thread that writes the log to a folder or an object store.
//! - [`status`]: how they stand.
//! - [`witness`]: cosignatures of others. [`timestamp`]: time stamps. [`party`]: what both need.
//! - [`check`]: compares the whole store with its tiles and checkpoints.
//! - [`coverage`]: which times are proved complete, and when there was no receiver.
//!
//! The formats are in [`tlog`](crate::tlog).

pub(crate) mod anchors;
pub(crate) mod check;
pub(crate) mod checkpoints;
pub(crate) mod coverage;
mod error;
pub(crate) mod key;
pub(crate) mod party;
pub(crate) mod publish;
pub(crate) mod signer;
pub(crate) mod status;
pub(crate) mod timestamp;
pub(crate) mod witness;

pub(crate) use error::LogError;
