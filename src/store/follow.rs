//! Entries as they come: by rising id, and then those whose verdict changed.
//!
//! Ids are dense over all segments, so where a follower stands is one number, and a second one for
//! the changes. A gap in the ids is what retention gave up before it was read; it is reported.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::filter::Sql;
use super::lines;
use super::newest::hidden;
use super::overlay;
use super::query::{Query, TimeRange, as_integer};
use super::read::{MAX_ID, Reader};
use super::records::{Budget, Later, length};
use super::sqlite::Database;
use crate::entry::Record;
use crate::search::Filter;

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The id of the next entry.
    pub next_id: u64,
    /// The number of the last change that was seen.
    pub change: u64,
}

impl Position {
    /// Before the oldest entry.
    pub const OLDEST: Position = Position { next_id: 1, change: 0 };
}

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
pub struct News {
    /// In their order; none if nothing came that matches.
    pub events: Vec<Event>,
    /// Whether there may be more at once.
    pub more: bool,
}

/// Reads what comes.
pub struct Follow<'a> {
    ascent: Ascent<'a>,
    change: u64,
}

/// Reads what there is, by rising id.
pub struct Export<'a> {
    ascent: Ascent<'a>,
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
        let ascent = Ascent { reader: self, query, next_id, last_id, only_lines: false };
        Follow { ascent, change: position.change }
    }

    /// Reads all that matches and is there now.
    pub fn export(&self, filter: &Filter, range: TimeRange) -> Result<Export<'_>, StoreError> {
        let query = Query::new(&range.and(filter));
        let last_id = self.greatest_id()?;
        let ascent = Ascent { reader: self, query, next_id: 1, last_id, only_lines: false };
        Ok(Export { ascent })
    }

    /// The position from which a follower sees the newest `count` entries that match, and then what
    /// comes.
    pub fn newest(&self, filter: &Filter, count: usize) -> Result<Position, StoreError> {
        let change = self.catalog("read the changes", |catalog| overlay::last_change(catalog))?;
        let query = Query::new(filter);
        let last_id = self.greatest_id()?;
        let (mut next_id, mut left) = (last_id.saturating_add(1), count);
        for place in self.places()?.into_iter().rev() {
            let mut end = place.end().min(last_id);
            while left > 0 && end >= place.first_id {
                let start = end.saturating_sub(SWEEP - 1).max(place.first_id);
                let ids = self.matching(place.first_id, &query, start, end)?;
                let found = ids.iter().rev().take(left);
                left -= found.len();
                next_id = found.min().copied().unwrap_or(next_id);
                end = start.saturating_sub(1);
            }
        }
        Ok(Position { next_id, change })
    }

    /// The ids from `start` to `end` of the segment `first_id` that match, in their order.
    fn matching(
        &self,
        first_id: u64,
        query: &Query,
        start: u64,
        end: u64,
    ) -> Result<Vec<u64>, StoreError> {
        let found = self.visit(
            first_id,
            |catalog, _| {
                let hidden = hidden(catalog, &(start..=end))?;
                let changed = match hidden.is_empty() {
                    true => Vec::new(),
                    false => matching(catalog, query, start, end)?,
                };
                Ok((hidden, changed))
            },
            |segment, _, (hidden, mut ids)| {
                let own = matching(segment, query, start, end)?;
                ids.extend(own.into_iter().filter(|id| hidden.binary_search(id).is_err()));
                ids.sort_unstable();
                Ok(ids)
            },
        )?;
        Ok(found.unwrap_or_default())
    }
}

fn matching(
    connection: &Database,
    query: &Query,
    start: u64,
    end: u64,
) -> rusqlite::Result<Vec<u64>> {
    let mut sql = Sql::default();
    sql.push("SELECT id FROM entries WHERE id >= ").bind(as_integer(start));
    sql.push(" AND id <= ").bind(as_integer(end));
    sql.push(" AND (").add(query.condition(connection.columns())).push(")");
    let mut statement = connection.prepare_cached(&sql.text)?;
    statement.query_map(params_from_iter(&sql.parameters), |row| row.get(0))?.collect()
}

