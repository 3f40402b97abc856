//! How far a journal was read, and the id of the store.
//!
//! The cursor of an epoch is recovered from what is stored: the rows of deliveries, of bodies in
//! quarantine and of dropped bodies, and the objects that were skipped. Closed segments are not read
//! for it: their part is written here in the transaction that closes them, and outlasts them.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Catalog;
use super::segments::State;
use crate::entry::Millis;
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
    /// The highest number from each epoch in an archived segment.
    pub archived: BTreeMap<u64, u64>,
    /// The epochs from which another segment has deliveries.
    pub later: BTreeSet<u64>,
}

impl Catalog {
    /// The id of the store: 32 hexadecimal digits. `None` in a catalog of an earlier version.
    pub(in crate::store) fn store_id(&self) -> Result<Option<String>, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(None);
        }
        self.read("read the id of the store", |catalog| {
            catalog.query_row("SELECT id FROM store", [], |row| row.get(0)).optional()
        })
    }

    /// Gives a new catalog the id of an old store. `is_part` is whether it has a part of that store, which
    /// takes no entries.
    pub(in crate::store) fn set_store_id(&self, id: &str, is_part: bool) -> Result<(), StoreError> {
        self.write("write the id of the store", |catalog| {
            catalog.execute("UPDATE store SET id = ?1, is_part = ?2", (id, is_part)).map(drop)
        })
    }

    /// Whether the store is a part that takes no entries.
    pub(in crate::store) fn is_part(&self) -> Result<bool, StoreError> {
        self.read("read the id of the store", |catalog| {
            catalog.query_row("SELECT EXISTS (SELECT 1 FROM store WHERE is_part)", [], |row| {
                row.get(0)
            })
        })
    }

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
        let mut extent = JournalExtent::default();
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(extent);
        }
        // The live segment first, as in `journal`.
        extent.later.extend(self.live_spans(directory)?.iter().map(|span| span.cursor.epoch));
        let segments = self.segments()?;
        let missing = segments.iter().find(|segment| !is_archived(segment.first_id));
        let missing = missing.map_or(u64::MAX, |segment| segment.first_id);
        self.read(READ, |catalog| {
            let sql = "SELECT first_id, epoch, max_number FROM segment_epochs";
            let mut rows = catalog.prepare_cached(sql)?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let (first_id, epoch, number): (u64, u64, u64) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                if first_id < missing {
                    let known = extent.archived.entry(epoch).or_default();
                    *known = number.max(*known);
                } else {
                    extent.later.insert(epoch);
                }
            }
            Ok(())
        })?;
        Ok(extent)
    }

    /// Enters how far a journal was read, in a new catalog: of each epoch, the number of the last object,
    /// of which some may be missing.
    pub(in crate::store) fn restore_journal(
        &self,
        cursors: impl IntoIterator<Item = (u64, u64)>,
        ends: &[EpochEnd],
        skips: &[Skip],
    ) -> Result<(), StoreError> {
        self.write("restore how far the journal was read", |catalog| {
            let sql = "INSERT INTO journal_cursors (epoch, number, positions) VALUES (?1, ?2, '')";
            let mut cursors = cursors.into_iter();
            cursors.try_for_each(|one| catalog.prepare_cached(sql)?.execute(one).map(drop))?;
            ends.iter().try_for_each(|end| enter_end(catalog, end))?;
            skips.iter().try_for_each(|skip| enter_skip(catalog, skip))
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

fn enter_skip(catalog: &Connection, skip: &Skip) -> rusqlite::Result<()> {
    catalog
        .execute(
            "INSERT OR REPLACE INTO journal_skips
                 (epoch, number, skipped_at, reason, file, bytes, sha256)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                skip.epoch,
                skip.number,
                skip.skipped_at.get(),
                &skip.reason,
                &skip.file,
                skip.bytes,
                &skip.sha256,
            ),
        )
        .map(drop)
}

fn enter_end(catalog: &Connection, end: &EpochEnd) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO journal_ends (epoch, number, found_at) VALUES (?1, ?2, ?3)";
    catalog.execute(sql, (end.epoch, end.number, end.found_at.get())).map(drop)
}

/// Enters from which epochs a segment that is closed has deliveries.
pub(super) fn enter_spans(
    catalog: &Connection,
    first_id: u64,
    spans: &[EpochSpan],
) -> rusqlite::Result<()> {
    for EpochSpan { min_number, cursor: new } in spans {
        catalog
            .prepare_cached(
                "INSERT OR REPLACE INTO segment_epochs (first_id, epoch, min_number, max_number)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((first_id, new.epoch, min_number, new.number))?;
        let sql = "SELECT epoch, number, positions FROM journal_cursors WHERE epoch = ?1";
        let before = catalog.prepare_cached(sql)?.query_row([new.epoch], cursor).optional()?;
        let now = match before {
            Some(before) => before.further(new.clone()),
            None => new.clone(),
        };
        catalog
            .prepare_cached(
                "INSERT OR REPLACE INTO journal_cursors (epoch, number, positions)
                 VALUES (?1, ?2, ?3)",
            )?
            .execute((now.epoch, now.number, now.positions.to_string()))?;
    }
    Ok(())
}

/// Deletes from which epochs a segment has deliveries, because the segment is gone.
pub(super) fn forget_spans(catalog: &Connection, first_id: u64) -> rusqlite::Result<()> {
    catalog.execute("DELETE FROM segment_epochs WHERE first_id = ?1", [first_id]).map(drop)
}

fn cursor(row: &Row<'_>) -> rusqlite::Result<EpochCursor> {
    let positions = row.get_ref(2)?.as_str()?.parse();
    let positions = positions.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
    })?;
    Ok(EpochCursor { positions, ..EpochCursor::at(row.get(0)?, row.get(1)?) })
}

