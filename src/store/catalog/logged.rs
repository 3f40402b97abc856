//! What has a leaf in the log, of all that happens after an entry was stored.
//!
//! A leaf is noted here after it was committed. So a crash may repeat a leaf, and none is left out.

use std::ops::RangeInclusive;

use rusqlite::Row;

use super::Catalog;
use super::overlay::Overlay;
use crate::store::error::StoreError;
use crate::store::schema::CATALOG_WITH_LEAVES;
use crate::store::segment::leaves::Backfill;
use crate::store::sqlite::MAX_ID;

/// How far the log has what happened later.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct LoggedUntil {
    /// The number of the last change.
    pub(in crate::store) change: u64,
    /// Entries up to this id that were stored before the log began. [`MAX_ID`]: all.
    pub(in crate::store) backfilled: u64,
}

/// A removal that has no leaf.
#[derive(Debug)]
pub(in crate::store) struct UnloggedRemoval {
    /// Its number.
    pub(in crate::store) number: u64,
    /// The ids of the segment.
    pub(in crate::store) ids: RangeInclusive<u64>,
    /// Why, as a word.
    pub(in crate::store) reason: String,
    /// The SHA-256 of its file in hexadecimal, if it was sealed.
    pub(in crate::store) sha256: Option<String>,
}

impl Catalog {
    /// How far the log has changes and earlier entries.
    pub(in crate::store) fn logged_until(&self) -> Result<LoggedUntil, StoreError> {
        self.read("read what the log has", |catalog| {
            catalog.query_row("SELECT change, backfilled FROM logged", [], |row| {
                Ok(LoggedUntil { change: row.get(0)?, backfilled: row.get(1)? })
            })
        })
    }

    /// Notes that the changes up to this number have their leaves.
    pub(in crate::store) fn note_logged_changes(&self, until: u64) -> Result<(), StoreError> {
        self.write("note what the log has", |catalog| {
            catalog.execute("UPDATE logged SET change = ?1", [until]).map(drop)
        })
    }

    /// The ranges of ids that are gaps and have no leaf.
    pub(in crate::store) fn unlogged_gaps(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let sql = "SELECT first_id, last_id FROM gaps WHERE logged = 0 ORDER BY first_id";
        self.read("read the gaps", |catalog| {
            catalog
                .prepare_cached(sql)?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// Notes that these gaps have their leaves.
    pub(in crate::store) fn note_logged_gaps(&self, gaps: &[(u64, u64)]) -> Result<(), StoreError> {
        let sql = "UPDATE gaps SET logged = 1 WHERE first_id = ?1 AND last_id = ?2";
        self.write("note what the log has", |catalog| {
            gaps.iter().try_for_each(|gap| catalog.execute(sql, *gap).map(drop))
        })
    }

    /// The removals that have no leaf, oldest first.
    pub(in crate::store) fn unlogged_removals(&self) -> Result<Vec<UnloggedRemoval>, StoreError> {
        let sql = "SELECT id, first_id, last_id, reason, sha256 FROM removals
                   WHERE id > (SELECT removal FROM logged) ORDER BY id";
        let removal = |row: &Row<'_>| {
            let (number, ids) = (row.get(0)?, row.get(1)?..=row.get(2)?);
            Ok(UnloggedRemoval { number, ids, reason: row.get(3)?, sha256: row.get(4)? })
        };
        self.read("read what was removed", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], removal)?.collect()
        })
    }

    /// Notes that the removals up to this number have their leaves.
    pub(in crate::store) fn note_logged_removals(&self, until: u64) -> Result<(), StoreError> {
        self.write("note what the log has", |catalog| {
            catalog.execute("UPDATE logged SET removal = ?1", [until]).map(drop)
        })
    }

    /// The sealed segments whose file has no leaf: their ids, and the SHA-256 of the file in
    /// hexadecimal.
    pub(in crate::store) fn unlogged_seals(
        &self,
    ) -> Result<Vec<(RangeInclusive<u64>, String)>, StoreError> {
        let sql = "SELECT first_id, last_id, sha256 FROM segments
                   WHERE state = 'sealed' AND sha256 IS NOT logged_sha256 ORDER BY first_id";
        self.read("list the sealed segments", |catalog| {
            let mut select = catalog.prepare_cached(sql)?;
            select.query_map([], |row| Ok((row.get(0)?..=row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// Notes that these sealed segments have their leaves.
    pub(in crate::store) fn note_logged_seals(
        &self,
        seals: &[(RangeInclusive<u64>, String)],
    ) -> Result<(), StoreError> {
        let sql = "UPDATE segments SET logged_sha256 = ?2 WHERE first_id = ?1";
        self.write("note what the log has", |catalog| {
            let note = |(ids, sha256): &(RangeInclusive<u64>, String)| {
                catalog.execute(sql, (ids.start(), sha256)).map(drop)
            };
            seals.iter().try_for_each(note)
        })
    }

    /// Enters the leaves of earlier entries.
    pub(in crate::store) fn enter_backfill(&self, backfill: &Backfill) -> Result<(), StoreError> {
        let Backfill { first_id, first_leaf, salts } = backfill;
        let last_id = first_id + (salts.len() as u64).saturating_sub(1);
        let sql = "INSERT OR REPLACE INTO backfills (first_id, last_id, first_leaf, salts)
                   VALUES (?1, ?2, ?3, ?4)";
        self.write("note what the log has", |catalog| {
            catalog.execute(sql, (first_id, last_id, first_leaf, salts.as_flattened()))?;
            catalog.execute("UPDATE logged SET backfilled = ?1", [last_id]).map(drop)
        })
    }

    /// Notes that all entries up to this id have a leaf, or get none.
    pub(in crate::store) fn note_backfilled(&self, until: u64) -> Result<(), StoreError> {
        self.write("note what the log has", |catalog| {
            catalog.execute("UPDATE logged SET backfilled = ?1", [until]).map(drop)
        })
    }
}

impl Overlay<'_> {
    /// The leaves that entries among `ids` got after they were stored, and of some around them, in order
    /// of id.
    pub(in crate::store) fn backfills(
        &self,
        ids: &RangeInclusive<u64>,
    ) -> rusqlite::Result<Vec<Backfill>> {
        if self.database().version() < CATALOG_WITH_LEAVES {
            return Ok(Vec::new());
        }
        let sql = "SELECT first_id, first_leaf, salts FROM backfills
                   WHERE first_id <= ?2 AND last_id >= ?1 AND first_id >=
                       coalesce((SELECT max(first_id) FROM backfills WHERE first_id <= ?1), 0)
                   ORDER BY first_id";
        let backfill = |row: &Row<'_>| {
            let (salts, _) = row.get_ref(2)?.as_blob()?.as_chunks();
            let salts = salts.to_vec();
            Ok(Backfill { first_id: row.get(0)?, first_leaf: row.get(1)?, salts })
        };
        let ids = (ids.start(), ids.end().min(&MAX_ID));
        self.database().prepare_cached(sql)?.query_map(ids, backfill)?.collect()
    }

    /// Deletes the leaves of entries that are in the file of their segment by now, or no longer exist.
    pub(super) fn forget_backfills(&self, ids: &RangeInclusive<u64>) -> rusqlite::Result<()> {
        let sql = "DELETE FROM backfills WHERE first_id BETWEEN ?1 AND ?2";
        self.database().execute(sql, (ids.start(), ids.end())).map(drop)
    }
}
