//! Compares the whole store with its tiles and checkpoints. It changes nothing.
//!
//! - Here: the report, and the order of the steps.
//! - `tree`: each hash of the tiles is computed from the records of the leaves or from the tile below
//!   it, and each leaf of an entry must have its entry, unless a leaf says where it went.
//! - `said`: what the leaves say that are not of entries.
//! - `signed`: the newest checkpoint, those that are kept, and one from elsewhere. The root of each
//!   must be that of the tree at its size.
//! - `lists`: what the catalog lists, and the sealed files.
//! - `entries`: each entry must be as its leaf says, and as `store check` finds that its line says.
//! - `findings`: what was found to differ.
//!
//! So a change anywhere is found, unless everything above it was changed too, up to the root: then
//! the root is another one than that of a checkpoint that somebody kept.
//!
//! A running `serve` writes the catalog and the log one after the other. So the lists are read before
//! the leaves, and what differs is compared again at the end, with what is there then. Only what
//! differs both times is a difference.

mod entries;
mod findings;
mod lists;
mod said;
mod signed;
mod tree;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::entries::Compared;
pub(crate) use self::findings::Difference;
pub(crate) use self::signed::Against;
pub(crate) use self::tree::GoneEntries;

use self::entries::{Comparison, Entries};
use self::findings::{Findings, Kind};
use self::lists::Older;
use self::tree::{Leaves, Tree};
use super::LogError;
use super::checkpoints::Checkpoints;
use crate::signature::KeySet;
use crate::store::{self, CheckOptions, Reader, StoreError};
use crate::tlog::note::VerifierKey;

/// The result of a check.
#[derive(Debug, Default)]
pub(crate) struct LogReport {
    /// The number of leaves in the tiles.
    pub(crate) leaves: u64,
    /// The number of entries that were compared with their leaves, and of which.
    pub(crate) compared: Compared,
    /// The number of entries that are gone, as the log says.
    pub(crate) gone: GoneEntries,
    /// The number of checkpoints.
    pub(crate) checkpoints: u64,
    /// The number of leaves that no checkpoint covers.
    pub(crate) unsigned: u64,
    /// The checkpoint from elsewhere, if it is signed.
    pub(crate) against: Option<Against>,
    /// The number of differences.
    pub(crate) differences: u64,
    /// The number of differences that were listed.
    pub(crate) listed: u64,
}

/// What is compared.
pub(crate) struct Checker<'a> {
    pub(crate) reader: &'a Reader,
    /// The keys that the checkpoints may be signed with.
    pub(crate) log_keys: &'a [VerifierKey],
    pub(crate) checkpoints: &'a Checkpoints,
    /// The folder of the log.
    pub(crate) folder: &'a Path,
    /// A checkpoint from elsewhere: its file, and the note.
    pub(crate) against: Option<(&'a Path, &'a [u8])>,
    /// The keys that every signature is verified with. `None`: those that the store has seen.
    pub(crate) keys: Option<Arc<KeySet>>,
    /// The id from which on entries are read.
    pub(crate) from: u64,
    /// How many differences are listed.
    pub(crate) shown: usize,
}

/// Whoever a check reports to.
pub(crate) struct Progress<'a> {
    /// Called with the number of steps that are done and of all. A step is a leaf or an entry.
    pub(crate) steps: &'a (dyn Fn(u64, u64) + Sync),
    /// Called when all entries before this one are compared, and their differences are listed.
    pub(crate) next: &'a dyn Fn(u64),
    /// Called with each difference that is listed.
    pub(crate) differs: &'a mut dyn FnMut(&Difference),
}

/// The number of slices of entries whose differences are listed together.
const BLOCK: usize = 64;

