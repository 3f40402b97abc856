//! Counts entries, over time and by the values of fields.
//!
//! A query for a range of time, or for fields that the summaries have, is counted exactly: by the
//! summaries of sealed segments that are entirely in the range, and entry by entry in the others. Any
//! other query is counted over its newest matches, [`NEWEST`] by default, and the result says so.
//! `receipt` counts by the time of receipt.

mod buckets;
pub(super) mod kept;
mod receipt;
mod stack;
mod tally;
#[cfg(test)]
mod tests;
pub(in crate::store) mod totals;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

pub use buckets::Buckets;
pub use receipt::{Receipts, Received};
pub use stack::Stack;
pub use tally::FieldCounts;

use self::buckets::{HOUR, MINUTE};
use self::kept::Kept;
use self::receipt::SegmentReceipts;
use self::tally::{ENDLESS, Tally, What};
use self::totals::SegmentTotals;
use crate::search::{Field, Filter, Test};
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::merge::Merge;
use crate::store::read::query::{Query, TimeRange, Window};
use crate::store::segment::row::Ids;
use crate::store::sqlite::Database;

/// The maximum number of matches that are counted entry by entry, unless a request says another.
pub const NEWEST: usize = if cfg!(test) { 40 } else { 50_000 };

/// The number of entries of a segment that are counted by one thread.
const CHUNK: usize = if cfg!(test) { 3 } else { 2500 };

/// The fields whose values are in the summaries of sealed segments, or in an index.
pub const SUMMARISED: [&str; 6] = ["verdict", "warning", "kind", "name", "principal_id", "src"];

/// The fields of the summaries per minute.
const MINUTES: [&str; 7] =
    ["kind", "verdict", "severity", "success", "granted", "kong_initiated", "status"];

/// All times.
const EVER: Range<i64> = i64::MIN..i64::MAX;

/// The maximum number of files whose counts are kept. Those by minute and field are larger, and are
/// not kept if they have more than [`KEPT_COUNTS`] counts.
const KEPT_TOTALS: usize = 4096;
const KEPT_TALLIES: usize = 256;
const KEPT_RECEIPTS: usize = 512;
const KEPT_COUNTS: usize = if cfg!(test) { 40 } else { 1000 };

/// The counts of files that a reader keeps.
#[derive(Debug)]
pub(in crate::store) struct KeptCounts {
    totals: Kept<[Filter], SegmentTotals>,
    tallies: Kept<What, Stored>,
    receipts: Kept<(), SegmentReceipts>,
}

/// The counts of the entries of a file up to one.
#[derive(Clone, Debug)]
struct Stored {
    tally: Tally,
    last_id: u64,
}

impl Default for KeptCounts {
    fn default() -> KeptCounts {
        KeptCounts {
            totals: Kept::of(KEPT_TOTALS),
            tallies: Kept::of(KEPT_TALLIES),
            receipts: Kept::of(KEPT_RECEIPTS),
        }
    }
}

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
    /// What the counts of a bucket are split by.
    pub by: Stack,
    /// The fields whose values are counted.
    pub fields: &'a [Field],
    /// The maximum number of values per field.
    pub values: usize,
    /// Only values that begin with this are listed, whatever the case of ASCII letters. Entries with
    /// another value are counted with those whose value is not listed.
    pub prefix: &'a str,
    /// The maximum number of matches that are counted entry by entry.
    pub newest: usize,
}

impl<'a> CountRequest<'a> {
    /// A request to count entries, without buckets and fields.
    pub fn of(filter: &'a Filter, range: TimeRange, now: i64) -> CountRequest<'a> {
        CountRequest {
            filter,
            range,
            now,
            buckets: 0,
            by: Stack::default(),
            fields: &[],
            values: 0,
            prefix: "",
            newest: NEWEST,
        }
    }
}

/// The result of a count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// The number of entries counted.
    pub entries: u64,
    /// Whether all matches were counted. Else only the newest were, as many as the request says.
    pub complete: bool,
    /// The width of a bucket, in milliseconds.
    pub width: i64,
    /// The buckets of the whole range, oldest first, including empty ones: the start, in
    /// milliseconds since the epoch, and the number of entries with each verdict, or each word of
    /// another [`Stack`]. A range without a start begins at the first entry.
    pub buckets: Vec<(i64, BTreeMap<String, u64>)>,
    /// The number of entries that are not valid in each bucket.
    pub not_valid: Vec<u64>,
    /// The counts of the fields, in the requested order.
    pub fields: Vec<FieldCounts>,
}

