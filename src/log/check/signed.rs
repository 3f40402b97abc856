//! The checkpoints: each must be signed by the log, and have the root of the tree at its size.

use std::fs;
use std::path::Path;

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
        let sizes = self.checkpoints.sizes()?;
        sizes.par_iter().for_each(|size| {
            let path = self.checkpoints.path_of(*size);
            match fs::read(&path) {
                Ok(note) => {
                    let one = self.one(Kind::Checkpoint, &path, &note, tiles, found);
                    if one.is_some_and(|one| one != *size) {
                        let what = format!("{}: it is of another size", path.display());
                        found.add(Kind::Checkpoint, None, None, what);
                    }
                }
                Err(error) => {
                    let what = format!("{}: {error}", path.display());
                    found.add(Kind::Checkpoint, None, None, what);
                }
            }
        });
        if let Some((path, note)) = self.against {
            self.one(Kind::Against, path, note, tiles, found);
        }
        let checkpoints = 1 + sizes.len() as u64;
        Ok(Signed { checkpoints, newest: newest.unwrap_or(0) })
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
        match verified(note, self.key, path) {
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
