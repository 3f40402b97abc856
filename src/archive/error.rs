//! Why the archive cannot be written or read.

use crate::objects::ObjectError;
use crate::store::StoreError;

/// Why the archive cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The object store failed.
    #[error(transparent)]
    Objects(ObjectError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry of the store cannot be read.
    #[error("the entry {id} cannot be read in its segment {file:?}")]
    Entry { id: u64, file: String },
    /// Parquet cannot be written or read.
    #[error("cannot {doing} {key:?}: {why}")]
    Parquet { doing: &'static str, key: String, why: String },
    /// An object is not there.
    #[error("{key:?} is not in the archive")]
    Missing { key: String },
    /// An object is not what the manifest or the format says.
    #[error("{key:?} is damaged: {what}")]
    Damaged { key: String, what: String },
    /// Another process writes the archive of the same store.
    #[error(
        "the archive has another {key}: two stores have the same id, such as a store and a restored \
         copy of it; only one of them may write the archive"
    )]
    Conflict { key: String },
    /// The archive lacks segments that were there, and that the store no longer has.
    #[error(
        "{url} has lost segments that the store no longer has: {segments}, the first with the entries {} \
         to {}; bring its objects back, for example from earlier versions of them or from a copy, or \
         set another url of [archive]: the archive there begins with what the store still has",
        ids.0, ids.1
    )]
    Lost { url: String, segments: usize, ids: (u64, u64) },
    /// The archive has no store, or several.
    #[error("{0}")]
    WhichStore(String),
    /// A word of a query cannot be searched for.
    #[error("cannot search for a word of the query: {0}")]
    Word(#[from] regex::Error),
    /// The work was stopped because the program ends.
    #[error("the program is ending")]
    Stopped,
}

impl From<ObjectError> for ArchiveError {
    fn from(error: ObjectError) -> ArchiveError {
        match error {
            ObjectError::Stopped => ArchiveError::Stopped,
            error => ArchiveError::Objects(error),
        }
    }
}

impl ArchiveError {
    /// Whether the store failed, and not the archive.
    pub(super) fn is_of_store(&self) -> bool {
        matches!(self, ArchiveError::Store(_) | ArchiveError::Entry { .. })
    }

    /// Names what is wrong with an object.
    pub(crate) fn damaged(key: &str, what: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged { key: key.to_owned(), what: what.into() }
    }

    /// Turns an error of the crate `parquet` into one that names the object.
    pub(crate) fn parquet<'k, E: std::fmt::Display>(
        doing: &'static str,
        key: &'k str,
    ) -> impl FnOnce(E) -> ArchiveError + 'k {
        move |error| ArchiveError::Parquet { doing, key: key.to_owned(), why: error.to_string() }
    }
}
