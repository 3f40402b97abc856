//! The checkpoints: each must be signed by the log, and have the root of the tree at its size.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::{Checker, Findings, Kind};
use crate::log::LogError;
use crate::log::checkpoints::{check_tree, verified};
use crate::store::Tiles;

/// What is signed.
#[derive(Clone, Copy, Default)]
pub(super) struct Signed {
    /// The number of checkpoints.
    pub(super) checkpoints: u64,
    /// The number of leaves that the newest one covers; 0 if it is not to be trusted.
    pub(super) newest: u64,
}

impl Checker<'_> {
    /// Checks the newest checkpoint, those that are kept, and the one from elsewhere.
    pub(super) fn signed(&self, tiles: &Tiles, found: &Findings) -> Result<Signed, LogError> {
        let path = self.checkpoints.path();
        let note = self.checkpoints.given_out()?;
        let note = note.ok_or_else(|| LogError::NoCheckpoint(path.to_owned()))?;
        let newest = self.one(Kind::Checkpoint, path, &note, tiles, found);
        let checkpoints = AtomicU64::new(1);
        self.checkpoints.each()?.par_bridge().for_each(|kept| match kept {
            Ok(kept) => {
                checkpoints.fetch_add(1, Ordering::Relaxed);
                self.one(Kind::Checkpoint, &kept.path, &kept.note, tiles, found);
            }
            Err(error) => found.add(Kind::Checkpoint, None, None, error.to_string()),
        });
        if let Some((path, note)) = self.against {
            self.one(Kind::Against, path, note, tiles, found);
        }
        Ok(Signed { checkpoints: checkpoints.into_inner(), newest: newest.unwrap_or(0) })
    }

    /// Checks a checkpoint. Returns its size if it is signed.
    fn one(
        &self,
        kind: Kind,
        path: &Path,
        note: &[u8],
        tiles: &Tiles,
        found: &Findings,
    ) -> Option<u64> {
        let add = |what: String| found.add(kind, None, None, what);
        match verified(note, self.keys, path) {
            Ok(checkpoint) => {
                if let Err(error) = check_tree(&checkpoint, tiles) {
                    add(format!("{}: {error}", path.display()));
                }
                Some(checkpoint.size())
            }
            // It names the file.
            Err(error) => {
                add(error.to_string());
                None
            }
        }
    }
}
