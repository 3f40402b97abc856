//! Reads the records of entries, by their ids.
//!
//! A record is returned only if its current version matches, because the verdict may have changed
//! since its id was found. The records of one segment are read together: one statement for the
//! lengths of their lines, one for the entries, and one for their extensions.

use std::collections::HashMap;

use crate::entry::Record;
use crate::entry::record::Origin;
use crate::store::catalog::overlay::Overlay;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::query::Query;
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids};
use crate::store::sqlite::Database;

/// How much may be read at once: 2 MiB of lines, but at least one line. The record of a line may be
/// many times as large, and a response is built in memory.
#[derive(Clone, Copy)]
pub(in crate::store) struct Budget {
    left: u64,
    untouched: bool,
}

impl Budget {
    pub(in crate::store) fn new() -> Budget {
        Budget { left: if cfg!(test) { 1000 } else { 2 << 20 }, untouched: true }
    }

    /// Takes the length of a line from the budget. Returns whether there was enough left.
    pub(in crate::store) fn take(&mut self, length: u64) -> bool {
        let left = self.left.checked_sub(length).or(self.untouched.then_some(0));
        self.untouched = false;
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Splits the ids into those of the entries that may be read, and the rest.
    pub(in crate::store) fn split<'a>(
        &mut self,
        entries: &impl Entries,
        ids: &'a [u64],
    ) -> rusqlite::Result<(&'a [u64], &'a [u64])> {
        let lengths = entries.lengths(&Ids::of(ids))?;
        let fits = |id: &&u64| self.take(lengths.get(*id).copied().unwrap_or(0));
        let count = ids.iter().take_while(fits).count();
        Ok(ids.split_at(count))
    }
}

/// Records by id. Entries that do not match or no longer exist are missing.
pub(in crate::store) type Records = HashMap<u64, Record>;

/// The overlay of some entries.
#[derive(Default)]
pub(in crate::store) struct Overlaid {
    /// The overlaid entries, each with its record if it is shown and matches.
    now: HashMap<u64, Option<Record>>,
    /// The number of deliveries after the segment was closed.
    redeliveries: HashMap<u64, u64>,
    /// The first overlaid entry that was not read because the budget was used up.
    end: Option<u64>,
}

impl Overlaid {
    /// Reads the overlay of these entries.
    pub(in crate::store) fn read(
        overlay: &Overlay<'_>,
        query: &Query,
        ids: &Ids<'_>,
    ) -> rusqlite::Result<Overlaid> {
        let mut overlaid = overlay.overlaid(ids)?;
        if let Ids::List(ids) = ids {
            let order = |id: &u64| ids.iter().position(|one| one == id);
            overlaid.sort_by_cached_key(order);
        }
        let (read, left) = Budget::new().split(overlay, &overlaid)?;
        let mut records = records(overlay, query, read)?;
        Ok(Overlaid {
            now: read.iter().map(|id| (*id, records.remove(id))).collect(),
            redeliveries: overlay.redeliveries(ids)?,
            end: left.first().copied(),
        })
    }

    /// Whether the entries end before `id` because the budget was used up.
    pub(in crate::store) fn ends_before(&self, id: u64) -> bool {
        self.end == Some(id)
    }

    /// Whether the entry `id` is overlaid.
    pub(in crate::store) fn contains(&self, id: u64) -> bool {
        self.now.contains_key(&id)
    }

    /// The current records of these entries of a segment, if they match.
    pub(in crate::store) fn records(
        mut self,
        segment: &Database,
        query: &Query,
        ids: &[u64],
    ) -> rusqlite::Result<Records> {
        let (overlaid, own): (Vec<u64>, Vec<u64>) =
            ids.iter().copied().partition(|id| self.contains(*id));
        let mut all = records(segment, query, &own)?;
        let now = overlaid.iter().filter_map(|id| Some((*id, self.now.remove(id)??)));
        all.extend(now);
        // Deliveries are counted in the segment.
        segment.each(
            &Sql::from("id, delivery_count"),
            &Sql::from("1"),
            &Ids::List(&overlaid),
            |row| {
                let count = row.get(1)?;
                if let Some(record) = all.get_mut(&row.get(0)?) {
                    set_delivery_count(record, |_| count);
                }
                Ok(())
            },
        )?;
        for (id, again) in &self.redeliveries {
            if let Some(record) = all.get_mut(id) {
                set_delivery_count(record, |count| count.saturating_add(*again));
            }
        }
        Ok(all)
    }
}

impl Reader {
    /// Reads the first of these entries of the segment `first_id`, within the budget, and returns
    /// their number too.
    pub(in crate::store) fn records(
        &self,
        first_id: u64,
        ids: &[u64],
        query: &Query,
        budget: &mut Budget,
    ) -> Result<(Records, usize), StoreError> {
        let before = *budget;
        let found = self.visit(
            first_id,
            |overlay, _| Overlaid::read(overlay, query, &Ids::List(ids)),
            |segment, _, overlaid| {
                let mut budget = before;
                let end = ids.iter().take_while(|id| !overlaid.ends_before(**id)).count();
                let (ids, _) = budget.split(segment, ids.get(..end).unwrap_or(ids))?;
                Ok((overlaid.records(segment, query, ids)?, ids.len(), budget))
            },
        )?;
        let Some((records, read, left)) = found else { return Ok((Records::new(), ids.len())) };
        *budget = left;
        Ok((records, read))
    }
}

fn records(entries: &impl Entries, query: &Query, ids: &[u64]) -> rusqlite::Result<Records> {
    if ids.is_empty() {
        return Ok(Records::new());
    }
    let records = entries.records(query.condition(entries.columns()), &Ids::List(ids))?;
    Ok(records.into_iter().filter_map(|record| Some((record.id()?, record))).collect())
}

fn set_delivery_count(record: &mut Record, count: impl FnOnce(u64) -> u64) {
    if let Origin::Stored { delivery_count, .. } = &mut record.origin {
        *delivery_count = count(*delivery_count);
    }
}