impl Checker<'_> {
    /// Checks everything.
    ///
    /// # Errors
    /// When there is no checkpoint, or the catalog or a file cannot be opened.
    pub(crate) fn check(&self, progress: &mut Progress<'_>) -> Result<LogReport, LogError> {
        let found = Findings::new(self.shown);
        let mut report = LogReport::default();
        let lists = self.reader.catalog_lists()?;
        let tree = match Tree::open(self.reader, &found) {
            Err(StoreError::DamagedLog { path, what }) => {
                found.add(Difference::new(Kind::Tile, what).file(in_folder(&path)));
                self.list(&found, &mut report, progress);
                return Ok(report);
            }
            tree => tree?,
        };
        let options = CheckOptions {
            shown: self.shown,
            gaps: false,
            keys: self.keys.clone(),
            ..CheckOptions::default()
        };
        let store = self.reader.begin_check(options)?;
        store.files()?;
        found.take_from(&store);
        let mut slices = store.slices();
        slices.retain(|slice| *slice.ids.end() >= self.from);
        let entries: u64 = slices.iter().map(store::Slice::count).sum();
        let all = tree.leaves.saturating_add(entries);
        let steps = Steps { done: AtomicU64::new(0), all, report: progress.steps };

        let Leaves { mut said, without_entry } = tree.check(&steps);
        tree.kept(&mut said)?;
        let signed = self.signed(&tree, &found)?;
        let older = match said.start.map(|start| lists::older(self.folder, start)) {
            Some(Ok(older)) => older,
            Some(Err(difference)) => {
                found.add(*difference);
                Older::new()
            }
            None => Older::new(),
        };
        let differ = lists::compare(&lists, &store.hashed(), &said, &older);
        self.list(&found, &mut report, progress);

        let entries = Entries {
            reader: self.reader,
            tree: &tree,
            comparison: Comparison {
                said: &said,
                found: &found,
                last_change: lists.changes.values().copied().max().unwrap_or(0),
            },
            compared: Mutex::default(),
        };
        for block in slices.chunks(BLOCK) {
            entries.check(block, &store, &steps);
            self.list(&found, &mut report, progress);
            if let Some(last) = block.last() {
                (progress.next)(last.ids.end().saturating_add(1));
            }
        }
        report.compared = entries.compared.into_inner().unwrap_or_else(PoisonError::into_inner);

        tree.newer(&mut said)?;
        if !differ.is_empty() {
            let now = self.reader.catalog_lists()?;
            let still = lists::compare(&now, &store.hashed(), &said, &older);
            for difference in differ.intersection(&still) {
                if !self.is_being_sealed(difference, &now) {
                    found.add(difference.clone());
                }
            }
        }
        report.gone = tree.missing(without_entry, &said.gone());
        self.list(&found, &mut report, progress);
        report.leaves = tree.leaves;
        report.checkpoints = signed.checkpoints;
        report.unsigned = tree.leaves.saturating_sub(signed.newest);
        report.against = signed.against;
        Ok(report)
    }

    /// Whether a running `serve` may be about to write the leaf of the segment that it sealed last.
    fn is_being_sealed(&self, difference: &Difference, lists: &store::CatalogLists) -> bool {
        let newest = lists.segments.iter().rfind(|segment| segment.is_sealed);
        difference.what == lists::NOT_SEALED
            && newest.is_some_and(|segment| Some(segment.first_id) == difference.id)
            && self.reader.is_being_written()
    }

    /// Lists what was found since the last time.
    fn list(&self, found: &Findings, report: &mut LogReport, progress: &mut Progress<'_>) {
        let (count, first) = found.take();
        report.differences += count;
        let left = (self.shown as u64).saturating_sub(report.listed);
        for difference in first.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            (progress.differs)(difference);
            report.listed += 1;
        }
    }
}

/// How far the check is.
struct Steps<'a> {
    done: AtomicU64,
    all: u64,
    report: &'a (dyn Fn(u64, u64) + Sync),
}

impl Steps<'_> {
    fn add(&self, steps: u64) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        (self.report)(done, self.all.max(done));
    }
}

/// The name of a file of the log in the data directory.
fn in_folder(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take_while(|part| *part != "log").collect();
    let name: PathBuf = ["log".as_ref()].into_iter().chain(parts.into_iter().rev()).collect();
    name.display().to_string()
}

/// Ids that follow one another, as text.
fn span(ids: &RangeInclusive<u64>) -> String {
    match ids.start() == ids.end() {
        true => ids.start().to_string(),
        false => format!("{} to {}", ids.start(), ids.end()),
    }
}
