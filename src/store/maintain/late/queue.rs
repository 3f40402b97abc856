//! What is left to be checked again, a slice at a time.
//!
//! It may be so much that it takes long, and other things must go on between the slices. Nothing of
//! it is kept: what is not done when the program ends is found again in the segments.

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

/// What of a segment is left. What was never tried comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PendingKind {
    /// What was stored without being tried.
    NotTried,
    /// What else a new key may make valid.
    AwaitsKey,
}

impl PendingKind {
    /// Which entries they are, in SQL over those of a segment.
    fn condition(self) -> String {
        match self {
            PendingKind::NotTried => NOT_TRIED.to_owned(),
            PendingKind::AwaitsKey => format!("{AWAITING_KEY} AND NOT {NOT_TRIED}"),
        }
    }
}

/// What is left to be checked again.
#[derive(Default)]
pub(in crate::store) struct RecheckQueue {
    judge: Option<Arc<dyn Judge>>,
    /// Segments, named by their first ids.
    left: BTreeSet<(PendingKind, u64)>,
    /// Those that could not be checked.
    failed: BTreeSet<(PendingKind, u64)>,
    /// All that were closed when they were looked at last: a closed one gets no new entries.
    seen: BTreeSet<u64>,
    /// Where entries are looked for that have the same signature. It keeps files open, so it is there only
    /// while something is left.
    older: Option<OlderSegments>,
    /// What is being checked, and the last entry of it that was.
    at: Option<((PendingKind, u64), u64)>,
    /// How many verdicts have changed.
    changed: u64,
}

/// What a step has done.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Progress {
    /// Some entries of a segment are done.
    Entries,
    /// A whole segment is done. A sealed one may have been written anew.
    Segment,
}

impl RecheckQueue {
    /// Whether it is known how to judge.
    pub(in crate::store) fn has_judge(&self) -> bool {
        self.judge.is_some()
    }

    /// Begins with all that a new key may make valid, in every segment that takes no more appends.
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

    /// Adds what was not tried, in the segments that were closed since they were looked at last.
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

    /// Takes up again what could not be checked.
    pub(in crate::store) fn take_up_failed(&mut self) {
        self.left.append(&mut self.failed);
    }

    /// The segment that is checked next; `None` if nothing is left.
    pub(in crate::store) fn current(&self) -> Option<u64> {
        self.left.first().map(|(_, first_id)| *first_id)
    }

    /// How many verdicts have changed since this was asked.
    pub(in crate::store) fn take_changed(&mut self) -> u64 {
        std::mem::take(&mut self.changed)
    }

    /// Checks the next entries. A sealed segment of which more than a tenth has changed in the end is
    /// written anew: `switched` is called as `seal` does. A segment where that fails is left until it is
    /// taken up again.
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
        // It may have been sealed since, or given up by retention.
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

/// Writes a sealed segment anew of which more than a tenth has changed.
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
