//! Counts what was received over time: by the clock of the receiver, not by the times that entries
//! state. The deliveries of the segments say it, so no entry is read.
//!
//! A sealed file never changes, so its counts are kept: by the minute, or by the hour if it has
//! deliveries in very many minutes. A range that cuts through them is counted delivery by delivery.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::Row;

use super::buckets::{Buckets, HOUR, MINUTE};
use super::{EVER, KEPT_COUNTS, times};
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::query::TimeRange;
use crate::store::segment::union;
use crate::store::sqlite::Database;

/// What was received in a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Deliveries that were stored.
    pub deliveries: u64,
    /// Their lines that were new.
    pub stored: u64,
    /// Their lines that were stored already.
    pub duplicates: u64,
}

/// What was received over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts {
    /// The width of a bucket, in milliseconds.
    pub width: i64,
    /// The buckets of the whole range, oldest first: the start, in milliseconds since the epoch, and
    /// what was received. A range without a start begins at the first delivery.
    pub buckets: Vec<(i64, Received)>,
}

/// What the deliveries of a segment say.
#[derive(Clone, Debug)]
pub(super) struct SegmentReceipts {
    /// The length of a stretch, in milliseconds.
    stretch: i64,
    /// By the start of each stretch.
    counts: BTreeMap<i64, Received>,
    /// When the first and the last delivery was received.
    time: Option<(i64, i64)>,
}

impl Reader {
    /// What was received in `range`, in at most `most` buckets. An open range ends at `now`, or at the
    /// last delivery after it.
    pub fn receipts(
        &self,
        range: TimeRange,
        now: i64,
        most: usize,
    ) -> Result<Receipts, StoreError> {
        let mut segments = Vec::new();
        for segment in self.catalog(Catalog::segments)? {
            segments.extend(self.segment_receipts(&segment)?.map(|found| (segment, found)));
        }
        let all = segments.iter().fold(None, |all, (_, one)| union(all, one.time));
        let Some(since) = range.since.or(all.map(|(first, _)| first)) else {
            return Ok(Receipts::default());
        };
        let last = match range.until {
            Some(until) => until.saturating_sub(1),
            None => all.map_or(now, |(_, last)| last.max(now)),
        };
        let buckets = Buckets::over(since, last.max(since), most);
        let mut counted: Vec<_> = buckets.starts().map(|at| (at, Received::default())).collect();
        let mut add = |(at, received): (i64, Received)| {
            let bucket = buckets.of(at).and_then(|place| counted.get_mut(place));
            bucket.into_iter().for_each(|(_, bucket)| bucket.add(received));
        };
        let times = times(range);
        for (segment, found) in segments {
            let Some((first, last)) = found.time else { continue };
            if last < times.start || times.end <= first {
                continue;
            }
            let is_whole = times.start <= first && last < times.end;
            if is_whole && buckets.width % found.stretch == 0 {
                found.counts.into_iter().for_each(&mut add);
                continue;
            }
            let cut = self.read_segment(segment.first_id, |database| {
                counts(database, buckets.width, times.start, times.end)
            })?;
            // The first stretch may begin before the range.
            let begun = |(at, received): (i64, Received)| (at.max(buckets.first), received);
            cut.into_iter().flatten().map(begun).for_each(&mut add);
        }
        Ok(Receipts { width: buckets.width, buckets: counted })
    }

    fn segment_receipts(&self, segment: &Segment) -> Result<Option<SegmentReceipts>, StoreError> {
        let kept = &self.shared.kept.receipts;
        let is_fixed = segment.is_sealed() && !self.leaves_out(segment.first_id);
        if let Some(kept) = is_fixed.then(|| kept.get(&segment.file, &())).flatten() {
            return Ok(Some(kept));
        }
        self.visit(
            segment.first_id,
            |_, _| Ok(()),
            |database, segment, ()| {
                let found = SegmentReceipts::read(database)?;
                if segment.is_sealed() {
                    kept.put(&segment.file, &Arc::new(()), found.clone());
                }
                Ok(found)
            },
        )
    }
}

impl SegmentReceipts {
    fn read(segment: &Database) -> rusqlite::Result<SegmentReceipts> {
        let sql = "SELECT min(received_at), max(received_at) FROM deliveries";
        let time = segment.prepare_cached(sql)?.query_row([], |row| {
            let first: Option<i64> = row.get(0)?;
            Ok(first.zip(row.get(1)?))
        })?;
        let read = |stretch| counts(segment, stretch, EVER.start, EVER.end);
        let (mut stretch, mut found) = (MINUTE, read(MINUTE)?);
        if found.len() > KEPT_COUNTS {
            (stretch, found) = (HOUR, read(HOUR)?);
        }
        Ok(SegmentReceipts { stretch, counts: found.into_iter().collect(), time })
    }
}

impl Received {
    fn add(&mut self, other: Received) {
        self.deliveries += other.deliveries;
        self.stored += other.stored;
        self.duplicates += other.duplicates;
    }
}

