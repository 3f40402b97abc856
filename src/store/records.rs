//! Keys to records.
//!
//! A record is given out only if what is stored now matches: its verdict may have changed since its
//! key was found. How often it was delivered after its segment was closed stands in the catalog.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use super::newest::hidden;
use super::query::Query;
use super::read::Reader;
use super::sqlite::Database;
use super::{StoreError, redeliveries, row};
use crate::entry::Record;
use crate::entry::record::Origin;

/// What may be read at once: 2 MiB of lines, but always one line. What is made of a line may be many
/// times as large, and answers are made whole.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    left: u64,
    untouched: bool,
}

impl Budget {
    pub(super) fn new() -> Budget {
        Budget { left: if cfg!(test) { 1000 } else { 2 << 20 }, untouched: true }
    }

    /// Whether a line of this length may be read too.
    pub(super) fn take(&mut self, length: u64) -> bool {
        let left = self.left.checked_sub(length).or(self.untouched.then_some(0));
        self.untouched = false;
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// Records by their ids. Those that do not match now, or are there no more, are missing.
pub(super) type Records = HashMap<u64, Record>;

/// What the catalog says of some entries.
#[derive(Default)]
pub(super) struct Later {
    /// Those that changed: as they are now, if they are shown and match.
    changed: HashMap<u64, Option<Record>>,
    /// How often they were delivered again.
    redelivered: HashMap<u64, u64>,
    /// The first entry that was not asked about, for there was no room for more lines.
    end: Option<u64>,
}

impl Later {
    /// Asks the catalog about the entries `first` to `last`.
    pub(super) fn between(
        catalog: &Database,
        query: &Query,
        first: u64,
        last: u64,
    ) -> rusqlite::Result<Later> {
        let mut later = Later::default();
        let mut budget = Budget::new();
        for id in hidden(catalog, &(first..=last))? {
            if !budget.take(length(catalog, id)?) {
                later.end = Some(id);
                break;
            }
            later.changed.insert(id, record(catalog, query, id)?);
        }
        later.redelivered = redeliveries::of(catalog, first, last)?.into_iter().collect();
        Ok(later)
    }

    /// Asks the catalog about `ids`.
    pub(super) fn of(
        catalog: &Database,
        query: &Query,
        ids: impl Iterator<Item = u64>,
    ) -> rusqlite::Result<Later> {
        let (mut later, mut budget) = (Later::default(), Budget::new());
        let mut count =
            catalog.prepare_cached("SELECT count FROM redeliveries WHERE entry = ?1")?;
        for id in ids {
            if let Some(count) = count.query_row([id], |row| row.get(0)).optional()? {
                later.redelivered.insert(id, count);
            }
            if !hidden(catalog, &(id..=id))?.is_empty() {
                if !budget.take(length(catalog, id)?) {
                    later.end = Some(id);
                    break;
                }
                later.changed.insert(id, record(catalog, query, id)?);
            }
        }
        Ok(later)
    }

    /// Whether the entries end before `id`, for there was no room for more lines.
    pub(super) fn ends_before(&self, id: u64) -> bool {
        self.end == Some(id)
    }

    /// Whether the catalog has a newer version of the entry `id`.
    pub(super) fn is_changed(&self, id: u64) -> bool {
        self.changed.contains_key(&id)
    }

    /// The entry `id` of a segment as it is now, if it matches.
    pub(super) fn record(
        &mut self,
        segment: &Database,
        query: &Query,
        id: u64,
    ) -> rusqlite::Result<Option<Record>> {
        let changed = self.changed.remove(&id);
        let is_changed = changed.is_some();
        let mut found = match changed {
            Some(found) => found,
            None => record(segment, query, id)?,
        };
        if let Some(Record { origin: Origin::Stored { delivery_count, .. }, .. }) = &mut found {
            if is_changed {
                // It is counted where the entry stood first.
                let sql = "SELECT delivery_count FROM entries WHERE id = ?1";
                *delivery_count = segment.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
            }
            let again = self.redelivered.get(&id).copied().unwrap_or(0);
            *delivery_count = delivery_count.saturating_add(again);
        }
        Ok(found)
    }
}

impl Reader {
    /// Reads the first of these entries of the segment `first_id`, as many as `budget` allows.
    /// Returns how many that was too.
    pub(super) fn records(
        &self,
        first_id: u64,
        ids: &[u64],
        query: &Query,
        budget: &mut Budget,
    ) -> Result<(Records, usize), StoreError> {
        let before = *budget;
        let found = self.visit(
            first_id,
            |catalog, _| Later::of(catalog, query, ids.iter().copied()),
            |segment, _, mut later| {
                let (mut records, mut budget) = (Records::new(), before);
                for (at, id) in ids.iter().enumerate() {
                    if later.ends_before(*id) || !budget.take(length(segment, *id)?) {
                        return Ok((records, at, budget));
                    }
                    let record = later.record(segment, query, *id)?;
                    records.extend(record.map(|record| (*id, record)));
                }
                Ok((records, ids.len(), budget))
            },
        )?;
        let Some((records, read, left)) = found else { return Ok((Records::new(), ids.len())) };
        *budget = left;
        Ok((records, read))
    }
}

/// The entry `id` where `connection` is, if it is there and matches.
fn record(connection: &Database, query: &Query, id: u64) -> rusqlite::Result<Option<Record>> {
    let by_id = query.by_id(connection.columns());
    let mut statement = connection.prepare_cached(&by_id.text)?;
    let id = Value::Integer(i64::try_from(id).unwrap_or(i64::MAX));
    let parameters = by_id.parameters.iter().chain([&id]);
    let mut rows = statement.query(params_from_iter(parameters))?;
    match rows.next()? {
        Some(row) => row::record(connection, row).map(Some),
        None => Ok(None),
    }
}

/// The length of a line, in bytes.
pub(super) fn length(connection: &Connection, id: u64) -> rusqlite::Result<u64> {
    let sql = "SELECT length(line) FROM raw WHERE id = ?1";
    let length = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?;
    Ok(length.unwrap_or(0))
}
