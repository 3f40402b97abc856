//! Errors of the transparency log.

use std::io;
use std::path::{Path, PathBuf};

use crate::private_key::PrivateKeyError;
use crate::store::StoreError;
use crate::tlog::tree::Hash;
use crate::tlog::{FormatError, VerifyError};

/// Why the log cannot be opened, signed or checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// A file cannot be read or written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// The file of the key has no key that can be used.
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: PrivateKeyError },
    /// The key is refused, or a file is not in its format.
    #[error("{}: {source}", path.display())]
    Format { path: PathBuf, source: FormatError },
    /// The log has begun, and its key is missing.
    #[error(
        "{} is missing, and the log has begun: bring the key back. A new key would begin a new log, which \
         proves nothing of what came before", .0.display()
    )]
    NoKey(PathBuf),
    /// The configuration names another origin than the one that the log has.
    #[error(
        "log.origin is {configured:?}, and the log began with the origin {found:?} ({}): an origin never \
         changes, so set that one, or none", path.display()
    )]
    OtherOrigin { path: PathBuf, configured: String, found: String },
    /// There is no log.
    #[error(
        "{} is not there: `vidimus serve` begins the log of a store on its first run", .0.display()
    )]
    NoLog(PathBuf),
    /// There is no checkpoint yet.
    #[error("{} is not there: the log has no checkpoint yet", .0.display())]
    NoCheckpoint(PathBuf),
    /// A checkpoint is not one of this log.
    #[error("{}: {source}", path.display())]
    Checkpoint { path: PathBuf, source: VerifyError },
    /// A checkpoint cannot be written.
    #[error("cannot write a checkpoint: {0}")]
    Sign(FormatError),
    /// The tree and what was signed contradict each other.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tree contradicts what was signed. To sign it would prove that this log lies, so nothing is
/// signed until a person acts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// Leaves that were signed are gone.
    #[error(
        "the tree has {size} leaves, and a checkpoint of {signed} leaves is signed: leaves are missing"
    )]
    Shrunk { size: u64, signed: u64 },
    /// The tree has other leaves than those that were signed.
    #[error(
        "the root of the first {size} leaves is {found}, and a checkpoint with the root {signed} is \
         signed: leaves were changed"
    )]
    Root { size: u64, found: Hash, signed: Hash },
    /// Another checkpoint was signed at the same size, as by a copy of this store.
    #[error("{} has another checkpoint of the same size: the log was signed twice", .0.display())]
    SignedTwice(PathBuf),
}

/// Adds the file and what was being done.
pub(super) trait FileContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|source| LogError::Io { path: path.to_owned(), doing, source })
    }
}
