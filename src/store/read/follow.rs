//! Entries as they come: by rising id, and then those whose verdict changed.
//!
//! Ids are dense over all segments, so where a follower stands is one number, and a second one for
//! the changes. A gap in the ids is what retention gave up before it was read; it is reported.

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

/// What a follower sees.
#[derive(Debug)]
pub enum Event {
    /// A new entry.
    New(Record),
    /// An entry that was there before, whose verdict is another one now.
    Changed(Record),
    /// Entries that are there no more.
    Missed {
        /// The id of the first.
        from: u64,
        /// The id of the last.
        to: u64,
    },
}

/// What came since the last time.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// In their order; none if nothing came that matches.
    pub events: Vec<Event>,
    /// Whether there may be more at once.
    pub more: bool,
}

/// Reads what comes.
pub struct Follow<'a> {
    scan: IdScan<'a>,
    change: u64,
}

/// Reads what there is, by rising id.
pub struct Export<'a> {
    scan: IdScan<'a>,
}

/// How many ids are looked at in one snapshot.
const SLICE: u64 = if cfg!(test) { 7 } else { 1000 };

/// How many ids are looked at in one snapshot where only ids are wanted of them.
const SWEEP: u64 = if cfg!(test) { 5 } else { 10_000 };

impl Reader {
    /// Follows what matches, from `position` on.
    pub fn follow(&self, filter: &Filter, position: Position) -> Follow<'_> {
        let query = Query::new(filter);
        let (next_id, last_id) = (position.next_id, MAX_ID);
        let scan = IdScan { reader: self, query, next_id, last_id, only_lines: false };
        Follow { scan, change: position.change }
    }

    /// Reads all that matches and is there now.
    pub fn export(&self, filter: &Filter, range: TimeRange) -> Result<Export<'_>, StoreError> {
        let query = Query::new(&range.and(filter));
        let last_id = self.greatest_id()?;
        let scan = IdScan { reader: self, query, next_id: 1, last_id, only_lines: false };
        Ok(Export { scan })
    }

    /// The position from which a follower sees the newest `count` entries that match, and then what
    /// comes.
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

    /// Those of these entries of the segment `first_id` that match, in the order of their ids.
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
    /// Reads of each new entry its line and little else (`lines`): what it has besides is missing.
    pub fn only_lines(mut self) -> Self {
        self.scan.only_lines = true;
        self
    }

    /// Where it stands: what was given out is before it.
    pub fn position(&self) -> Position {
        Position { next_id: self.scan.next_id, change: self.change }
    }

    /// What came since.
    ///
    /// Changes come first, and only those of entries that were given out or passed over before: an
    /// entry that is new is given out as it is now.
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
        // Of the changes of one entry the last one tells what it is now.
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
            // They are reported in the order of the ids, mostly.
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
                // There is no room for more. What is between belongs to entries that were told.
                self.change = at.saturating_sub(1);
                return Ok(EventBatch { events, more: true });
            }
            rest = others;
        }
        self.change = last;
        Ok(EventBatch { events, more: true })
    }
}

/// A change that is told.
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

/// Goes up the ids.
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
            // Or retention was faster: next time it is a gap.
            return Ok(EventBatch { more: true, ..EventBatch::default() });
        };
        let more = next_id > self.next_id;
        self.next_id = next_id;
        Ok(EventBatch { events: records.into_iter().map(Event::New).collect(), more })
    }
}

/// The records of these entries that match, as many as are read at once, and the id after them.
fn read(
    segment: &Database,
    query: &Query,
    ids: RangeInclusive<u64>,
    overlaid: Overlaid,
) -> rusqlite::Result<(Vec<Record>, u64)> {
    let (start, ids) = (*ids.start(), Ids::Range(ids));
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
