//! The queue of segments to check again, a slice at a time.
//!
//! A recheck may take long, so other work is done between the slices. The queue is only in memory:
//! after a restart, the remaining entries are found again in the segments.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Judge, awaiting, older_rules, recheck_slice};
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::seal;
use crate::store::segment::{AWAITING_KEY, NOT_TRIED};
use crate::store::write::duplicates::OlderSegments;

/// The entries of a segment to check. Entries that were never tried come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PendingKind {
    /// Entries that were stored without being tried.
    NotTried,
    /// Other entries that a new key may make valid.
    AwaitsKey,
}

impl PendingKind {
    /// The condition for these entries, in SQL.
    fn condition(self) -> String {
        match self {
            PendingKind::NotTried => NOT_TRIED.to_owned(),
            PendingKind::AwaitsKey => format!("{AWAITING_KEY} AND NOT {NOT_TRIED}"),
        }
    }
}

/// The queue of segments to check again.
#[derive(Default)]
pub(in crate::store) struct RecheckQueue {
    judge: Option<Arc<dyn Judge>>,
    /// Segments, by their first ids.
    left: BTreeSet<(PendingKind, u64)>,
    /// Segments that could not be checked.
    failed: BTreeSet<(PendingKind, u64)>,
    /// All segments that were closed at the last look. A closed segment gets no new entries.
    seen: BTreeSet<u64>,
    /// For finding entries with the same signature. It keeps files open, so it exists only while
    /// the queue is not empty.
    older: Option<OlderSegments>,
    /// The segment in progress, and its last checked entry.
    at: Option<((PendingKind, u64), u64)>,
    /// The number of changed verdicts.
    changed: u64,
}

/// The result of a step.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Progress {
    /// Some entries were checked.
    Entries,
    /// A segment is finished. If it is sealed, it may have been rewritten.
    Segment,
}

impl RecheckQueue {
    /// Whether there are keys to check with.
    pub(in crate::store) fn has_judge(&self) -> bool {
        self.judge.is_some()
    }

    /// Starts a recheck of all closed segments with a new key.
    pub(in crate::store) fn begin(
        &mut self,
        catalog: &Catalog,
        judge: Arc<dyn Judge>,
    ) -> Result<(), StoreError> {
        let before = std::mem::take(self);
        self.changed = before.changed;
        self.judge = Some(judge);
        self.add(catalog, &[PendingKind::NotTried, PendingKind::AwaitsKey])
    }

    /// Adds the entries that were not tried, in segments that were closed since the last look.
    pub(in crate::store) fn add_not_tried(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        self.add(catalog, &[PendingKind::NotTried])
    }

    fn add(&mut self, catalog: &Catalog, what: &[PendingKind]) -> Result<(), StoreError> {
        let by_older_rules = catalog.under_older_rules()?;
        for segment in catalog.segments()? {
            let Some(closed) = &segment.closed else { continue };
            let is_new = self.seen.insert(segment.first_id);
            if is_new && (closed.awaiting_key > 0 || by_older_rules.contains(&segment.first_id)) {
                self.left.extend(what.iter().map(|what| (*what, segment.first_id)));
            }
        }
        Ok(())
    }

    /// Retries the segments that could not be checked.
    pub(in crate::store) fn take_up_failed(&mut self) {
        self.left.append(&mut self.failed);
    }

    /// The next segment. `None` if the queue is empty.
    pub(in crate::store) fn current(&self) -> Option<u64> {
        self.left.first().map(|(_, first_id)| *first_id)
    }

    /// The number of changed verdicts since the last call.
    pub(in crate::store) fn take_changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    /// Checks the next entries. A sealed segment with more than a tenth of its entries changed is
    /// then rewritten, and `switched` is called as in `seal`. A segment that fails is retried
    /// later.
    pub(in crate::store) fn step(
        &mut self,
        directory: &Directory,
        catalog: &Catalog,
        stopping: &AtomicBool,
        switched: &dyn Fn(),
    ) -> Result<Progress, StoreError> {
        let (Some(&what), Some(judge)) = (self.left.first(), self.judge.clone()) else {
            return Ok(Progress::Segment);
        };
        let step = self.check(what, directory, catalog, judge.as_ref(), stopping);
        let step = step.and_then(|step| match step {
            Progress::Segment => {
                write_anew_if_changed(directory, catalog, what.1, switched).map(|()| step)
            }
            Progress::Entries => Ok(step),
        });
        if matches!(step, Ok(Progress::Entries)) {
            return step;
        }
        self.left.remove(&what);
        if step.is_err() {
            self.failed.insert(what);
        }
        if self.left.is_empty() {
            self.older = None;
        }
        step
    }

    fn check(
        &mut self,
        what @ (left, first_id): (PendingKind, u64),
        directory: &Directory,
        catalog: &Catalog,
        judge: &dyn Judge,
        stopping: &AtomicBool,
    ) -> Result<Progress, StoreError> {
        // It may have been sealed or deleted in the meantime.
        let segments = catalog.segments()?;
        let segment = segments.iter().find(|segment| segment.first_id == first_id).cloned();
        let older =
            self.older.get_or_insert_with(|| OlderSegments::new(directory.clone(), Vec::new()));
        older.set(segments);
        let Some((segment, closed)) =
            segment.and_then(|segment| Some((segment.clone(), segment.closed?)))
        else {
            return Ok(Progress::Segment);
        };
        let database = segment.open(directory)?;
        if left == PendingKind::AwaitsKey && catalog.under_older_rules()?.contains(&first_id) {
            let ids = first_id..=closed.last_id;
            self.changed += older_rules::recheck(catalog, older, ids, &database, judge, stopping)?;
        }
        let after = self.at.filter(|(at, _)| *at == what).map_or(0, |(_, after)| after);
        let slice = awaiting(&database, &left.condition(), after);
        let slice = slice.doing("read a segment", database.path())?;
        let Some(last) = slice.last() else { return Ok(Progress::Segment) };
        let last = last.id;
        self.changed += recheck_slice(catalog, older, slice, judge, stopping)?;
        self.at = Some((what, last));
        Ok(Progress::Entries)
    }
}

/// Rewrites a sealed segment with more than a tenth of its entries changed.
fn write_anew_if_changed(
    directory: &Directory,
    catalog: &Catalog,
    first_id: u64,
    switched: &dyn Fn(),
) -> Result<(), StoreError> {
    let segments = catalog.segments()?;
    let sealed = |one: &&Segment| one.first_id == first_id && one.is_sealed();
    let Some(segment) = segments.iter().find(sealed) else { return Ok(()) };
    let last_id = segment.closed.as_ref().map_or(first_id, |closed| closed.last_id);
    let changed = catalog.overlay().count_changed(&(first_id..=last_id));
    let changed = changed.doing("count late verdicts", catalog.path())?;
    let entries = last_id + 1 - first_id;
    if changed * 10 > entries {
        seal::seal(directory, catalog, segment, switched)?;
    }
    Ok(())
}