impl Follow<'_> {
    /// Reads of each new entry its line and little else (`lines`): what it has besides is missing.
    pub fn only_lines(mut self) -> Self {
        self.ascent.only_lines = true;
        self
    }

    /// Where it stands: what was given out is before it.
    pub fn position(&self) -> Position {
        Position { next_id: self.ascent.next_id, change: self.change }
    }

    /// What came since.
    ///
    /// Changes come first, and only those of entries that were given out or passed over before: an
    /// entry that is new is given out as it is now.
    pub fn poll(&mut self) -> Result<News, StoreError> {
        self.ascent.reader.close_removed();
        let news = self.changes()?;
        match news.more {
            true => Ok(news),
            false => self.ascent.next(),
        }
    }

    fn changes(&mut self) -> Result<News, StoreError> {
        let Ascent { reader, query, next_id, .. } = &self.ascent;
        // The number of a change, and the entry with its segment.
        let changes: Vec<(u64, u64, Option<u64>)> =
            reader.catalog("read the changes", |catalog| {
                catalog
                    .prepare_cached(
                        "SELECT change, entry,
                                (SELECT max(first_id) FROM segments WHERE first_id <= entry)
                         FROM changes WHERE change > ?1 ORDER BY change LIMIT ?2",
                    )?
                    .query_map((self.change, SLICE), |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })?
                    .collect()
            })?;
        let Some((last, ..)) = changes.last() else { return Ok(News::default()) };
        // Of the changes of one entry the last one tells what it is now.
        let newest: HashMap<u64, u64> =
            changes.iter().map(|(at, entry, _)| (*entry, *at)).collect();
        let told: Vec<Told> = changes
            .iter()
            .filter(|(at, entry, _)| entry < next_id && newest.get(entry) == Some(at))
            .filter_map(|(at, entry, first_id)| {
                Some(Told { at: *at, entry: *entry, first_id: (*first_id)? })
            })
            .collect();
        let (mut events, mut budget, mut rest) = (Vec::new(), Budget::new(), told.as_slice());
        while let Some(Told { first_id, .. }) = rest.first() {
            // They are told in the order of the ids, mostly.
            let rises =
                |one: &Told, next: &Told| one.first_id == next.first_id && one.entry < next.entry;
            let run =
                1 + rest.iter().zip(rest.iter().skip(1)).take_while(|(a, b)| rises(a, b)).count();
            let (run, others) = rest.split_at(run);
            let ids: Vec<u64> = run.iter().map(|told| told.entry).collect();
            let (mut records, read) = reader.records(*first_id, &ids, query, &mut budget)?;
            let seen = ids.iter().take(read);
            events.extend(seen.filter_map(|id| records.remove(id)).map(Event::Changed));
            if let Some(Told { at, .. }) = run.get(read) {
                // There is no room for more. What is between belongs to entries that were told.
                self.change = at.saturating_sub(1);
                return Ok(News { events, more: true });
            }
            rest = others;
        }
        self.change = *last;
        Ok(News { events, more: true })
    }
}

/// A change that is told.
struct Told {
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
            let News { events, more } = self.ascent.next()?;
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
struct Ascent<'a> {
    reader: &'a Reader,
    query: Query,
    next_id: u64,
    last_id: u64,
    only_lines: bool,
}

impl Ascent<'_> {
    /// The next slice of entries, or the next gap.
    fn next(&mut self) -> Result<News, StoreError> {
        if self.next_id > self.last_id {
            return Ok(News::default());
        }
        let (own, later) = self.reader.catalog("find a segment", |catalog| {
            Ok((segment_of(catalog, self.next_id)?, segment_after(catalog, self.next_id)?))
        })?;
        match (own, later) {
            (Some(first_id), later) => self.slice(first_id, later),
            (None, Some(first_id)) => {
                let (from, to) = (self.next_id, first_id.saturating_sub(1));
                self.next_id = first_id;
                Ok(News { events: vec![Event::Missed { from, to }], more: true })
            }
            (None, None) => Ok(News::default()),
        }
    }

    fn slice(&mut self, first_id: u64, later: Option<u64>) -> Result<News, StoreError> {
        let (start, end) = (self.next_id, self.next_id.saturating_add(SLICE - 1).min(self.last_id));
        let query = &self.query;
        let found = self.reader.visit(
            first_id,
            |catalog, place| Later::between(catalog, query, start, end.min(place.end())),
            |segment, place, later| {
                let end = end.min(place.end());
                match self.only_lines {
                    true => lines::read(segment, query, start, end, later),
                    false => read(segment, query, start, end, later),
                }
            },
        )?;
        let Some((records, next_id)) = found else {
            if self.reader.leaves_out(first_id) {
                self.next_id = later.unwrap_or(self.last_id.saturating_add(1));
            }
            // Or retention was faster: next time it is a gap.
            return Ok(News { more: true, ..News::default() });
        };
        let more = next_id > self.next_id;
        self.next_id = next_id;
        Ok(News { events: records.into_iter().map(Event::New).collect(), more })
    }
}

/// The records from `start` to `end` that match, as many as are read at once, and the id after them.
fn read(
    segment: &Database,
    query: &Query,
    start: u64,
    end: u64,
    mut later: Later,
) -> rusqlite::Result<(Vec<Record>, u64)> {
    let mut sql = Sql::default();
    sql.push("SELECT id, (")
        .add(query.condition(segment.columns()))
        .push(") FROM entries WHERE id >= ");
    sql.bind(as_integer(start)).push(" AND id <= ").bind(as_integer(end));
    sql.push(" ORDER BY id");
    let mut statement = segment.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(&sql.parameters))?;
    let (mut records, mut budget, mut next_id) = (Vec::new(), Budget::new(), start);
    while let Some(row) = rows.next()? {
        let id: u64 = row.get(0)?;
        let matches = row.get::<_, Option<bool>>(1)? == Some(true);
        if later.ends_before(id) {
            break;
        }
        if matches || later.is_changed(id) {
            if !budget.take(length(segment, id)?) {
                break;
            }
            records.extend(later.record(segment, query, id)?);
        }
        next_id = id.saturating_add(1);
    }
    Ok((records, next_id))
}

/// The segment that has the entry `id`, or will have it.
fn segment_of(catalog: &Connection, id: u64) -> rusqlite::Result<Option<u64>> {
    catalog
        .prepare_cached(
            "SELECT first_id FROM segments
             WHERE first_id <= ?1 AND coalesce(last_id, ?1) >= ?1 AND state <> 'dropped'
             ORDER BY first_id DESC LIMIT 1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()
}

/// The first segment that begins after the entry `id`.
fn segment_after(catalog: &Connection, id: u64) -> rusqlite::Result<Option<u64>> {
    catalog
        .prepare_cached(
            "SELECT min(first_id) FROM segments WHERE first_id > ?1 AND state <> 'dropped'",
        )?
        .query_row([id], |row| row.get(0))
}
