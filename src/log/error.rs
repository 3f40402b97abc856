//! Errors of the transparency log.

use std::io;
use std::path::{Path, PathBuf};

use super::witness::Fork;
use crate::objects::ObjectError;
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
        "log.origin is {configured:?}, and the log has the origin {found:?} ({}): set that one, or none. Only \
         `vidimus log fork` changes it", path.display()
    )]
    OtherOrigin { path: PathBuf, configured: String, found: String },
    /// The key is not one that the log has had.
    #[error(
        "{} has the key {found}, and the log has the key {expected}: bring that key back. `vidimus log \
         rotate-key` makes a new key known", path.display()
    )]
    OtherKey { path: PathBuf, found: String, expected: String },
    /// The log had this key before, or has it now.
    #[error("{} has the key {key}, which the log has had before: expected a new key", path.display())]
    OldKey { path: PathBuf, key: String },
    /// A new key cannot be made where the operator keeps it.
    #[error(
        "log.key_file names the key ({}): make a new one elsewhere, as `openssl genpkey -algorithm ed25519 \
         -out FILE` does, and name it with --new-key FILE", .0.display()
    )]
    KeyFile(PathBuf),
    /// The log had this origin before, or has it now.
    #[error("the log has had the origin {0:?} before: expected a new one")]
    OldOrigin(String),
    /// A witness has a key of the log.
    #[error(
        "the witness {witness} has the same key as the log {log}: a log must not be its own witness, so \
         configure another witness"
    )]
    SameKey { log: String, witness: String },
    /// There is no log.
    #[error(
        "{} is not there: `vidimus serve` begins the log of a store on its first run", .0.display()
    )]
    NoLog(PathBuf),
    /// There is no checkpoint yet.
    #[error("{} is not there: the log has no checkpoint yet", .0.display())]
    NoCheckpoint(PathBuf),
    /// No checkpoint over so many leaves is kept.
    #[error("no checkpoint of {0} leaves is kept")]
    NotKept(u64),
    /// A file with checkpoints or with verifier keys is not as it was written.
    #[error("{}: at byte {at}: found {found:?}, expected {expected}", path.display())]
    Damaged { path: PathBuf, at: u64, found: String, expected: &'static str },
    /// A checkpoint from elsewhere, with which this log is to be compared, cannot be had or used.
    #[error("nothing is signed until this log was compared with the anchor {anchor}: {why}")]
    Anchor { anchor: String, why: String },
    /// The place where the log is published has a log of another origin.
    #[error(
        "{place} has a checkpoint of the origin {found:?}, and this log has the origin {expected:?}: a new \
         origin needs a place of its own, so set another log.publish"
    )]
    OtherPublished { place: String, found: String, expected: String },
    /// What is published is not of this log.
    #[error(
        "{place} has a checkpoint that is not of this log, so nothing is published there: {source}"
    )]
    Foreign { place: String, source: VerifyError },
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
    #[error(transparent)]
    Objects(#[from] ObjectError),
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
    #[error("{} has another checkpoint of {size} leaves: the log was signed twice", path.display())]
    SignedTwice { path: PathBuf, size: u64 },
    /// An anchor has a checkpoint of this log over more leaves than there are.
    #[error(
        "the anchor {anchor} has a checkpoint of {found} leaves, and this log has {size}: this is an older \
         state of the log, such as a restored backup or a copy. {}",
        FORK
    )]
    AnchorAhead { anchor: String, found: u64, size: u64 },
    /// An anchor has another tree.
    #[error(
        "the anchor {anchor} has a checkpoint of {size} leaves with the root {found}, expected {expected}: \
         this log and that one went on in different ways. {}",
        FORK
    )]
    AnchorDiffers { anchor: String, size: u64, found: Hash, expected: Hash },
    /// A witness has another log under the same origin.
    #[error("{0}. {FORK}")]
    Witness(#[from] Fork),
    /// Another log is published under the same names.
    #[error(
        "{key} in {place} is not that of this log: another copy of this log is published there. {}",
        FORK
    )]
    Published { place: String, key: String },
}

/// What a person can do.
const FORK: &str = "If the other one is the right one, stop this one. If this one is to go on, \
                    `vidimus log fork` gives it an origin of its own";

impl Contradiction {
    /// Whether another log was found that has the same origin and the same key.
    pub(crate) fn is_fork(&self) -> bool {
        match self {
            Contradiction::Shrunk { .. } | Contradiction::Root { .. } => false,
            Contradiction::SignedTwice { .. }
            | Contradiction::AnchorAhead { .. }
            | Contradiction::AnchorDiffers { .. }
            | Contradiction::Witness(_)
            | Contradiction::Published { .. } => true,
        }
    }
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
