//! Errors of the store.

use std::path::{Path, PathBuf};

use crate::random::NoRandomBytes;
use crate::store::origin::Origin;
use crate::tlog::FormatError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// The operation that failed.
        doing: &'static str,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
    /// A file could not be read or written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation that failed.
        doing: &'static str,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The data directory cannot be trusted or used.
    #[error("the data directory {} {what}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// There are no random numbers.
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
    /// A record or a bundle of the log is not in its format.
    #[error("the log: {0}")]
    Log(#[from] FormatError),
    /// A file of the log is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    DamagedLog {
        /// The file or the folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Leaves are neither in the files of the log nor in a segment.
    #[error(
        "the log cannot go on: the leaves {first} to {last} are neither in its files nor in a segment; bring back the folder log of the data directory"
    )]
    LeavesMissing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// Another process writes to the data directory.
    #[error("{} is in use by another vidimus process that writes to it (a `vidimus serve`?); stop it first", .0.display())]
    Locked(PathBuf),
    /// A file was written by a newer version.
    #[error("{} has schema {found}, written by vidimus {program}; this version knows schema {known}: use that version or a newer one", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that is known here.
        known: i64,
        /// The version of the program that wrote it.
        program: String,
    },
    /// The folder of the segments has files that the catalog does not explain.
    #[error(
        "{} holds files that the catalog does not name and whose entries are not seen elsewhere: {}; nothing was changed. Run `vidimus store repair` to take them up, or move them elsewhere",
        folder.display(), files.join(", ")
    )]
    Unexplained {
        folder: PathBuf,
        /// Their names.
        files: Vec<String>,
    },
    /// There are segments and no catalog of them.
    #[error(
        "{} is missing or empty, and there are segments beside it: bring the file back, or run `vidimus store repair`, which makes a new one from the segments", .0.display()
    )]
    NoCatalog(PathBuf),
    /// A live segment has lost its tables.
    #[error(
        "{} is empty, and the catalog says that it takes entries: bring the file back with its -wal file, or run `vidimus store repair`", .0.display()
    )]
    Emptied(PathBuf),
    /// A copy does not have the same entries as its original.
    #[error("{} was copied to {}, and the copy does not have the same entries; nothing was removed", from.display(), to.display())]
    BadCopy {
        /// The original.
        from: PathBuf,
        /// The copy.
        to: PathBuf,
    },
    /// The bytes of a sealed file are not those that were recorded.
    #[error("{} was changed after it was sealed: its SHA-256 is not the recorded one", .0.display())]
    Changed(PathBuf),
    /// A database was not written by Vidimus.
    #[error("{} is not a vidimus database", .0.display())]
    Foreign(PathBuf),
    /// The quarantine has no room.
    #[error(
        "the quarantine is full: {used} of {limit} bytes are used, {wanted} more are wanted; see `vidimus store quarantine list`"
    )]
    QuarantineFull {
        /// Bytes in it.
        used: u64,
        /// The most it may hold.
        limit: u64,
        /// Bytes to add.
        wanted: u64,
    },
    /// The delivery from this place in a journal is stored, in quarantine or dropped already.
    #[error("the delivery at {0} of the journal is stored already")]
    AlreadyStored(Origin),
    /// What was kept elsewhere is not what a store has.
    #[error("cannot restore {0}")]
    NotRestored(String),
    /// There is no item with this number.
    #[error("there is no {what} {id}")]
    NoSuch {
        /// The kind of item.
        what: &'static str,
        /// Its number.
        id: u64,
    },
    /// The lines of a body ended too early.
    #[error("a body was given up after {got} of {expected} lines")]
    Incomplete {
        /// The number of lines received.
        got: usize,
        /// The number of lines announced.
        expected: usize,
    },
    /// Another delivery of the same transaction failed, or the transaction itself.
    #[error("the transaction was rolled back: {0}")]
    RolledBack(String),
    /// A query exceeded its time limit.
    #[error("the query took too long")]
    TimedOut,
    /// The client of a query has left.
    #[error("the client has left")]
    Cancelled,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
}

/// Adds the database and what was being done to what SQLite says.
pub(in crate::store) trait SqliteContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> SqliteContext<T> for Result<T, rusqlite::Error> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Sqlite { path: path.to_owned(), doing, source })
    }
}

impl<T> SqliteContext<T> for Result<T, std::io::Error> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { path: path.to_owned(), doing, source })
    }
}
