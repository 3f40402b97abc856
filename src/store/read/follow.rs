//! Follows a store: new entries in order of id, and entries whose verdict changed.
//!
//! Ids are dense over all segments, so a position is one id and the number of a change. If ids are
//! missing, retention deleted the entries before they were read, and the follower reports them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::entry::Record;
use crate::search::Filter;
use crate::store::catalog::outputs::Position;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::query::{Query, TimeRange};
use crate::store::read::records::{Budget, Overlaid};
use crate::store::read::{Reader, lines};
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids};
use crate::store::sqlite::{Database, MAX_ID};

/// An event for a follower.
#[derive(Debug)]
pub enum Event {
    /// A new entry.
    New(Record),
    /// An entry that was there before and whose verdict changed.
    Changed(Record),
    /// Entries that no longer exist.
    Missed {
        /// The id of the first.
        from: u64,
        /// The id of the last.
        to: u64,
    },
}

/// The events since the last call.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// The events in order. Empty if nothing matches.
    pub events: Vec<Event>,
    /// Whether there may be more events already.
    pub more: bool,
}

/// Follows new entries and changes.
pub struct Follow<'a> {
    scan: IdScan<'a>,
    change: u64,
}

/// Reads the existing entries in order of id.
pub struct Export<'a> {
    scan: IdScan<'a>,
}

/// The number of ids per snapshot.
const SLICE: u64 = if cfg!(test) { 7 } else { 1000 };

/// The number of ids per snapshot when only ids are read.
const SWEEP: u64 = if cfg!(test) { 5 } else { 10_000 };

impl Reader {
    /// Follows the entries that match, from `position` on.
    pub fn follow(&self, filter: &Filter, position: Position) -> Follow<'_> {
        let query = Query::new(filter);
        let (next_id, last_id) = (position.next_id, MAX_ID);
        let scan = IdScan { reader: self, query, next_id, last_id, only_lines: false };
        Follow { scan, change: position.change }
    }

    /// Reads all existing entries that match.
    pub fn export(&self, filter: &Filter, range: TimeRange) -> Result<Export<'_>, StoreError> {
        let query = Query::new(&range.and(filter));
        let last_id = self.greatest_id()?;
        let scan = IdScan { reader: self, query, next_id: 1, last_id, only_lines: false };
        Ok(Export { scan })
    }

    /// The position from which a follower sees the newest `count` matching entries and then new ones.
    pub fn newest(&self, filter: &Filter, count: usize) -> Result<Position, StoreError> {
        let change = self.catalog(|catalog| {
            catalog.overlay().last_change().doing("read the changes", catalog.path())
        })?;
        let query = Query::new(filter);
        let last_id = self.greatest_id()?;
        let (mut next_id, mut left) = (last_id.saturating_add(1), count);
        for segment in self.segments()?.into_iter().rev() {
            let mut end = segment.end().min(last_id);
            while left > 0 && end >= segment.first_id {
                let start = end.saturating_sub(SWEEP - 1).max(segment.first_id);
                let ids = self.matching(segment.first_id, &query, start..=end)?;
                let found = ids.iter().rev().take(left);
                left -= found.len();
                next_id = found.min().copied().unwrap_or(next_id);
                end = start.saturating_sub(1);
            }
        }
        Ok(Position { next_id, change })
    }

    /// The entries among `ids` of the segment `first_id` that match, in order of id.
    fn matching(
        &self,
        first_id: u64,
        query: &Query,
        ids: RangeInclusive<u64>,
    ) -> Result<Vec<u64>, StoreError> {
        let ids = Ids::Range(ids);
        let found = self.visit(
            first_id,
            |overlay, _| {
                let overlaid = overlay.overlaid(&ids)?;
                let changed = match overlaid.is_empty() {
                    true => Vec::new(),
                    false => matching(overlay, query, &ids)?,
                };
                Ok((overlaid, changed))
            },
            |segment, _, (overlaid, mut all)| {
                let own = matching(segment, query, &ids)?;
                all.extend(own.into_iter().filter(|id| overlaid.binary_search(id).is_err()));
                all.sort_unstable();
                Ok(all)
            },
        )?;
        Ok(found.unwrap_or_default())
    }
}

