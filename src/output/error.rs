//! Errors that stop an output for a while. It retries from the saved cursor.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::net::TlsError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// The store cannot be read, or the cursor cannot be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog with the cursor was lost.
    #[error(
        "the place up to which it wrote was lost with the catalog: `vidimus output reset {0} --since TIME` says where it goes on"
    )]
    CursorLost(String),
    /// A file cannot be written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operation, such as `open`.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The owner or the group of a file or folder cannot be set.
    #[error(
        "{}: cannot change its owner or group: {source}; that needs root or CAP_CHOWN, or a group that \
         the user of this process is in",
        path.display()
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The path is not that of a regular file.
    #[error("{} is no regular file: name another path, or use type = \"stdout\"", .0.display())]
    NoFile(PathBuf),
    /// The file was removed while it was open.
    #[error(
        "{} was removed while it was written to: it is made anew, with what was not saved yet; to begin \
         a new file rename the old one and send SIGHUP",
        .0.display()
    )]
    Removed(PathBuf),
    /// The receiver or endpoint cannot be reached, or does not take the entries.
    #[error("{to}: {why}")]
    Peer {
        /// The address or URL, without secrets.
        to: String,
        /// The reason.
        why: String,
        /// The pause that it asks for.
        retry_after: Option<Duration>,
    },
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cursor was reset. That is no failure: the output starts again from the new one.
    #[error("the output was reset")]
    Reset,
}

impl OutputError {
    /// The pause that the other end asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            OutputError::Peer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Adds the operation and the path to an error of the system.
pub(super) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OutputError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OutputError> {
        self.map_err(|source| OutputError::Io { path: path.to_owned(), doing, source })
    }
}