impl Reader {
    /// Counts entries.
    pub fn counts(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let is_summarised =
            |field: &Field| SUMMARISED.contains(&field.name()) || MINUTES.contains(&field.name());
        let exact = match *wanted.filter {
            Filter::All => wanted.fields.iter().all(is_summarised),
            ref filter => match wanted.fields {
                [] => is_of(filter, &|field, _| MINUTES.contains(&field.name())),
                [name] => {
                    wanted.buckets == 0 && name.name() == "name" && totals::is_of_classes(filter)
                }
                _ => false,
            },
        };
        match exact {
            true => self.count_all(wanted),
            false => self.count_newest(wanted),
        }
    }

    /// Counts all entries in the range.
    fn count_all(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let times = times(wanted.range);
        let stretch = stretch(wanted, &self.segments()?);
        let mut all = Tally::new(What::of(wanted, wanted.filter.clone(), stretch));
        let what = Arc::clone(all.what());
        let kept = |segment: &Segment| {
            let kept = &self.shared.kept.tallies;
            is_whole(segment, &times).then(|| kept.get(&segment.file, &what)).flatten()
        };
        let empty = all.clone();
        let count = |first_id| self.count_segment(first_id, &empty, &times);
        for (_, Stored { tally, .. }) in self.count_segments(&times, kept, count)? {
            all.merge_values(tally, wanted.prefix);
        }
        Ok(all.counts(wanted, true))
    }

    /// Counts the segments that may have entries in `times`, on all cores, oldest first: by what is
    /// kept of a segment if nothing is laid over it, or else by `count`, which returns `None` if the
    /// segment with this first id no longer exists or is skipped.
    fn count_segments<T: Send>(
        &self,
        times: &Range<i64>,
        kept: impl Fn(&Segment) -> Option<T> + Sync,
        count: impl Fn(u64) -> Result<Option<T>, StoreError> + Sync,
    ) -> Result<Vec<(Segment, T)>, StoreError> {
        let overlaps = |segment: &Segment| match &segment.closed {
            Some(closed) if *times != EVER => closed
                .time
                .is_some_and(|(least, greatest)| least < times.end && times.start <= greatest),
            _ => true,
        };
        let mut segments = self.segments_with(|overlay, segment| {
            let ids = Ids::Range(segment.first_id..=segment.end());
            Ok(!overlay.overlaid(&ids)?.is_empty())
        })?;
        segments.retain(|(segment, _)| overlaps(segment));
        let counted = segments.into_par_iter().map(|(segment, is_overlaid)| {
            let may_be_kept = !is_overlaid && !self.leaves_out(segment.first_id);
            let counted = match may_be_kept.then(|| kept(&segment)).flatten() {
                Some(kept) => Some(kept),
                None => count(segment.first_id)?,
            };
            Ok(counted.map(|counted| (segment, counted)))
        });
        Ok(counted.collect::<Result<Vec<_>, StoreError>>()?.into_iter().flatten().collect())
    }

    /// Counts the entries of one segment within `times`.
    fn count_segment(
        &self,
        first_id: u64,
        empty: &Tally,
        times: &Range<i64>,
    ) -> Result<Option<Stored>, StoreError> {
        self.visit(
            first_id,
            |overlay, segment| {
                let mut tally = empty.clone();
                let ids = Ids::Range(segment.first_id..=segment.end());
                let overlaid = overlay.overlaid(&ids)?;
                if !overlaid.is_empty() {
                    tally.add(overlay, &ids, times.clone(), 1)?;
                }
                Ok((tally, overlaid))
            },
            |database, segment, (mut tally, overlaid)| {
                tally.merge(self.count_stored(database, segment, empty, times)?);
                tally.add(database, &Ids::List(&overlaid), times.clone(), -1)?;
                Ok(Stored { tally, last_id: 0 })
            },
        )
    }

    /// Counts the entries of one segment as they were received. If these are all its entries, the
    /// counts are kept.
    fn count_stored(
        &self,
        database: &Database,
        segment: &Segment,
        empty: &Tally,
        times: &Range<i64>,
    ) -> rusqlite::Result<Tally> {
        let (kept, what) = (&self.shared.kept.tallies, empty.what());
        let mut stored = Stored { tally: empty.clone(), last_id: 0 };
        match segment.is_sealed() {
            true if is_whole(segment, times) => stored.tally.add_summaries(database)?,
            false if *times == EVER => {
                stored = kept.get(&segment.file, what).unwrap_or(stored);
                let sql = "SELECT coalesce(max(id), 0) FROM entries";
                let last_id: u64 = database.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
                let new = Ids::Range(stored.last_id + 1..=last_id);
                stored.tally.add(database, &new, EVER, 1)?;
                stored.last_id = last_id;
            }
            _ => {
                stored.tally.add_between(database, times.start, times.end)?;
                return Ok(stored.tally);
            }
        }
        if stored.tally.len() <= KEPT_COUNTS {
            kept.put(&segment.file, what, stored.clone());
        }
        Ok(stored.tally)
    }