fn matching(entries: &impl Entries, query: &Query, ids: &Ids<'_>) -> rusqlite::Result<Vec<u64>> {
    let mut found = Vec::new();
    entries.each(&Sql::from("id"), query.condition(entries.columns()), ids, |row| {
        found.push(row.get(0)?);
        Ok(())
    })?;
    Ok(found)
}

impl Follow<'_> {
    /// Reads only the line and a few fields of each new entry (see `lines`).
    pub fn only_lines(mut self) -> Self {
        self.scan.only_lines = true;
        self
    }

    /// The position. Everything before it was returned.
    pub fn position(&self) -> Position {
        Position { next_id: self.scan.next_id, change: self.change }
    }

    /// The events since the last call.
    ///
    /// Changes come first, and only for entries before the position. New entries are returned in
    /// their newest version.
    pub fn poll(&mut self) -> Result<EventBatch, StoreError> {
        self.scan.reader.close_removed();
        let news = self.changes()?;
        match news.more {
            true => Ok(news),
            false => self.scan.next(),
        }
    }

    fn changes(&mut self) -> Result<EventBatch, StoreError> {
        let IdScan { reader, query, next_id, .. } = &self.scan;
        let (changes, segments) = reader.catalog(|catalog| {
            let changes = catalog.overlay().changes(self.change, SLICE);
            let changes = changes.doing("read the changes", catalog.path())?;
            let segments = if changes.is_empty() { Vec::new() } else { catalog.segments()? };
            Ok((changes, segments))
        })?;
        let Some(last) = changes.last().map(|change| change.number) else {
            return Ok(EventBatch::default());
        };
        // Only the last change of an entry is reported.
        let newest: HashMap<u64, u64> =
            changes.iter().map(|change| (change.entry, change.number)).collect();
        let reported: Vec<ReportedChange> = changes
            .iter()
            .filter(|change| change.entry < *next_id)
            .filter(|change| newest.get(&change.entry) == Some(&change.number))
            .filter_map(|change| {
                let segment = segments.iter().rfind(|one| one.first_id <= change.entry)?;
                (change.entry <= segment.end()).then_some(())?;
                Some(ReportedChange {
                    at: change.number,
                    entry: change.entry,
                    first_id: segment.first_id,
                })
            })
            .collect();
        let (mut events, mut budget, mut rest) = (Vec::new(), Budget::new(), reported.as_slice());
        while let Some(ReportedChange { first_id, .. }) = rest.first() {
            // Entries with rising ids of one segment are read together.
            let rises = |one: &ReportedChange, next: &ReportedChange| {
                one.first_id == next.first_id && one.entry < next.entry
            };
            let run =
                1 + rest.iter().zip(rest.iter().skip(1)).take_while(|(a, b)| rises(a, b)).count();
            let (run, others) = rest.split_at(run);
            let ids: Vec<u64> = run.iter().map(|reported| reported.entry).collect();
            let (mut records, read) = reader.records(*first_id, &ids, query, &mut budget)?;
            let seen = ids.iter().take(read);
            events.extend(seen.filter_map(|id| records.remove(id)).map(Event::Changed));
            if let Some(ReportedChange { at, .. }) = run.get(read) {
                // The budget is used up. The changes in between belong to entries that were reported.
                self.change = at.saturating_sub(1);
                return Ok(EventBatch { events, more: true });
            }
            rest = others;
        }
        self.change = last;
        Ok(EventBatch { events, more: true })
    }
}

/// A change that is reported.
struct ReportedChange {
    /// Its number.
    at: u64,
    entry: u64,
    /// The segment of the entry.
    first_id: u64,
}

