//! Counts all entries that pass each of some filters, without their times.
//!
//! A sealed segment that lies entirely in the range is counted by its summaries, and only once: the
//! file never changes, so its counts are kept. Entries are only added to an unsealed segment, so its
//! counts up to the last entry are kept. All other entries are counted one by one.

use std::ops::Range;
use std::sync::Arc;

use rusqlite::{Row, params_from_iter};

use super::{EVER, MINUTES, is_of, is_whole, is_within, times};
use crate::search::{Filter, Operand, Test};
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::query::TimeRange;
use crate::store::schema::Columns;
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids};
use crate::store::segment::{range, union};
use crate::store::sqlite::{Database, MAX_ID};

/// The fields of the table `classes`.
const CLASSES: [&str; 10] = [
    "kind",
    "verdict",
    "reason",
    "warning",
    "name",
    "severity",
    "success",
    "granted",
    "kong_initiated",
    "status",
];

/// The longest name in the table `classes`, in bytes.
const NAME: usize = 256;

/// Counts of entries.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Totals {
    /// The number of entries that pass each filter.
    pub(in crate::store) counts: Vec<i64>,
    /// The smallest and the largest time, in milliseconds since the epoch.
    pub(in crate::store) time: Option<(i64, i64)>,
    /// The smallest and the largest time of receipt.
    pub(in crate::store) received_at: Option<(i64, i64)>,
    /// The largest id.
    last_id: u64,
}

/// The counts of a segment.
#[derive(Clone, Debug)]
pub(in crate::store) struct SegmentTotals {
    pub(in crate::store) totals: Totals,
    /// The version of its schema.
    pub(in crate::store) version: usize,
}

impl Reader {
    /// The number of entries in `range` that pass each of `filters`.
    pub fn totals(&self, filters: &[Filter], range: TimeRange) -> Result<Vec<u64>, StoreError> {
        let mut all = Totals::zero(filters);
        for (_, segment) in self.totals_by_segment(filters, range)? {
            all.add(&segment.totals);
        }
        Ok(all.counts.into_iter().map(|count| u64::try_from(count).unwrap_or(0)).collect())
    }

    /// The same for each segment that may have such entries, oldest first.
    pub(in crate::store) fn totals_by_segment(
        &self,
        filters: &[Filter],
        range: TimeRange,
    ) -> Result<Vec<(Segment, SegmentTotals)>, StoreError> {
        let filters: Arc<[Filter]> = filters.into();
        let times = times(range);
        let kept = |segment: &Segment| {
            let kept = &self.shared.kept.totals;
            is_whole(segment, &times).then(|| kept.get(&segment.file, &filters)).flatten()
        };
        let count = |first_id| self.totals_of(first_id, &filters, &times);
        self.count_segments(&times, kept, count)
    }

    /// Counts the entries of one segment. `None` if it no longer exists or is skipped.
    fn totals_of(
        &self,
        first_id: u64,
        filters: &Arc<[Filter]>,
        times: &Range<i64>,
    ) -> Result<Option<SegmentTotals>, StoreError> {
        self.visit(
            first_id,
            |overlay, segment| {
                let ids = Ids::Range(segment.first_id..=segment.end());
                let overlaid = overlay.overlaid(&ids)?;
                let now = match overlaid.is_empty() {
                    true => Totals::zero(filters),
                    false => Totals::of(overlay, &ids, filters, times)?,
                };
                Ok((now, overlaid))
            },
            |database, segment, (now, overlaid)| {
                let mut counted = self.without_overlay(database, segment, filters, times)?;
                let before = Totals::of(database, &Ids::List(&overlaid), filters, times)?;
                counted.totals.add(&now);
                counted.totals.subtract(&before);
                Ok(counted)
            },
        )
    }

