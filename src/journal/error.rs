//! Why the journal cannot go on.

use super::keys::StoreId;
use crate::objects::ObjectError;
use crate::random::NoRandomBytes;

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    /// The object store failed. It may work the next time.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
    /// An object of the protocol cannot be read.
    #[error("{key:?} in the journal is damaged or from a newer version: {why}")]
    Malformed { key: String, why: String },
    /// The numbers of a series have run out. Only a forged object can do this.
    #[error("the numbers of {key:?} in the journal have run out")]
    Full { key: String },
    /// Another process uses the id of this store.
    #[error(
        "another process uses the store id {store}: it wrote {key:?}; stop one of them (a copy of \
         a data directory has the id of the original)"
    )]
    Collision { store: StoreId, key: String },
    /// An operator said that this store is gone.
    #[error("the store {store} was retired from the journal; make a new store")]
    Retired { store: StoreId },
    /// What the store has not read may be deleted.
    #[error(
        "the journal was pruned past this store: it has read epoch {epoch} below {next}, and {} is \
         deleted; rebuild the store from the archive",
        floor.map_or_else(|| "all of it".to_owned(), |floor| format!("everything below {floor}"))
    )]
    Behind {
        epoch: u64,
        next: u64,
        /// `None`: the whole epoch is deleted.
        floor: Option<u64>,
    },
}

impl JournalError {
    /// Whether the same call may succeed later. If not, a store stops and a person has to act.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, JournalError::Objects(_) | JournalError::Random(_))
    }
}
