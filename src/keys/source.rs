//! Reads a JWK set from a file or a URL: at most 1 MiB, within 10 seconds.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use crate::config::KeySource;
use crate::net::{Client, ClientError};
use crate::signature::{BadKey, KeySet, KeySetError};

/// The size of the largest key set, in bytes.
const MAX_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a key set could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file cannot be read.
    #[error("cannot read the key set {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file is too large.
    #[error("the key set {0} is larger than 1 MiB, which is the limit")]
    TooLarge(String),
    /// The URL cannot be fetched.
    #[error("cannot fetch the key set: {0}")]
    Fetch(#[from] ClientError),
    /// The file or document is not a key set.
    #[error("{place}: {source}")]
    NotAKeySet {
        /// The file or URL.
        place: String,
        /// What is wrong with the key set.
        source: KeySetError,
    },
}

/// Reads the key set at `source`. Returns its keys, and the keys that cannot be used.
pub(crate) async fn read(
    source: &KeySource,
    client: &Client,
) -> Result<(KeySet, Vec<BadKey>), SourceError> {
    let json = match source {
        KeySource::File(path) => {
            let shown = path.display().to_string();
            // The file is small and local, so it is read without another thread.
            read_file(path)
                .map_err(|source| SourceError::File { path: shown.clone(), source })?
                .ok_or(SourceError::TooLarge(shown))?
        }
        KeySource::Url(url) => client.get(url, MAX_BYTES, TIMEOUT).await?,
    };
    KeySet::parse(&json)
        .map_err(|why| SourceError::NotAKeySet { place: source.to_string(), source: why })
}

/// The contents of a file, or `None` if the file is too large.
fn read_file(path: &std::path::Path) -> io::Result<Option<Vec<u8>>> {
    let mut json = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut json)?;
    Ok((json.len() <= MAX_BYTES).then_some(json))
}