fn skip(row: &Row<'_>) -> rusqlite::Result<Skip> {
    Ok(Skip {
        epoch: row.get(0)?,
        number: row.get(1)?,
        skipped_at: Millis::saturating(row.get(2)?),
        reason: row.get(3)?,
        file: row.get(4)?,
        bytes: row.get(5)?,
        sha256: row.get(6)?,
    })
}

fn end(row: &Row<'_>) -> rusqlite::Result<EpochEnd> {
    Ok(EpochEnd {
        epoch: row.get(0)?,
        number: row.get(1)?,
        found_at: Millis::saturating(row.get(2)?),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use bytes::Bytes;

    use super::*;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::{
        Appended, Delivery, Options, Quarantined, Reader, Retention, Store, repair,
    };

    const CAPS: Caps = Caps { max_line: 1000, max_lines: 1000 };

    fn directory() -> (tempfile::TempDir, Directory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        (temporary, directory)
    }

    fn open(directory: &Directory) -> Store {
        Store::open(directory, Options::default()).unwrap()
    }

    fn at(epoch: u64, number: u64, position: u32) -> Option<Origin> {
        Some(Origin { epoch, number, position })
    }

    fn deliver(store: &Store, line: &str, origin: Option<Origin>) -> Result<Appended, StoreError> {
        let seed = crate::random::seed().unwrap();
        let body = Bytes::copy_from_slice(line.as_bytes());
        let batch = Batch::new(body, &KeySet::default(), CAPS, &seed).unwrap();
        let delivery = Delivery {
            received_at: Millis::saturating(5),
            started: Instant::now(),
            input: "default".into(),
            peer: "p".into(),
            bytes: 1,
            decoded_bytes: 1,
            origin,
        };
        Ok(store.append(delivery, &batch, &ExpectedIds::default())?.appended)
    }

    fn body(origin: Option<Origin>) -> Quarantined {
        Quarantined {
            id: 0,
            received_at: Millis::saturating(5),
            input: "default".into(),
            peer: "p".into(),
            status: 400,
            reason: "broken".into(),
            content_encoding: None,
            bytes: 0,
            origin,
        }
    }

    #[track_caller]
    fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, origin: Option<Origin>) {
        match result {
            Err(StoreError::AlreadyStored(found)) => assert_eq!(Some(found), origin),
            other => panic!("{other:?}"),
        }
    }

    /// The cursors: the epoch, the number, the positions.
    fn cursors(store: &Store) -> Vec<(u64, u64, String)> {
        let cursors = store.journal().unwrap().cursors.into_iter();
        cursors.map(|one| (one.epoch, one.number, one.positions.to_string())).collect()
    }

    /// Does the same with the live segment, after a restart, with a sealed segment, and after another
    /// restart.
    fn everywhere(directory: &Directory, store: Store, check: impl Fn(&Store)) -> Store {
        check(&store);
        drop(store);
        let store = open(directory);
        check(&store);
        store.seal().unwrap();
        check(&store);
        drop(store);
        let store = open(directory);
        check(&store);
        store
    }

    #[test]
    fn a_delivery_of_a_journal_is_stored_once() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        assert_eq!(deliver(&store, "one", at(3, 7, 1)).unwrap().stored, 1);
        let store = everywhere(&directory, store, |store| {
            assert_refused(deliver(store, "one\ntwo", at(3, 7, 1)), at(3, 7, 1));
            assert_eq!(store.health().trouble(), None);
        });
        // The same line from elsewhere is a duplicate, as always.
        for origin in [at(3, 7, 2), at(3, 8, 1), at(2, 7, 1), None, None] {
            assert_eq!(deliver(&store, "one", origin).unwrap().duplicates, 1, "{origin:?}");
        }
        let reader = Reader::open(&directory).unwrap();
        let found: Vec<_> = reader.deliveries(None, 9).unwrap();
        let found: Vec<_> = found.iter().rev().map(|one| one.origin).collect();
        assert_eq!(found, [at(3, 7, 1), at(3, 7, 2), at(3, 8, 1), at(2, 7, 1), None, None]);
        assert!(reader.entry(2).unwrap().is_none());
    }

    #[test]
    fn a_delivery_that_is_stored_already_harms_no_other_of_its_transaction() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        let stored = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|n| {
                    let (store, line) = (&store, format!("line {n}"));
                    scope.spawn(move || {
                        let same = deliver(store, &line, at(0, 0, 0)).is_ok();
                        assert_eq!(deliver(store, &line, at(0, 0, n + 1)).unwrap().received, 1);
                        same
                    })
                })
                .collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(stored.iter().filter(|stored| **stored).count(), 1, "{stored:?}");
        assert_eq!(cursors(&store), [(0, 0, "0-8".to_owned())]);
        let reader = Reader::open(&directory).unwrap();
        assert!(reader.entry(8).unwrap().is_some() && reader.entry(9).unwrap().is_none());
    }

    #[test]
    fn the_cursor_is_recovered_from_what_is_stored() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        assert_eq!(store.journal().unwrap(), JournalState::default());
        deliver(&store, "direct", None).unwrap();
        for (line, origin) in
            [("a", at(0, 0, 0)), ("b", at(0, 1, 0)), ("c", at(0, 1, 2)), ("d", at(9, 4, 0))]
        {
            deliver(&store, line, origin).unwrap();
        }
        let id = store.quarantine(&body(at(0, 1, 1)), b"x").unwrap();
        let expected = [(0, 1, "0-2".to_owned()), (9, 4, "0".to_owned())];
        let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
        // What left the quarantine counts, whatever became of it.
        store.drop_quarantined(id, Millis::MIN).unwrap().unwrap();
        let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
        // A later number is further, and the segments may go.
        deliver(&store, "e", at(9, 5, 3)).unwrap();
        store.seal().unwrap();
        let all = Retention { age: None, size: Some(0) };
        assert_eq!(store.prune(all).unwrap(), 2);
        let expected = [(0, 1, "0-2".to_owned()), (9, 5, "3".to_owned())];
        let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
        assert_refused(deliver(&store, "e", at(9, 5, 3)), at(9, 5, 3));
    }

    #[test]
    fn a_body_leaves_the_quarantine_once() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        deliver(&store, "one", at(0, 0, 0)).unwrap();
        let dropped = store.quarantine(&body(at(0, 0, 1)), b"x").unwrap();
        let retried = store.quarantine(&body(at(0, 0, 2)), b"y").unwrap();
        deliver(&store, "later", at(0, 1, 0)).unwrap();
        let store = everywhere(&directory, store, |store| {
            for position in 0..3 {
                let origin = at(0, 0, position);
                assert_refused(store.quarantine(&body(origin), b"z"), origin);
            }
        });
        assert_eq!(store.quarantined(retried).unwrap().0.origin, at(0, 0, 2));
        // A retry stores it, although later numbers are stored.
        deliver(&store, "retried", at(0, 0, 2)).unwrap();
        let store = everywhere(&directory, store, |store| {
            assert_refused(deliver(store, "retried", at(0, 0, 2)), at(0, 0, 2));
        });
        store.release(retried).unwrap();
        store.drop_quarantined(dropped, Millis::MIN).unwrap().unwrap();
        let store = everywhere(&directory, store, |store| {
            for origin in [at(0, 0, 1), at(0, 0, 2)] {
                assert_refused(store.quarantine(&body(origin), b"z"), origin);
                assert_refused(deliver(store, "again", origin), origin);
            }
        });
        // Bodies that came directly are all kept.
        for expected in [3, 4] {
            assert_eq!(store.quarantine(&body(None), b"x").unwrap(), expected);
        }
    }

    #[test]
    fn skips_and_ends_of_epochs_are_kept() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        deliver(&store, "one", at(0, 0, 0)).unwrap();
        let skip = Skip {
            epoch: 0,
            number: 1,
            skipped_at: Millis::saturating(7),
            reason: "its checksum is wrong".into(),
            file: Some("skipped-0-1".into()),
            bytes: Some(12),
            sha256: Some("ab".into()),
        };
        store.record_skip(&Skip { file: None, ..skip.clone() }).unwrap();
        store.record_skip(&skip).unwrap();
        let end = EpochEnd { epoch: 4, number: 2, found_at: Millis::saturating(8) };
        store.record_epoch_end(&end).unwrap();
        store.record_epoch_end(&EpochEnd { found_at: Millis::MAX, ..end }).unwrap();
        everywhere(&directory, store, |store| {
            let JournalState { cursors, ends, skips } = store.journal().unwrap();
            let cursor = EpochCursor { skipped: true, ..EpochCursor::at(0, 1) };
            assert_eq!(cursors, [cursor]);
            assert_eq!((ends, skips), (vec![end], vec![skip.clone()]));
        });
    }

    #[test]
    fn a_repair_finds_the_cursor_in_the_segments_and_makes_a_new_id() {
        for is_sealed in [false, true] {
            let (_temporary, directory) = directory();
            let store = open(&directory);
            let id = store.id().unwrap();
            assert!(id.len() == 32 && id.bytes().all(|one| one.is_ascii_hexdigit()), "{id}");
            for (line, origin) in [("a", at(0, 0, 0)), ("b", at(0, 1, 4)), ("c", at(2, 0, 0))] {
                deliver(&store, line, origin).unwrap();
            }
            if is_sealed {
                store.seal().unwrap();
            }
            drop(store);
            assert_eq!(open(&directory).id().unwrap(), id);
            crate::store::directory::remove_database(&directory.catalog()).unwrap();
            let report = repair::Plan::make(&directory).unwrap().carry_out().unwrap();
            assert!(report.catalog_lost && report.lost.iter().any(|one| one.contains("journal")));
            let store = open(&directory);
            assert_ne!(store.id().unwrap(), id);
            let reader = Reader::open(&directory).unwrap();
            assert_eq!(reader.store_id().unwrap(), Some(store.id().unwrap()));
            assert_eq!(cursors(&store), [(0, 1, "4".to_owned()), (2, 0, "0".to_owned())]);
            assert_refused(deliver(&store, "a", at(0, 0, 0)), at(0, 0, 0));
        }
    }

    #[test]
    fn a_backup_is_the_same_store() {
        let (temporary, directory) = directory();
        let store = open(&directory);
        deliver(&store, "a", at(0, 0, 0)).unwrap();
        store.quarantine(&body(at(0, 1, 0)), b"x").unwrap();
        let (backup, restored) = (temporary.path().join("backup"), temporary.path().join("new"));
        Reader::open(&directory).unwrap().backup(&backup).unwrap();
        crate::store::backup::restore(&backup, &restored).unwrap();
        let other = open(&Directory::create(&restored).unwrap());
        assert_eq!(other.id().unwrap(), store.id().unwrap());
        assert_eq!(cursors(&other), [(0, 1, "0".to_owned())]);
        assert_refused(deliver(&other, "a", at(0, 0, 0)), at(0, 0, 0));
        // A new store has another id.
        let new = Directory::create(&temporary.path().join("other")).unwrap();
        assert_ne!(open(&new).id().unwrap(), store.id().unwrap());
    }

    #[test]
    fn a_check_finds_what_the_catalog_does_not_know_of_the_journal() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        for (line, origin) in [("a", at(0, 0, 0)), ("b", at(0, 1, 0)), ("c", at(0, 1, 1))] {
            deliver(&store, line, origin).unwrap();
        }
        store.seal().unwrap();
        let reader = Reader::open(&directory).unwrap();
        let check = || reader.check(9, false, &|_, _| ()).unwrap().differences;
        assert_eq!(check(), 0);
        let catalog = Catalog::open(&directory).unwrap();
        for (damage, repair) in [
            (
                "UPDATE segment_epochs SET max_number = 0",
                "UPDATE segment_epochs SET max_number = 1",
            ),
            ("UPDATE journal_cursors SET number = 0", "UPDATE journal_cursors SET number = 1"),
            (
                "UPDATE journal_cursors SET positions = '0'",
                "UPDATE journal_cursors SET positions = '0-1'",
            ),
            ("DELETE FROM journal_cursors", "INSERT INTO journal_cursors VALUES (0, 7, '2')"),
        ] {
            let change = |sql| catalog.write("change", |one| one.execute(sql, []).map(drop));
            change(damage).unwrap();
            assert_eq!(check(), 1, "{damage}");
            change(repair).unwrap();
            assert_eq!(check(), 0, "{repair}");
        }
    }

    fn stored_at(directory: &Directory) -> Vec<Millis> {
        let found = Reader::open(directory).unwrap().deliveries(None, 9).unwrap();
        found.iter().rev().map(|one| one.stored_at.unwrap()).collect()
    }

    #[test]
    fn the_clock_of_the_store_never_goes_back() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        deliver(&store, "one", None).unwrap();
        drop(store);
        // As if the clock had been far ahead then.
        let ahead = Millis::saturating(8_000_000_000_000);
        let live = directory.segment("0000000000000001.live.db");
        let sql = "UPDATE deliveries SET stored_at = 8000000000000";
        rusqlite::Connection::open(&live).unwrap().execute(sql, []).unwrap();
        let store = open(&directory);
        deliver(&store, "two", None).unwrap();
        assert_eq!(stored_at(&directory), [ahead; 2]);
        store.seal().unwrap();
        deliver(&store, "three", None).unwrap();
        drop(store);
        let store = open(&directory);
        deliver(&store, "four", None).unwrap();
        assert_eq!(stored_at(&directory), [ahead; 4]);
        // Even if all segments with deliveries are gone.
        store.seal().unwrap();
        store.prune(Retention { age: None, size: Some(0) }).unwrap();
        drop(store);
        let store = open(&directory);
        deliver(&store, "five", None).unwrap();
        assert_eq!(stored_at(&directory), [ahead]);
    }

    #[test]
    fn retention_goes_by_when_a_delivery_was_stored() {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        // It claims to have been received in 1970.
        deliver(&store, "one", at(0, 0, 0)).unwrap();
        store.seal().unwrap();
        let age = Duration::from_secs(24 * 60 * 60);
        let retention = Retention { age: Some(age), size: None };
        assert!(store.prunable(retention).unwrap().is_empty());
        let catalog = Catalog::open(&directory).unwrap();
        let due = |now: i64| {
            let now = Millis::saturating(now);
            let due =
                crate::store::maintain::retention::due(&directory, &catalog, retention, false, now);
            due.unwrap().segments.len()
        };
        let stored = stored_at(&directory)[0].get();
        let day = age.as_millis() as i64;
        assert_eq!((due(stored + day), due(stored + day + 1)), (0, 1));
    }
}
