//! How far a journal was read.
//!
//! The cursor of an epoch is recovered from what is stored: the rows of deliveries, of bodies in
//! quarantine and of dropped bodies, and the objects that were skipped. Closed segments are not read
//! for it: their part is written here in the transaction that closes them, and outlasts them.
//! `rows` has the tables.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::OptionalExtension;

use self::rows::{cursor, end, enter_end, enter_skip, skip};
pub(super) use self::rows::{enter_spans, forget_spans};
use super::Catalog;
use super::segments::State;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::origin::{EpochCursor, EpochEnd, JournalState, Origin, Skip};
use crate::store::schema::CATALOG_WITH_JOURNAL;
use crate::store::segment::origins::{self, EpochSpan};

/// How often a segment is looked for whose file vanished because it was written anew.
const ATTEMPTS: usize = 100;

const READ: &str = "read how far the journal was read";

/// From which epochs segments have deliveries. A segment counts as archived if all before it are, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalExtent {
    /// The highest number from each epoch of which an archived segment has deliveries, but no
    /// higher than the lowest number of which another segment has some. So no delivery below it is
    /// missing.
    pub archived: BTreeMap<u64, u64>,
    /// The epochs from which another segment has deliveries.
    pub later: BTreeSet<u64>,
}

impl Catalog {
    /// What the store has read of a journal. Reads the live segment too.
    pub(in crate::store) fn journal(
        &self,
        directory: &Directory,
    ) -> Result<JournalState, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(JournalState::default());
        }
        let mut cursors = BTreeMap::new();
        let mut add = |cursor: EpochCursor| {
            let further = match cursors.remove(&cursor.epoch) {
                Some(before) => cursor.further(before),
                None => cursor,
            };
            cursors.insert(further.epoch, further);
        };
        // The live segment first: if it is closed meanwhile, the catalog has its part then.
        for span in self.live_spans(directory)? {
            add(span.cursor);
        }
        let (skips, ends) = self.read(READ, |catalog| {
            let mut closed =
                catalog.prepare("SELECT epoch, number, positions FROM journal_cursors")?;
            closed.query_map([], cursor)?.try_for_each(|cursor| cursor.map(&mut add))?;
            for table in ["quarantine", "dropped"] {
                origins::spans_of(catalog, table)?.into_iter().for_each(|span| add(span.cursor));
            }
            let skips: Vec<Skip> = catalog
                .prepare(
                    "SELECT epoch, number, skipped_at, reason, file, bytes, sha256
                     FROM journal_skips ORDER BY epoch, number",
                )?
                .query_map([], skip)?
                .collect::<rusqlite::Result<_>>()?;
            for one in &skips {
                add(EpochCursor { skipped: true, ..EpochCursor::at(one.epoch, one.number) });
            }
            let ends = catalog
                .prepare("SELECT epoch, number, found_at FROM journal_ends ORDER BY epoch")?
                .query_map([], end)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((skips, ends))
        })?;
        Ok(JournalState { cursors: cursors.into_values().collect(), ends, skips })
    }

    /// From which epochs the archived segments have deliveries, and the others.
    pub(in crate::store) fn journal_extent(
        &self,
        directory: &Directory,
        is_archived: &dyn Fn(u64) -> bool,
    ) -> Result<JournalExtent, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(JournalExtent::default());
        }
        // The live segment first, as in `journal`.
        let live = self.live_spans(directory)?;
        let segments = self.segments()?;
        let missing = segments.iter().find(|segment| !is_archived(segment.first_id));
        let missing = missing.map_or(u64::MAX, |segment| segment.first_id);
        let mut archived: BTreeMap<u64, u64> = BTreeMap::new();
        // The lowest number from each epoch in the other segments.
        let mut later: BTreeMap<u64, u64> = BTreeMap::new();
        let mut note_later = |epoch, number| {
            let lowest = later.entry(epoch).or_insert(number);
            *lowest = number.min(*lowest);
        };
        live.iter().for_each(|span| note_later(span.cursor.epoch, span.min_number));
        self.read(READ, |catalog| {
            let sql = "SELECT first_id, epoch, min_number, max_number FROM segment_epochs";
            let mut rows = catalog.prepare_cached(sql)?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (first_id, epoch): (u64, u64) = (row.get(0)?, row.get(1)?);
                if first_id < missing {
                    let highest = archived.entry(epoch).or_default();
                    *highest = (*highest).max(row.get(3)?);
                } else {
                    note_later(epoch, row.get(2)?);
                }
            }
            Ok(())
        })?;
        // A body that was retried from the quarantine is stored after higher numbers.
        for (epoch, highest) in &mut archived {
            *highest = later.get(epoch).map_or(*highest, |lowest| (*lowest).min(*highest));
        }
        Ok(JournalExtent { archived, later: later.into_keys().collect() })
    }

    /// Enters how far a journal was read, in a new catalog. Positions are those of deliveries and
    /// bodies, which are entered for themselves.
    pub(in crate::store) fn restore_journal(&self, state: &JournalState) -> Result<(), StoreError> {
        self.write("restore how far the journal was read", |catalog| {
            let sql = "INSERT INTO journal_cursors (epoch, number, positions) VALUES (?1, ?2, '')";
            state.cursors.iter().try_for_each(|cursor| {
                catalog.prepare_cached(sql)?.execute((cursor.epoch, cursor.number)).map(drop)
            })?;
            state.ends.iter().try_for_each(|end| enter_end(catalog, end))?;
            state.skips.iter().try_for_each(|skip| enter_skip(catalog, skip))
        })
    }

    /// Whether the delivery from this origin is in a segment that takes no more appends, or was dropped
    /// from the quarantine.
    pub(in crate::store) fn had_before(
        &self,
        directory: &Directory,
        origin: &Origin,
    ) -> Result<bool, StoreError> {
        let closed = self.read(READ, |catalog| {
            if origins::has_in(catalog, "dropped", origin)? {
                return Ok(None);
            }
            let sql = "SELECT epoch, number, positions FROM journal_cursors WHERE epoch = ?1";
            let cursor =
                catalog.prepare_cached(sql)?.query_row([origin.epoch], cursor).optional()?;
            let segments = match cursor {
                // Most deliveries are newer than every closed segment.
                None => Vec::new(),
                Some(cursor) if cursor.number < origin.number => Vec::new(),
                Some(cursor) if cursor.number == origin.number => {
                    match cursor.positions.contains(origin.position) {
                        true => return Ok(None),
                        false => Vec::new(),
                    }
                }
                Some(_) => catalog
                    .prepare_cached(
                        "SELECT first_id FROM segment_epochs
                         WHERE epoch = ?1 AND ?2 BETWEEN min_number AND max_number",
                    )?
                    .query_map((origin.epoch, origin.number), |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?,
            };
            Ok(Some(segments))
        })?;
        let Some(segments) = closed else { return Ok(true) };
        for first_id in segments {
            if self.segment_has(directory, first_id, origin)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the delivery from this origin is stored or dropped.
    pub(in crate::store) fn has_origin(
        &self,
        directory: &Directory,
        origin: &Origin,
    ) -> Result<bool, StoreError> {
        // The live segment first, as in `journal`.
        if let Some(live) = self.live_id()?
            && self.segment_has(directory, live, origin)?
        {
            return Ok(true);
        }
        self.had_before(directory, origin)
    }

    /// What is wrong with what the catalog has of the epochs of a closed segment.
    pub(in crate::store) fn differences(
        &self,
        first_id: u64,
        spans: &[EpochSpan],
    ) -> Result<Vec<String>, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for EpochSpan { min_number, cursor: has } in spans {
            let (epoch, number) = (has.epoch, has.number);
            let (is_listed, reached) = self.read(READ, |catalog| {
                let sql = "SELECT 1 FROM segment_epochs WHERE epoch = ?1 AND first_id = ?2
                           AND min_number <= ?3 AND max_number >= ?4";
                let is_listed =
                    catalog.prepare_cached(sql)?.exists((epoch, first_id, min_number, number))?;
                let sql = "SELECT epoch, number, positions FROM journal_cursors WHERE epoch = ?1";
                Ok((is_listed, catalog.prepare_cached(sql)?.query_row([epoch], cursor).optional()?))
            })?;
            // Further than the catalog says, and it would be read and stored again.
            let is_reached =
                reached.is_some_and(|cursor| has.clone().further(cursor.clone()) == cursor);
            if !is_listed || !is_reached {
                found.push(format!(
                    "it has deliveries of the journal from the numbers {min_number} to {number} of \
                     the epoch {epoch}, and the catalog does not say so"
                ));
            }
        }
        Ok(found)
    }

    /// Records that an object was given up.
    pub(in crate::store) fn record_skip(&self, skip: &Skip) -> Result<(), StoreError> {
        self.write("record a skipped object", |catalog| enter_skip(catalog, skip))
    }

    /// Records that an epoch has ended. The first record stays.
    pub(in crate::store) fn record_epoch_end(&self, end: &EpochEnd) -> Result<(), StoreError> {
        self.write("record the end of an epoch", |catalog| enter_end(catalog, end))
    }

    fn live_id(&self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT first_id FROM segments WHERE state = ?1";
        self.read(READ, |catalog| {
            catalog
                .prepare_cached(sql)?
                .query_row([State::Live.as_str()], |row| row.get(0))
                .optional()
        })
    }

    fn live_spans(&self, directory: &Directory) -> Result<Vec<EpochSpan>, StoreError> {
        let Some(live) = self.live_id()? else { return Ok(Vec::new()) };
        let spans = self.in_segment(directory, live, origins::spans)?;
        Ok(spans.unwrap_or_default())
    }

    fn segment_has(
        &self,
        directory: &Directory,
        first_id: u64,
        origin: &Origin,
    ) -> Result<bool, StoreError> {
        let found =
            self.in_segment(directory, first_id, |segment| origins::has(segment, origin))?;
        Ok(found.unwrap_or(false))
    }

    /// Reads a segment. `None` if retention removed it.
    fn in_segment<T>(
        &self,
        directory: &Directory,
        first_id: u64,
        read: impl Fn(&crate::store::sqlite::Database) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut failed = None;
        for _ in 0..ATTEMPTS {
            let Some(segment) = self.segment(first_id)? else { return Ok(None) };
            let path = directory.segment(&segment.file);
            match segment.open(directory) {
                Ok(database) => return read(&database).doing("read", &path).map(Some),
                // It may be sealed now, under another name.
                Err(error) if !path.exists() => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }
}
