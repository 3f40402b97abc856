//! The checkpoints: each must be signed by the log, and have the root of the tree at its size.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::findings::{Difference, Findings, Kind};
use super::tree::Tree;
use super::{Checker, in_folder};
use crate::entry::Millis;
use crate::log::LogError;
use crate::log::checkpoints::{check_tree, verified};
use crate::log::error::Contradiction;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::leaf::Leaf;

/// What is signed.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    /// The number of checkpoints.
    pub(crate) checkpoints: u64,
    /// The number of leaves that the newest one covers; 0 if it is not to be trusted.
    pub(crate) newest: u64,
    /// The checkpoint from elsewhere.
    pub(crate) against: Option<Against>,
}

/// A checkpoint from elsewhere that the log signed.
#[derive(Debug)]
pub(crate) struct Against {
    pub(crate) checkpoint: Checkpoint,
    /// When the last leaf that it covers was stored, by the log.
    pub(crate) stored_at: Option<Millis>,
    /// Whether the tree is the one that it was signed over, grown.
    pub(crate) agrees: bool,
}

impl Checker<'_> {
    /// Checks the newest checkpoint, those that are kept, and the one from elsewhere.
    pub(super) fn signed(&self, tree: &Tree<'_>, found: &Findings) -> Result<Signed, LogError> {
        let path = self.checkpoints.path();
        let mut signed = Signed::default();
        let given_out = self.checkpoints.given_out()?;
        if let Some(note) = &given_out {
            let newest = self.one(Kind::Checkpoint, path, note, tree, found);
            signed.newest = newest.map_or(0, |(checkpoint, _)| checkpoint.size());
        }
        let kept = AtomicU64::new(0);
        self.checkpoints.each()?.par_bridge().for_each(|one| match one {
            Ok(one) => {
                kept.fetch_add(1, Ordering::Relaxed);
                let checked = self.one(Kind::Checkpoint, &one.path, &one.note, tree, found);
                if checked.is_some_and(|(checkpoint, _)| checkpoint.size() != one.size) {
                    let what = "a checkpoint is of another size than its record says";
                    let what = Difference::new(Kind::Checkpoint, what);
                    found.add(what.file(in_folder(&one.path)));
                }
            }
            Err(error) => found.add(Difference::new(Kind::Checkpoint, error.to_string())),
        });
        signed.checkpoints = kept.into_inner() + u64::from(given_out.is_some());
        if given_out.is_none() {
            if signed.checkpoints == 0 {
                return Err(LogError::NoCheckpoint(path.to_owned()));
            }
            let what = "the newest checkpoint is not there, and older ones are";
            found.add(Difference::new(Kind::Checkpoint, what).file(in_folder(path)));
        }
        if let Some((path, note)) = self.against {
            let checked = self.one(Kind::Against, path, note, tree, found);
            signed.against = checked.map(|(checkpoint, agrees)| Against {
                stored_at: last_stored(&checkpoint, tree),
                checkpoint,
                agrees,
            });
        }
        Ok(signed)
    }

    /// Checks a checkpoint. Returns it if it is signed, and whether the tree has its root.
    fn one(
        &self,
        kind: Kind,
        path: &Path,
        note: &[u8],
        tree: &Tree<'_>,
        found: &Findings,
    ) -> Option<(Checkpoint, bool)> {
        let file = match kind {
            Kind::Against => path.display().to_string(),
            _ => in_folder(path),
        };
        let add = |difference: Difference| found.add(difference.file(&file));
        let checkpoint = match verified(note, self.log_keys, path) {
            Ok(checkpoint) => checkpoint,
            Err(LogError::Checkpoint { source, .. }) => {
                add(Difference::new(kind, source.to_string()));
                return None;
            }
            Err(error) => {
                add(Difference::new(kind, error.to_string()));
                return None;
            }
        };
        // The files may have grown, and a checkpoint is signed only after that.
        let checked = match checkpoint.size() > tree.tiles.size() {
            true => match self.reader.tiles() {
                Ok(now) => check_tree(&checkpoint, &now),
                Err(error) => Err(error.into()),
            },
            false => check_tree(&checkpoint, &tree.tiles),
        };
        match &checked {
            Ok(()) => {}
            Err(LogError::Contradiction(contradiction)) => {
                let what = contradiction.to_string();
                let difference = Difference::new(kind, what);
                add(match contradiction {
                    Contradiction::Root { found, signed, .. } => difference.values(found, signed),
                    Contradiction::Shrunk { size, signed } => difference.values(size, signed),
                    _ => difference,
                });
            }
            Err(error) => add(Difference::new(kind, error.to_string())),
        }
        Some((checkpoint, checked.is_ok()))
    }
}

/// When the last leaf that a checkpoint covers was stored, if that can be read.
fn last_stored(checkpoint: &Checkpoint, tree: &Tree<'_>) -> Option<Millis> {
    let last = checkpoint.size().checked_sub(1).filter(|last| *last < tree.leaves)?;
    let record = tree.tiles.record(last).ok()?;
    Leaf::parse(&record).ok().map(|(_, stored_at)| stored_at)
}
