//! How many entries there are, over time and by the values of fields.
//!
//! A query that is only a range, or over a few fields that each minute is counted by, is counted
//! exactly: from the summaries of the sealed segments that lie in it whole, entry by entry where a
//! segment lies across its edge or is not sealed. Any other query is counted over its newest
//! [`NEWEST`] matches, and the answer says so.

mod buckets;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub use buckets::Buckets;
pub use tally::FieldCounts;

use self::tally::Tally;
use crate::search::{Field, Filter};
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::merge::Merge;
use crate::store::read::query::{Query, TimeRange, Window};
use crate::store::segment::row::Ids;

/// The most matches of a query that are counted, if it is more than a range.
pub const NEWEST: usize = if cfg!(test) { 40 } else { 50_000 };

/// The fields whose values sealed segments have counted, or have an index to count.
pub const SUMMARISED: [&str; 6] = ["verdict", "warning", "kind", "name", "principal_id", "src"];

/// The fields that sealed segments have counted for each minute, in all their combinations.
const MINUTES: [&str; 7] =
    ["kind", "verdict", "severity", "success", "granted", "kong_initiated", "status"];

/// Whatever the time.
const EVER: Range<i64> = i64::MIN..i64::MAX;

/// What is counted.
#[derive(Clone, Debug)]
pub struct CountRequest<'a> {
    /// Which entries.
    pub filter: &'a Filter,
    /// In which time.
    pub range: TimeRange,
    /// Where a range without an end ends, unless there are entries after it: now, in milliseconds
    /// since the epoch.
    pub now: i64,
    /// At most so many stretches of time are counted one by one; with 0 none.
    pub buckets: usize,
    /// By the values of which fields.
    pub fields: &'a [Field],
    /// At most so many values of each are told.
    pub values: usize,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// How many entries were counted.
    pub entries: u64,
    /// Whether that is all that match; else they are the newest [`NEWEST`].
    pub complete: bool,
    /// How wide a bucket is, in milliseconds.
    pub width: i64,
    /// Over the whole range, those without an entry too; a range without a beginning begins with the
    /// first entry. From the oldest to the newest: when it begins, in milliseconds
    /// since the epoch, and how many entries have each verdict.
    pub buckets: Vec<(i64, BTreeMap<String, u64>)>,
    /// As the fields were asked for.
    pub fields: Vec<FieldCounts>,
}

impl Reader {
    /// Counts entries.
    pub fn counts(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let summarised = wanted.fields.iter().all(|field| SUMMARISED.contains(&field.name()));
        let exact = match *wanted.filter {
            Filter::All => summarised,
            ref filter => wanted.fields.is_empty() && is_of_minutes(filter),
        };
        match exact {
            true => self.count_all(wanted),
            false => self.count_newest(wanted),
        }
    }

    /// Counts what lies in the range.
    fn count_all(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let range = wanted.range;
        let (since, until) = (range.since.unwrap_or(i64::MIN), range.until.unwrap_or(i64::MAX));
        let overlaps = |(least, greatest)| least < until && since <= greatest;
        let segments: Vec<_> = self
            .segments()?
            .into_iter()
            .filter(|segment| match &segment.closed {
                Some(closed) => closed.time.is_some_and(overlaps),
                None => true,
            })
            .collect();
        let empty = Tally::new(wanted.fields, wanted.filter);
        let tallies: Vec<_> = segments
            .par_iter()
            .map(|segment| self.count_segment(segment.first_id, &empty, since, until))
            .collect::<Result<_, _>>()?;
        let mut all = empty;
        tallies.into_iter().for_each(|tally| all.merge(tally));
        Ok(all.counts(wanted, true))
    }

    /// Counts the entries of one segment from `since` until before `until`.
    fn count_segment(
        &self,
        first_id: u64,
        empty: &Tally,
        since: i64,
        until: i64,
    ) -> Result<Tally, StoreError> {
        let counted = self.visit(
            first_id,
            |overlay, segment| {
                let mut tally = empty.clone();
                let ids = Ids::Range(segment.first_id..=segment.end());
                let overlaid = overlay.overlaid(&ids)?;
                if !overlaid.is_empty() {
                    tally.add(overlay, &ids, since..until, 1)?;
                }
                Ok((tally, overlaid))
            },
            |database, segment, (mut tally, overlaid)| {
                let is_within = |(least, greatest)| since <= least && greatest < until;
                let time = segment.closed.as_ref().and_then(|closed| closed.time);
                if segment.is_sealed() && time.is_some_and(is_within) {
                    tally.add_summaries(database)?;
                } else {
                    tally.add_between(database, since, until)?;
                }
                tally.add(database, &Ids::List(&overlaid), since..until, -1)?;
                Ok(tally)
            },
        )?;
        Ok(counted.unwrap_or_else(|| empty.clone()))
    }

    /// Counts the newest entries that match.
    fn count_newest(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let query = Arc::new(Query::new(wanted.filter));
        let window: Window = query.window(wanted.range, self.greatest_id()?);
        let mut merge = Merge::new(self, query, window, NEWEST)?;
        let (mut by_segment, mut found): (BTreeMap<u64, Vec<u64>>, usize) = Default::default();
        let mut complete = true;
        while let Some(next) = merge.next()? {
            if found == NEWEST {
                complete = false;
                break;
            }
            found += 1;
            by_segment.entry(next.first_id).or_default().push(next.key.id);
        }
        // By their ids: the condition is known to hold.
        let empty = Tally::new(wanted.fields, &Filter::All);
        let segments: Vec<_> = by_segment.into_iter().collect();
        let tallies: Vec<_> = segments
            .par_iter()
            .map(|(first_id, ids)| self.count_ids(*first_id, ids, &empty))
            .collect::<Result<_, _>>()?;
        let mut all = empty;
        tallies.into_iter().for_each(|tally| all.merge(tally));
        Ok(all.counts(wanted, complete))
    }

    /// Counts these entries of one segment.
    fn count_ids(&self, first_id: u64, ids: &[u64], empty: &Tally) -> Result<Tally, StoreError> {
        let counted = self.visit(
            first_id,
            |overlay, _| {
                let mut tally = empty.clone();
                let overlaid = overlay.overlaid(&Ids::List(ids))?;
                tally.add(overlay, &Ids::List(&overlaid), EVER, 1)?;
                Ok((tally, overlaid))
            },
            |database, _, (mut tally, overlaid)| {
                let own = ids.iter().copied().filter(|id| overlaid.binary_search(id).is_err());
                tally.add(database, &Ids::List(&own.collect::<Vec<_>>()), EVER, 1)?;
                Ok(tally)
            },
        )?;
        Ok(counted.unwrap_or_else(|| empty.clone()))
    }
}

/// Whether `filter` is over the columns alone by which each minute is counted.
fn is_of_minutes(filter: &Filter) -> bool {
    match filter {
        Filter::All => true,
        Filter::Text(_) => false,
        Filter::Not(inner) => is_of_minutes(inner),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().all(is_of_minutes),
        Filter::Field(field, _) => MINUTES.contains(&field.name()),
    }
}