    /// Counts the newest entries that match.
    fn count_newest(&self, wanted: &CountRequest<'_>) -> Result<Counts, StoreError> {
        let query = Arc::new(Query::new(wanted.filter));
        let window: Window = query.window(wanted.range, self.greatest_id()?);
        let mut merge = Merge::new(self, query, window, wanted.newest)?;
        let (mut by_segment, mut found): (BTreeMap<u64, Vec<u64>>, usize) = Default::default();
        let mut complete = true;
        while let Some(next) = merge.next()? {
            if found == wanted.newest {
                complete = false;
                break;
            }
            found += 1;
            by_segment.entry(next.first_id).or_default().push(next.key.id);
        }
        // They are known to match.
        let stretch = if wanted.buckets == 0 { ENDLESS } else { MINUTE };
        let empty = Tally::new(What::of(wanted, Filter::All, stretch));
        let chunks: Vec<_> = by_segment
            .iter_mut()
            .flat_map(|(first_id, ids)| {
                // In the order of the file.
                ids.sort_unstable();
                ids.chunks(CHUNK).map(move |ids| (*first_id, ids))
            })
            .collect();
        let tallies: Vec<Tally> = chunks
            .par_iter()
            .map(|(first_id, ids)| self.count_ids(*first_id, ids, &empty))
            .collect::<Result<_, _>>()?;
        let mut all = empty;
        tallies.into_iter().for_each(|tally| all.merge_values(tally, wanted.prefix));
        Ok(all.counts(wanted, complete))
    }

    /// Counts these entries of one segment, in order of id.
    fn count_ids(&self, first_id: u64, ids: &[u64], empty: &Tally) -> Result<Tally, StoreError> {
        let counted = self.visit(
            first_id,
            |overlay, segment| {
                let mut tally = empty.clone();
                let (first, last) = (ids.first().copied(), ids.last().copied());
                let among = first.unwrap_or(segment.first_id)..=last.unwrap_or(segment.end());
                let overlaid = overlay.overlaid(&Ids::Range(among))?;
                let is_overlaid = |id: &u64| overlaid.binary_search(id).is_ok();
                let (changed, own): (Vec<u64>, Vec<u64>) =
                    ids.iter().copied().partition(is_overlaid);
                tally.add(overlay, &Ids::List(&changed), EVER, 1)?;
                Ok((tally, own))
            },
            |database, _, (mut tally, own)| {
                tally.add(database, &Ids::of(&own), EVER, 1)?;
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

/// The range in milliseconds since the epoch.
fn times(range: TimeRange) -> Range<i64> {
    range.since.unwrap_or(EVER.start)..range.until.unwrap_or(EVER.end)
}

/// Whether a sealed segment lies entirely in `times`.
fn is_whole(segment: &Segment, times: &Range<i64>) -> bool {
    let time = segment.closed.as_ref().and_then(|closed| closed.time);
    segment.is_sealed() && is_within(time, times)
}

fn is_within(time: Option<(i64, i64)>, times: &Range<i64>) -> bool {
    time.is_none_or(|(least, greatest)| times.start <= least && greatest < times.end)
}

/// An hour if the buckets over these segments are at least as wide, or else a minute. [`ENDLESS`]
/// without buckets.
fn stretch(wanted: &CountRequest<'_>, segments: &[Segment]) -> i64 {
    if wanted.buckets == 0 {
        return ENDLESS;
    }
    let closed = segments.iter().filter_map(|segment| segment.closed.as_ref()?.time);
    let (least, greatest): (Vec<_>, Vec<_>) = closed.unzip();
    let last = greatest.into_iter().max().max(Some(wanted.now));
    let since = wanted.range.since.or(least.into_iter().min());
    let last = wanted.range.until.map(|until| until.saturating_sub(1)).or(last);
    let is_wide = since.zip(last).is_some_and(|(since, last)| {
        Buckets::over(since, last.max(since), wanted.buckets).width >= HOUR
    });
    if is_wide { HOUR } else { MINUTE }
}