/// What the deliveries of a segment from `since` until before `until` say, by stretches of this width
/// that begin at multiples of it.
fn counts(
    segment: &Database,
    width: i64,
    since: i64,
    until: i64,
) -> rusqlite::Result<Vec<(i64, Received)>> {
    let sql = "SELECT received_at / ?1 * ?1, count(*), sum(stored), sum(duplicates) FROM deliveries
               WHERE received_at >= ?2 AND received_at < ?3 GROUP BY 1";
    let read = |row: &Row<'_>| {
        let received =
            Received { deliveries: row.get(1)?, stored: row.get(2)?, duplicates: row.get(3)? };
        Ok((row.get(0)?, received))
    };
    segment.prepare_cached(sql)?.query_map((width, since, until), read)?.collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::{Delivery, Directory, Options, Store};

    const CAPS: Caps = Caps { max_line: 1000, max_lines: 1000 };

    /// A store with segments of so many entries, and these deliveries: the minute of receipt, and the
    /// numbers of the lines.
    fn store(
        segment_entries: u64,
        deliveries: &[(i64, &[u32])],
    ) -> (tempfile::TempDir, Store, Reader) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let options = Options { segment_entries, ..Options::default() };
        let store = Store::open(&directory, options).unwrap();
        for (minute, lines) in deliveries {
            let body: String = lines.iter().map(|n| format!("line {n}\n")).collect();
            let seed = crate::random::seed().unwrap();
            let batch = Batch::new(Bytes::from(body), &KeySet::default(), CAPS, &seed).unwrap();
            let delivery = Delivery {
                received_at: Millis::saturating(minute * MINUTE + 1),
                started: Instant::now(),
                input: "default".into(),
                peer: "p".into(),
                bytes: 1,
                decoded_bytes: 1,
                origin: None,
            };
            store.append(delivery, &batch, &ExpectedIds::default()).unwrap();
        }
        let reader = Reader::open(&directory).unwrap();
        (temporary, store, reader)
    }

    /// The minute, the deliveries, the new lines and the duplicates of each bucket that has some.
    fn shown(receipts: &Receipts) -> Vec<(i64, u64, u64, u64)> {
        let some = receipts.buckets.iter().filter(|(_, one)| *one != Received::default());
        some.map(|(at, one)| (at / MINUTE, one.deliveries, one.stored, one.duplicates)).collect()
    }

    #[test]
    fn receipts_are_the_same_before_and_after_sealing() {
        let (_temporary, store, reader) = store(
            3,
            &[(10, &[1, 2]), (10, &[3, 1]), (12, &[4, 5, 6]), (12, &[4]), (15, &[7]), (80, &[1])],
        );
        let now = 100 * MINUTE;
        for _ in 0..3 {
            let all = reader.receipts(TimeRange::default(), now, 120).unwrap();
            let expected = [(10, 2, 3, 1), (12, 2, 3, 1), (15, 1, 1, 0), (80, 1, 0, 1)];
            assert_eq!(shown(&all), expected);
            assert_eq!((all.width, all.buckets.len()), (MINUTE, 91));
            // The range cuts through a minute, and the buckets are wider.
            let range = TimeRange { since: Some(10 * MINUTE + 2), until: Some(80 * MINUTE) };
            let some = reader.receipts(range, now, 10).unwrap();
            assert_eq!(shown(&some), [(10, 3, 4, 1)]);
            assert_eq!((some.width, some.buckets.len()), (10 * MINUTE, 7));
            let range = TimeRange { since: Some(13 * MINUTE), until: Some(14 * MINUTE) };
            assert_eq!(shown(&reader.receipts(range, now, 10).unwrap()), []);
            store.seal().unwrap();
        }
    }

    #[test]
    fn without_deliveries_only_a_range_has_buckets() {
        let (_temporary, _store, reader) = store(3, &[]);
        let all = reader.receipts(TimeRange::default(), 0, 10).unwrap();
        assert_eq!(all, Receipts::default());
        let range = TimeRange { since: Some(0), until: None };
        let hour = reader.receipts(range, HOUR - 1, 60).unwrap();
        assert_eq!((hour.buckets.len(), shown(&hour)), (60, vec![]));
    }

    #[test]
    fn deliveries_in_many_minutes_are_kept_by_the_hour() {
        let numbers: Vec<[u32; 1]> = (0..60).map(|n| [n]).collect();
        let deliveries: Vec<_> =
            numbers.iter().map(|lines| (i64::from(lines[0]) * 2, &lines[..])).collect();
        let (_temporary, store, reader) = store(1000, &deliveries);
        store.seal().unwrap();
        for _ in 0..2 {
            let all = reader.receipts(TimeRange::default(), 0, 2).unwrap();
            assert_eq!((all.width, shown(&all)), (HOUR, vec![(0, 30, 30, 0), (60, 30, 30, 0)]));
            let all = reader.receipts(TimeRange::default(), 0, 500).unwrap();
            assert_eq!((all.width, shown(&all).len()), (MINUTE, 60));
        }
    }
}