    /// Counts the entries of one segment as they were received, and keeps the counts of all its
    /// entries.
    fn without_overlay(
        &self,
        database: &Database,
        segment: &Segment,
        filters: &Arc<[Filter]>,
        times: &Range<i64>,
    ) -> rusqlite::Result<SegmentTotals> {
        let kept = &self.shared.kept.totals;
        let version = database.version();
        let whole = match segment.is_sealed() {
            true if is_whole(segment, times) => Some(by_summaries(database, filters)?),
            true => None,
            false => {
                let known = kept.get(&segment.file, filters);
                let mut totals = known.map_or_else(|| Totals::zero(filters), |kept| kept.totals);
                let rest = Ids::Range(totals.last_id.max(segment.first_id - 1) + 1..=MAX_ID);
                totals.add(&Totals::of(database, &rest, filters, &EVER)?);
                Some(totals)
            }
        };
        if let Some(totals) = &whole {
            kept.put(&segment.file, filters, SegmentTotals { totals: totals.clone(), version });
        }
        let totals = match whole {
            Some(totals) if segment.is_sealed() || is_within(totals.time, times) => totals,
            _ => {
                let ids = Ids::Range(segment.first_id..=segment.end());
                Totals::of(database, &ids, filters, times)?
            }
        };
        Ok(SegmentTotals { totals, version })
    }
}

impl Totals {
    fn zero(filters: &[Filter]) -> Totals {
        Totals { counts: vec![0; filters.len()], ..Totals::default() }
    }

    /// Counts these entries one by one, those within `times`.
    fn of(
        entries: &impl Entries,
        ids: &Ids<'_>,
        filters: &[Filter],
        times: &Range<i64>,
    ) -> rusqlite::Result<Totals> {
        let columns = entries.columns();
        let mut values =
            Sql::from("max(entries.id), min(time), max(time), min(received_at), max(received_at)");
        for filter in filters {
            values.push(", count(*) FILTER (WHERE ");
            values.add(&Sql::condition(filter, columns)).push(")");
        }
        let mut within = Sql::default();
        within.push("time >= ").bind(times.start).push(" AND time < ").bind(times.end);
        let mut totals = Totals::zero(filters);
        entries.each(&values, &within, ids, |row| {
            totals = Totals {
                last_id: row.get::<_, Option<u64>>(0)?.unwrap_or(0),
                time: range(row, 1)?,
                received_at: range(row, 3)?,
                counts: numbers(row, 5, filters.len())?,
            };
            Ok(())
        })?;
        Ok(totals)
    }

    fn add(&mut self, other: &Totals) {
        self.last_id = self.last_id.max(other.last_id);
        self.time = union(self.time, other.time);
        self.received_at = union(self.received_at, other.received_at);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Subtracts the counts. Times stay.
    fn subtract(&mut self, other: &Totals) {
        for (count, less) in self.counts.iter_mut().zip(&other.counts) {
            *count -= less;
        }
    }
}

/// Counts all entries of a sealed segment: by its summaries if they have the fields.
fn by_summaries(segment: &Database, filters: &[Filter]) -> rusqlite::Result<Totals> {
    let has_classes = has_classes(segment)?;
    let mut sql = Sql::from("SELECT ");
    for (at, filter) in filters.iter().enumerate() {
        // The summaries have plain columns in every version.
        let (from, columns) = match () {
            () if has_classes && is_of_classes(filter) => {
                ("sum(entries) FROM classes", Columns::NEWEST)
            }
            () if is_of(filter, &|field, _| MINUTES.contains(&field.name())) => {
                ("sum(entries) FROM minutes", Columns::NEWEST)
            }
            () => ("count(*) FROM entries", segment.columns()),
        };
        sql.push(if at > 0 { ", " } else { "" });
        sql.push("coalesce((SELECT ").push(from).push(" WHERE ");
        sql.add(&Sql::condition(filter, columns)).push("), 0)");
    }
    let counts = segment
        .prepare(&sql.text)?
        .query_row(params_from_iter(&sql.parameters), |row| numbers(row, 0, filters.len()))?;
    Ok(Totals { counts, ..Totals::default() })
}

/// Whether a sealed segment has the table `classes`. Early ones lack it.
pub(super) fn has_classes(segment: &Database) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'classes')";
    segment.query_row(sql, [], |row| row.get(0))
}

fn numbers(row: &Row<'_>, first: usize, count: usize) -> rusqlite::Result<Vec<i64>> {
    (first..first + count).map(|at| row.get(at)).collect()
}

pub(super) fn is_of_classes(filter: &Filter) -> bool {
    is_of(filter, &|field, test| match (field.name(), test) {
        ("name", Test::Equals(Operand::Text(text))) => text.len() <= NAME,
        ("name", _) => false,
        (field, _) => CLASSES.contains(&field),
    })
}
