//! Entries as they were received: their lines, and the deliveries that they first came in.

use rusqlite::{OptionalExtension, Row};

use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::records::Budget;
use crate::store::read::stats::{StoredDelivery, delivered};
use crate::store::segment::condition::line;
use crate::store::segment::leaves;
use crate::store::sqlite::Database;
use crate::tlog::leaf::Salt;

/// Where an entry is in the log.
#[derive(Clone, Copy, Debug)]
pub struct EntryInLog {
    /// The id.
    pub id: u64,
    /// Its leaf, and its salt. `None` if it was stored before the log began.
    pub leaf: Option<(u64, Salt)>,
    /// Whether its line is longer than the receiver parses.
    pub is_long: bool,
}

/// The number of entries whose leaves are read in one snapshot.
const LEAVES: usize = 1000;

/// An entry as it was received.
#[derive(Debug)]
pub struct ReceivedEntry {
    /// The id.
    pub id: u64,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// The line. `None` if it is longer than the receiver parses: then [`Reader::line_piece`] has
    /// it.
    pub line: Option<Vec<u8>>,
}

impl Reader {
    /// The leaves of the first of these entries, which are in order of id: of as many as are read
    /// at once. Empty if the first does not exist.
    pub fn entries_in_log(&self, ids: &[u64]) -> Result<Vec<EntryInLog>, StoreError> {
        let mut found = self.of_first_segment(ids, |database, ids| {
            let sql = "SELECT reason IS 'line_too_long' FROM entries WHERE id = ?1";
            let mut select = database.prepare_cached(sql)?;
            let mut found = Vec::new();
            for id in ids.iter().take(LEAVES) {
                let is_long = select.query_row([*id], |row| row.get(0)).optional()?;
                let Some(is_long) = is_long else { break };
                found.push(EntryInLog { id: *id, leaf: leaves::of(database, *id)?, is_long });
            }
            Ok(found)
        })?;
        for entry in found.iter_mut().filter(|entry| entry.leaf.is_none()) {
            // It may have got its leaf after it was stored.
            entry.leaf = self.leaf_of(entry.id)?;
        }
        Ok(found)
    }

    /// The first of these entries, which are in order of id: as many as may be read at once. Empty
    /// if the first no longer exists.
    pub fn received(&self, ids: &[u64]) -> Result<Vec<ReceivedEntry>, StoreError> {
        self.of_first_segment(ids, |database, ids| {
            let (mut entries, mut budget) = (Vec::new(), Budget::new());
            for id in ids {
                let Some(entry) = received(database, *id)? else { break };
                let length = entry.line.as_ref().map_or(0, Vec::len);
                if !budget.take(length as u64) {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
        })
    }

    /// Reads those of these ids, which are in order, that the segment of the first may have.
    fn of_first_segment<T>(
        &self,
        ids: &[u64],
        work: impl Fn(&Database, &[u64]) -> rusqlite::Result<Vec<T>>,
    ) -> Result<Vec<T>, StoreError> {
        let first_id = ids.first().map(|id| self.segment_of(*id)).transpose()?.flatten();
        let Some(first_id) = first_id else { return Ok(Vec::new()) };
        let found = self.visit(
            first_id,
            |_, _| Ok(()),
            |database, segment, ()| {
                let own = ids.partition_point(|id| *id <= segment.end());
                work(database, ids.get(..own).unwrap_or_default())
            },
        )?;
        Ok(found.unwrap_or_default())
    }

    /// The deliveries with these ids, which are in order. Those that no longer exist are missing,
    /// and the warnings of their entries are not counted.
    pub fn deliveries_with_ids(&self, ids: &[u64]) -> Result<Vec<StoredDelivery>, StoreError> {
        let segments = self.segments()?;
        let ends = segments.iter().skip(1).map(|next| next.first_delivery).chain([u64::MAX]);
        let (mut found, mut left) = (Vec::new(), ids);
        for (segment, end) in segments.iter().zip(ends) {
            let (own, others) = left.split_at(left.partition_point(|id| *id < end));
            left = others;
            if own.is_empty() {
                continue;
            }
            let some = self.read_segment(segment.first_id, |database| {
                let sql = "SELECT * FROM deliveries WHERE id = ?1";
                let mut select = database.prepare_cached(sql)?;
                let one = |id: &u64| select.query_row([*id], delivered).optional().transpose();
                own.iter().filter_map(one).collect::<rusqlite::Result<Vec<_>>>()
            })?;
            found.extend(some.into_iter().flatten());
        }
        Ok(found)
    }
}

fn received(segment: &Database, id: u64) -> rusqlite::Result<Option<ReceivedEntry>> {
    let sql = format!(
        "SELECT delivery, CASE WHEN reason IS 'line_too_long' THEN NULL ELSE {} END
         FROM entries WHERE id = ?1",
        line(segment.columns())
    );
    let entry = |row: &Row<'_>| Ok(ReceivedEntry { id, delivery: row.get(0)?, line: row.get(1)? });
    segment.prepare_cached(&sql)?.query_row([id], entry).optional()
}
