//! Compares the whole store with its tiles and checkpoints. It changes nothing.
//!
//! - Here: the report, and the order of the steps. First the store is checked for itself, as `store
//!   check` does: that finds columns that do not come from the line.
//! - `signed`: the newest checkpoint, those that are kept, and one from elsewhere. The root of each
//!   must be that of the tree at its size.
//! - `tree`: each hash of the tiles is computed from the records of the leaves or from the tile
//!   below it, and each leaf of an entry must have its entry, unless the log or the catalog say
//!   where it went.
//! - `entries`: each entry must be as its leaf says.
//!
//! So a change anywhere is found, unless everything above it was changed too, up to the root: then
//! the root is another one than that of a checkpoint that somebody kept.

mod entries;
mod signed;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::LogError;
use super::checkpoints::Checkpoints;
use crate::entry::words::words;
use crate::store::{CheckOptions, Reader};
use crate::tlog::note::VerifierKey;

words! {
    /// What differs.
    pub(crate) enum Kind {
        /// A checkpoint of this log: its signature, its size or its root.
        Checkpoint = "checkpoint",
        /// The checkpoint from elsewhere: the tree is not the one that it was signed over, grown.
        Against = "against",
        /// A hash of a tile, or a tile that cannot be read.
        Tile = "tile",
        /// The record of a leaf.
        Leaf = "leaf",
        /// An entry that is not as its leaf says.
        Entry = "entry",
        /// An entry that has a leaf and is not there.
        Missing = "missing",
        /// An entry without a leaf of its own.
        Added = "added",
        /// What `store check` finds.
        Store = "store",
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// The leaf that it is about.
    pub(crate) leaf: Option<u64>,
    /// The entry that it is about.
    pub(crate) id: Option<u64>,
    /// What was found and what was expected.
    pub(crate) what: String,
}

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct LogReport {
    /// The number of leaves in the tiles.
    pub(crate) leaves: u64,
    /// The number of entries that were compared with their leaves.
    pub(crate) entries: u64,
    /// The number of entries that were stored before the log began.
    pub(crate) older: u64,
    /// The number of entries whose verdict or input changed after they were stored, by the catalog.
    pub(crate) changed: u64,
    /// The number of checkpoints.
    pub(crate) checkpoints: u64,
    /// The number of leaves that no checkpoint covers.
    pub(crate) unsigned: u64,
    /// The number of differences.
    pub(crate) differences: u64,
    /// The first differences.
    pub(crate) first: Vec<Difference>,
}

/// What is compared.
pub(crate) struct Checker<'a> {
    pub(crate) reader: &'a Reader,
    /// The keys that the checkpoints may be signed with.
    pub(crate) keys: &'a [VerifierKey],
    pub(crate) checkpoints: &'a Checkpoints,
    /// A checkpoint from elsewhere: its file, and the note.
    pub(crate) against: Option<(&'a Path, &'a [u8])>,
    /// How many differences are listed.
    pub(crate) shown: usize,
}

impl Checker<'_> {
    /// Checks everything. `progress` is called with the number of steps that are done and of all: a
    /// step is an entry or a leaf, and each entry is read twice.
    ///
    /// # Errors
    /// When there is no checkpoint, or the catalog or the files of the log cannot be opened.
    pub(crate) fn check(
        &self,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<LogReport, LogError> {
        let tiles = self.reader.tiles()?;
        let leaves = tiles.size();
        let found = Findings { shown: self.shown, ..Findings::default() };
        let signed = self.signed(&tiles, &found)?;
        let options = CheckOptions { shown: self.shown, strict: false, gaps: false };
        let store = self.reader.check(options, &|done, all| progress(done, 2 * all + leaves))?;
        found.add_all(
            store.differences,
            store.first.into_iter().map(|one| Difference {
                kind: Kind::Store,
                leaf: None,
                id: one.id,
                what: format!("{}: {}", one.file, one.what),
            }),
        );
        let steps = Steps {
            done: AtomicU64::new(store.entries),
            all: 2 * store.entries + leaves,
            progress,
        };
        let start = tree::check(self.reader, &tiles, &found, &steps)?;
        let compared = entries::check(self.reader, &tiles, &found, &steps, start)?;
        let Inner { differences, first } =
            found.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(LogReport {
            leaves,
            entries: compared.entries,
            older: compared.older,
            changed: compared.changed,
            checkpoints: signed.checkpoints,
            unsigned: leaves.saturating_sub(signed.newest),
            differences,
            first: first.into_iter().collect(),
        })
    }
}

/// How far the check is.
struct Steps<'a> {
    done: AtomicU64,
    all: u64,
    progress: &'a (dyn Fn(u64, u64) + Sync),
}

impl Steps<'_> {
    fn add(&self, steps: u64) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        (self.progress)(done, self.all.max(done));
    }
}

/// The differences that were found.
#[derive(Default)]
struct Findings {
    inner: Mutex<Inner>,
    shown: usize,
}

#[derive(Default)]
struct Inner {
    differences: u64,
    first: BTreeSet<Difference>,
}

impl Findings {
    fn add(&self, kind: Kind, leaf: Option<u64>, id: Option<u64>, what: impl Into<String>) {
        self.add_all(1, [Difference { kind, leaf, id, what: what.into() }]);
    }

    /// Adds this many differences, of which some are listed.
    fn add_all(&self, count: u64, listed: impl IntoIterator<Item = Difference>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.differences += count;
        inner.first.extend(listed);
        while inner.first.len() > self.shown {
            inner.first.pop_last();
        }
    }
}
