//! Counts entries, over time and by the values of fields.
//!
//! A query for a range of time, or for fields that the summaries have, is counted exactly: by the
//! summaries of sealed segments that are entirely in the range, and entry by entry in the others. Any
//! other query is counted over its newest [`NEWEST`] matches, and the result says so.

mod buckets;
mod tally;
#[cfg(test)]
mod tests;
pub(in crate::store) mod totals;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub use buckets::Buckets;
pub use tally::FieldCounts;

use self::tally::Tally;
use crate::search::{Field, Filter, Test};
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::merge::Merge;
use crate::store::read::query::{Query, TimeRange, Window};
use crate::store::segment::row::Ids;

/// The maximum number of matches that are counted entry by entry.
pub const NEWEST: usize = if cfg!(test) { 40 } else { 50_000 };

/// The fields whose values are in the summaries of sealed segments, or in an index.
pub const SUMMARISED: [&str; 6] = ["verdict", "warning", "kind", "name", "principal_id", "src"];

/// The fields of the summaries per minute.
const MINUTES: [&str; 7] =
    ["kind", "verdict", "severity", "success", "granted", "kong_initiated", "status"];

/// All times.
const EVER: Range<i64> = i64::MIN..i64::MAX;

/// A request to count entries.
#[derive(Clone, Debug)]
pub struct CountRequest<'a> {
    /// The entries to count.
    pub filter: &'a Filter,
    /// The range of time.
    pub range: TimeRange,
    /// The current time, in milliseconds since the epoch. An open range ends here, or at the last
    /// entry after it.
    pub now: i64,
    /// The maximum number of buckets of time. 0 for none.
    pub buckets: usize,
    /// The fields whose values are counted.
    pub fields: &'a [Field],
    /// The maximum number of values per field.
    pub values: usize,
}

/// The result of a count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// The number of entries counted.
    pub entries: u64,
    /// Whether all matches were counted. Else only the newest [`NEWEST`] were.
    pub complete: bool,
    /// The width of a bucket, in milliseconds.
    pub width: i64,
    /// The buckets of the whole range, oldest first, including empty ones: the start, in
    /// milliseconds since the epoch, and the number of entries with each verdict. A range without a
    /// start begins at the first entry.
    pub buckets: Vec<(i64, BTreeMap<String, u64>)>,
    /// The counts of the fields, in the requested order.
    pub fields: Vec<FieldCounts>,
}

impl Reader {
    /// Counts entries.
    pub fn counts(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let summarised = wanted.fields.iter().all(|field| SUMMARISED.contains(&field.name()));
        let exact = match *wanted.filter {
            Filter::All => summarised,
            ref filter => {
                wanted.fields.is_empty()
                    && is_of(filter, &|field, _| MINUTES.contains(&field.name()))
            }
        };
        match exact {
            true => self.count_all(wanted),
            false => self.count_newest(wanted),
        }
    }

    /// Counts all entries in the range.
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
        // They are known to match.
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
            |overlay, segment| {
                let mut tally = empty.clone();
                let overlaid = overlay.overlaid(&Ids::Range(segment.first_id..=segment.end()))?;
                let is_overlaid = |id: &u64| overlaid.binary_search(id).is_ok();
                let (changed, own): (Vec<u64>, Vec<u64>) =
                    ids.iter().copied().partition(is_overlaid);
                tally.add(overlay, &Ids::List(&changed), EVER, 1)?;
                Ok((tally, own))
            },
            |database, _, (mut tally, own)| {
                tally.add(database, &Ids::List(&own), EVER, 1)?;
                Ok(tally)
            },
        )?;
        Ok(counted.unwrap_or_else(|| empty.clone()))
    }
}

/// Whether `filter` has only tests of fields for which `is` is true.
fn is_of(filter: &Filter, is: &impl Fn(&Field, &Test) -> bool) -> bool {
    match filter {
        Filter::All => true,
        Filter::Text(_) => false,
        Filter::Not(inner) => is_of(inner, is),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().all(|part| is_of(part, is)),
        Filter::Field(field, test) => is(field, test),
    }
}
