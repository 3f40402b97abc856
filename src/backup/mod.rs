//! Backups of a store in object storage, and their restoration. The format is defined in docs/store.md.
//!
//! - `manifest`: what a backup has. `upload`: makes a backup. `download`: restores one.
//!
//! Objects are only created, never replaced or deleted. A file is kept under its SHA-256, so a file that
//! an earlier backup has is not put again. The manifest is created last: without it there is no backup.
//! The functions block, and must not be called on a thread of the runtime.

mod download;
mod manifest;
mod upload;

use crate::objects::ObjectError;
use crate::store::StoreError;

pub(crate) use self::download::restore;
pub(crate) use self::upload::{Uploaded, backup};

/// The bytes of a part of a file. It bounds the memory, and a part must pass in the time for a call.
const PART: u64 = 32 << 20;

/// Why a backup in object storage cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// The object store failed.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is not there.
    #[error("{key:?} is missing in the backup")]
    Missing { key: String },
    /// An object is not what its name, the manifest or the format says.
    #[error("{key:?} is damaged: {what}")]
    Damaged { key: String, what: String },
    /// A file could not be read in one piece.
    #[error("{name} changed while it was backed up")]
    Changed { name: String },
    /// The place has backups of another store.
    #[error(
        "{url} has backups of the store {found}, and this is the store {expected}: name another prefix"
    )]
    OtherStore { url: String, found: String, expected: String },
    /// There is no such backup.
    #[error("{url} has no backup{}", number.map(|number| format!(" with the number {number}")).unwrap_or_default())]
    NoBackup { url: String, number: Option<u64> },
    /// Other backups take every number that is tried.
    #[error("{url} has no free number for the backup after {last}")]
    NoNumber { url: String, last: u64 },
    /// Segments go faster than they are uploaded.
    #[error("segments of the store were replaced or deleted faster than they could be uploaded")]
    Hurried,
}

/// The name of a part of the file with this SHA-256.
fn part_key(sha256: &str, part: u64) -> String {
    format!("files/{sha256}/{part:04}")
}

/// The parts of a file of so many bytes: their numbers, where they begin and their lengths.
fn parts(bytes: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    (0..bytes.div_ceil(PART)).map(move |part| {
        let start = part * PART;
        (part, start, PART.min(bytes - start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_files() {
        let check = |bytes, expected: &[(u64, u64, u64)]| {
            assert_eq!(parts(bytes).collect::<Vec<_>>(), expected, "{bytes}");
        };
        check(0, &[]);
        check(1, &[(0, 0, 1)]);
        check(PART, &[(0, 0, PART)]);
        check(PART + 1, &[(0, 0, PART), (1, PART, 1)]);
        assert!(parts(u64::MAX).next().is_some());
    }
}
