//! Anchors: checkpoints of this log that are kept outside of its directory.
//!
//! A directory that was copied, or restored from an old backup, agrees with itself. So before its first
//! signature the signer compares the tree with each anchor. An anchor that is behind and agrees is fine. One
//! that is ahead, or has another root, shows that there is another log under the same origin.
//!
//! An anchor that cannot be read, or has no checkpoint of this log, is tried again later, and nothing is
//! signed meanwhile. Entries are received all the same.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::StatusCode;
use tokio::runtime::Handle;

use super::LogError;
use super::checkpoints::verified;
use super::error::Contradiction;
use super::publish::NEWEST;
use super::witness::{CosignError, Fork, Witness};
use crate::net::{Client, ClientError};
use crate::objects::Blocking;
use crate::store::Tiles;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{MAX_BYTES, Note, VerifierKey};
use crate::tlog::tree;

/// How long a URL may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a checkpoint of this log is kept.
#[derive(Clone, Debug)]
pub(crate) enum Anchor {
    /// A file.
    File(PathBuf),
    /// An address over HTTP.
    Url { url: String, client: Box<Client>, runtime: Handle },
    /// The place where the log is published.
    Published(Blocking),
    /// A witness. It is asked how much of the log it has cosigned. One that does not answer passes, because
    /// it must not hold up the log.
    Witness { witness: Arc<Witness>, runtime: Handle },
}

impl Anchor {
    /// The same anchor, for a thread that ends when `stopping` is set.
    pub(super) fn until(self, stopping: &Arc<AtomicBool>) -> Anchor {
        match self {
            Anchor::Published(place) => Anchor::Published(place.until(Arc::clone(stopping))),
            other => other,
        }
    }

    /// Compares the tree with it. `known` is every key that the log has had, and `origin` its origin now.
    /// `has_signed` is whether the log has signed anything: if not, the anchor need not be there. A witness
    /// passes: see [`agrees_with`].
    ///
    /// # Errors
    /// A [`Contradiction`] if the log that it is of is not this one, and [`LogError::Anchor`] if that
    /// cannot be told.
    pub(super) fn compare(
        &self,
        tiles: &Tiles,
        known: &[VerifierKey],
        origin: &str,
        has_signed: bool,
    ) -> Result<(), LogError> {
        let anchor = self.name();
        let cannot = |why| LogError::Anchor { anchor: anchor.clone(), why };
        match self.read().map_err(cannot)? {
            Some(note) => {
                let checkpoint = match verified(&note, known, Path::new(&anchor)) {
                    Err(LogError::Checkpoint { source, .. }) => {
                        return Err(cannot(source.to_string()));
                    }
                    verified => verified?,
                };
                let (found, size) = (checkpoint.origin(), checkpoint.size());
                if found == origin {
                    agrees(&anchor, &checkpoint, tiles)?;
                    tracing::info!(anchor, size, "the log agrees with the anchor");
                } else {
                    tracing::warn!(
                        anchor,
                        "the anchor has a checkpoint of the origin {found:?}, which this log had before: \
                         save a new one there"
                    );
                }
            }
            // Nothing was published yet.
            None if matches!(self, Anchor::Published(_) | Anchor::Witness { .. })
                || !has_signed =>
            {
                tracing::info!(anchor, "the anchor has no checkpoint yet");
            }
            None => {
                return Err(cannot(
                    "it is not there. If this log is no copy and no old state of it, save there what \
                     `vidimus log checkpoint` prints"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Anchor::File(path) => path.display().to_string(),
            Anchor::Url { url, .. } => url.clone(),
            Anchor::Published(place) => place.url().to_string(),
            Anchor::Witness { witness, .. } => witness.status().name().to_owned(),
        }
    }

    /// What it has; `None` if it is not there. The error says why it cannot be read.
    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Anchor::File(path) => read_file(path),
            Anchor::Url { url, client, runtime } => {
                match runtime.block_on(client.get(url, MAX_BYTES, TIMEOUT)) {
                    Ok(note) => Ok(Some(note)),
                    Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
                    Err(error) => Err(error.to_string()),
                }
            }
            Anchor::Published(place) => match place.get(NEWEST) {
                Ok(found) => Ok(found.map(Into::into)),
                Err(error) => Err(error.to_string()),
            },
            // It gives no checkpoints: see `agrees_with`.
            Anchor::Witness { .. } => Ok(None),
        }
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| format!("cannot read it: {error}"))?,
    };
    let mut note = Vec::new();
    let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut note);
    read.map_err(|error| format!("cannot read it: {error}"))?;
    match note.len() > MAX_BYTES {
        true => Err(format!("it is too large: expected at most {MAX_BYTES} bytes")),
        false => Ok(Some(note)),
    }
}

/// Asks a witness how much it has cosigned. `newest` is the newest checkpoint, which covers all that was
/// ever signed. Returns whether it answered.
///
/// # Errors
/// A [`Contradiction`] if it has cosigned more, or another tree.
pub(super) fn agrees_with(
    witness: &Witness,
    runtime: &Handle,
    newest: &Note,
) -> Result<bool, LogError> {
    let anchor = witness.status().name();
    let signed = Checkpoint::parse(newest.text()).map_err(LogError::Sign)?.size();
    // A time-out is made inside of the runtime.
    let ask = async { tokio::time::timeout(TIMEOUT, witness.ask_size(newest)).await };
    let asked = runtime.block_on(ask);
    match asked {
        Ok(Ok(found)) if found > signed => {
            let fork = Fork::Larger(anchor.to_owned(), found, signed);
            Err(Contradiction::Witness(fork).into())
        }
        Ok(Ok(size)) => {
            tracing::info!(anchor, size, "the log agrees with the witness");
            Ok(true)
        }
        Ok(Err(CosignError::Fork(fork))) => Err(Contradiction::Witness(fork).into()),
        Ok(Err(error)) => {
            tracing::warn!(anchor, %error, "the log is not compared with the witness");
            Ok(false)
        }
        Err(_) => {
            tracing::warn!(anchor, "the log is not compared with the witness: it does not answer");
            Ok(false)
        }
    }
}

/// Compares a tree with a verified checkpoint of its origin that an anchor has.
///
/// # Errors
/// A [`Contradiction`] if the checkpoint is of another log.
pub(super) fn agrees(anchor: &str, checkpoint: &Checkpoint, tiles: &Tiles) -> Result<(), LogError> {
    let (anchor, size) = (anchor.to_owned(), checkpoint.size());
    if size > tiles.size() {
        let (found, size) = (size, tiles.size());
        return Err(Contradiction::AnchorAhead { anchor, found, size }.into());
    }
    let (found, expected) = (*checkpoint.root(), tree::root(tiles, size)?);
    match found == expected {
        true => Ok(()),
        false => Err(Contradiction::AnchorDiffers { anchor, size, found, expected }.into()),
    }
}
