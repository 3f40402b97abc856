//! What can stop an output for a while. It tries again from the cursor that it saved last.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::net::TlsError;
use crate::store::StoreError;

/// An error of an output.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The store cannot be read, or the cursor not be saved.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The catalog that had its cursor is lost.
    #[error(
        "the place up to which it wrote was lost with the catalog: `vidimus output reset {0} --since TIME` says where it goes on"
    )]
    CursorLost(String),
    /// A file cannot be written.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A file, or a folder, cannot be given away.
    #[error(
        "{}: cannot change its owner or group: {source}; that needs root or CAP_CHOWN, or a group that \
         the user of this process is in",
        path.display()
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else than a file stands where one is to be written.
    #[error("{} is no regular file: name another path, or use type = \"stdout\"", .0.display())]
    NoFile(PathBuf),
    /// What was written went to a file that has no name any more.
    #[error(
        "{} was removed while it was written to: it is made anew, with what was not saved yet; to begin \
         a new file rename the old one and send SIGHUP",
        .0.display()
    )]
    Removed(PathBuf),
    /// The other end cannot be reached, or does not take what it is sent.
    #[error("{to}: {why}")]
    Peer {
        /// Where it is, without secrets.
        to: String,
        /// What went wrong there.
        why: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Somebody reset the cursor. That is no error: it begins anew.
    #[error("the output was reset")]
    Reset,
}

impl OutputError {
    /// How long the other end asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            OutputError::Peer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Adds the file and what was being done to what the system says.
pub(super) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OutputError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, OutputError> {
        self.map_err(|source| OutputError::Io { path: path.to_owned(), doing, source })
    }
}
