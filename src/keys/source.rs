//! Reading a JWK set from a file or a URL: at most 1 MiB, within 10 seconds.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use crate::config::KeySource;
use crate::net::{Client, ClientError};
use crate::signature::{BadKey, KeySet, KeySetError};

/// The most that a key set may have, in bytes.
const MAX_BYTES: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a key set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file could not be read.
    #[error("cannot read the key set {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file is too large.
    #[error("the key set {0} is larger than 1 MiB, the most that is read")]
    TooLarge(String),
    /// The URL could not be fetched.
    #[error("cannot fetch the key set: {0}")]
    Fetch(#[from] ClientError),
    /// What was read is no key set.
    #[error("{place}: {source}")]
    NotASet {
        /// Where it was read.
        place: String,
        /// What is wrong with it.
        source: KeySetError,
    },
}

/// Reads the key set at `source`: its keys, and those that cannot be used.
pub async fn read(
    source: &KeySource,
    client: &Client,
) -> Result<(KeySet, Vec<BadKey>), SourceError> {
    let json = match source {
        KeySource::File(path) => {
            let shown = path.display().to_string();
            // A set is small and local: not worth a thread.
            read_file(path)
                .map_err(|source| SourceError::File { path: shown.clone(), source })?
                .ok_or(SourceError::TooLarge(shown))?
        }
        KeySource::Url(url) => client.get(url, MAX_BYTES, TIMEOUT).await?,
    };
    KeySet::parse(&json)
        .map_err(|why| SourceError::NotASet { place: source.to_string(), source: why })
}

/// The contents of a file; `None` if it is too large.
fn read_file(path: &std::path::Path) -> io::Result<Option<Vec<u8>>> {
    let mut json = Vec::new();
    File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut json)?;
    Ok((json.len() <= MAX_BYTES).then_some(json))
}