impl Export<'_> {
    /// The next entries; none at the end.
    pub fn next_slice(&mut self) -> Result<Vec<Record>, StoreError> {
        loop {
            let EventBatch { events, more } = self.scan.next()?;
            let records: Vec<_> = events
                .into_iter()
                .filter_map(|event| match event {
                    Event::New(record) | Event::Changed(record) => Some(record),
                    Event::Missed { .. } => None,
                })
                .collect();
            if !more || !records.is_empty() {
                return Ok(records);
            }
        }
    }
}

/// Reads entries in order of id.
struct IdScan<'a> {
    reader: &'a Reader,
    query: Query,
    next_id: u64,
    last_id: u64,
    only_lines: bool,
}

impl IdScan<'_> {
    /// The next slice of entries, or the next gap.
    fn next(&mut self) -> Result<EventBatch, StoreError> {
        if self.next_id > self.last_id {
            return Ok(EventBatch::default());
        }
        let (own, later) = self.reader.catalog(|catalog| {
            Ok((catalog.segment_of(self.next_id)?, catalog.segment_after(self.next_id)?))
        })?;
        match (own, later) {
            (Some(first_id), later) => self.slice(first_id, later),
            (None, Some(first_id)) => {
                let (from, to) = (self.next_id, first_id.saturating_sub(1));
                self.next_id = first_id;
                Ok(EventBatch { events: vec![Event::Missed { from, to }], more: true })
            }
            (None, None) => Ok(EventBatch::default()),
        }
    }

    fn slice(&mut self, first_id: u64, later: Option<u64>) -> Result<EventBatch, StoreError> {
        let (start, end) = (self.next_id, self.next_id.saturating_add(SLICE - 1).min(self.last_id));
        let query = &self.query;
        let found = self.reader.visit(
            first_id,
            |overlay, segment| {
                Overlaid::read(overlay, query, &Ids::Range(start..=end.min(segment.end())))
            },
            |database, segment, overlaid| {
                let ids = start..=end.min(segment.end());
                match self.only_lines {
                    true => lines::read(database, query, ids, overlaid),
                    false => read(database, query, ids, overlaid),
                }
            },
        )?;
        let Some((records, next_id)) = found else {
            if self.reader.leaves_out(first_id) {
                self.next_id = later.unwrap_or(self.last_id.saturating_add(1));
            }
            // Else retention deleted it, and the next call finds a gap.
            return Ok(EventBatch { more: true, ..EventBatch::default() });
        };
        let more = next_id > self.next_id;
        self.next_id = next_id;
        Ok(EventBatch { events: records.into_iter().map(Event::New).collect(), more })
    }
}

/// The records of the first of these entries that match, within the budget, and the id after them.
fn read(
    segment: &Database,
    query: &Query,
    ids: RangeInclusive<u64>,
    overlaid: Overlaid,
) -> rusqlite::Result<(Vec<Record>, u64)> {
    let start = *ids.start();
    // A condition on long lines is costly: no more lines are searched than may be read.
    let all: Vec<u64> = ids.collect();
    let (_, left) = Budget::new().split(segment, &all)?;
    let end = left.first().map_or(*all.last().unwrap_or(&start), |next| next - 1);
    let ids = Ids::Range(start..=end);
    let mut matches = Sql::default();
    matches.push("id, (").add(query.condition(segment.columns())).push(")");
    let (mut wanted, mut next_id, mut has_ended) = (Vec::new(), start, false);
    segment.each(&matches, &Sql::from("1"), &ids, |row| {
        let id: u64 = row.get(0)?;
        has_ended |= overlaid.ends_before(id);
        if !has_ended {
            if row.get::<_, Option<bool>>(1)? == Some(true) || overlaid.contains(id) {
                wanted.push(id);
            }
            next_id = id.saturating_add(1);
        }
        Ok(())
    })?;
    let (wanted, left) = Budget::new().split(segment, &wanted)?;
    let mut records = overlaid.records(segment, query, wanted)?;
    let in_order = wanted.iter().filter_map(|id| records.remove(id)).collect();
    Ok((in_order, left.first().copied().unwrap_or(next_id)))
}
