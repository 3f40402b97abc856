//! Spellings: lines with the same signed identity.
//!
//! A line can be changed where the signature does not cover it: the signature moved, spaces added,
//! the entry wrapped in another object. What is signed is stored once, whatever line it came in. Of
//! the other lines of an entry the first [`KEPT`] are kept, in the segment that takes entries then;
//! the catalog says which there are, and counts them all.

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;
use super::catalog::Catalog;
use super::error::SqliteContext;
use super::older::{self, Identity, Older};
use super::overlay;
use super::read::MAX_ID;
use super::row::Stored;
use super::sqlite::Database;
use crate::entry::Warning;
use crate::ingest::{Entry, Fingerprint};

/// So many other lines of an entry are kept.
const KEPT: u64 = 16;

/// Another line of an entry that is there.
pub(super) struct Spelling {
    /// The entry that is shown.
    pub(super) entry: u64,
    pub(super) fingerprint: Fingerprint,
    /// The delivery that brought the line.
    pub(super) delivery: u64,
}

/// The segments that an entry may be in: those that take no more appends, and the writer's own.
pub(super) struct Segments<'a> {
    pub(super) older: &'a mut Older,
    /// The live segment with its first id, where it is not among `older`.
    pub(super) live: Option<(u64, &'a Database)>,
}

impl Segments<'_> {
    /// The segment that has the entry `id`.
    pub(super) fn with(&mut self, id: u64) -> Result<&Database, StoreError> {
        match self.live {
            Some((first_id, live)) if first_id <= id => Ok(live),
            _ => self.older.with(id),
        }
    }

    /// The line of the entry `id`, and the segment that has it.
    pub(super) fn line(&mut self, id: u64) -> Result<(&Database, Vec<u8>), StoreError> {
        let segment = self.with(id)?;
        let sql = "SELECT line FROM raw WHERE id = ?1";
        let line = || segment.prepare_cached(sql)?.query_row([id], |row| row.get(0));
        let line = line().doing("read a line", segment.path().unwrap_or_default().as_ref())?;
        Ok((segment, line))
    }

    /// The fingerprint of the entry `id`, and the delivery that it first came in.
    fn came(&mut self, id: u64) -> Result<(Vec<u8>, u64), StoreError> {
        let segment = self.with(id)?;
        let sql = "SELECT fingerprint, delivery FROM entries WHERE id = ?1";
        let came = || {
            let mut find = segment.prepare_cached(sql)?;
            find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        came().doing("read an entry", segment.path().unwrap_or_default().as_ref())
    }

    /// The entry that is shown with the signed identity of `entry`: it was stored with it, or was found
    /// valid later.
    pub(super) fn find_shown(
        &mut self,
        catalog: &Catalog,
        entry: &Entry,
    ) -> Result<Option<u64>, StoreError> {
        let Some(identity) = entry.signed.map(Identity::Signed) else { return Ok(None) };
        let (time, Catalog { connection, path }) = (older::time(entry), catalog);
        let mut find = || -> rusqlite::Result<Option<u64>> {
            let mut found = match self.live {
                Some((_, live)) => identity.find(live, time)?,
                None => None,
            };
            if found.is_none() {
                found = identity.find(connection, time)?;
            }
            let Some(id) = found.or_else(|| self.older.find_signed(entry)) else { return Ok(None) };
            Ok(Some(shown(connection, id)?.unwrap_or(id)))
        };
        find().doing("look for what is signed", path)
    }
}

/// The entry that is shown in the place of the entry `id`, if that one is hidden.
pub(super) fn shown(catalog: &Connection, id: u64) -> rusqlite::Result<Option<u64>> {
    catalog
        .prepare_cached("SELECT entry FROM spellings WHERE hidden = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()
}

/// Keeps a line in the live segment, whose first delivery is `first_delivery`, unless enough are kept.
pub(super) fn keep(
    catalog: &Connection,
    live: &Connection,
    first_delivery: u64,
    spelling: &Spelling,
    line: &[u8],
) -> rusqlite::Result<()> {
    let (entry, fingerprint) = (spelling.entry, spelling.fingerprint.0.as_slice());
    let kept = |connection: &Connection, before: u64| -> rusqlite::Result<(u64, bool)> {
        connection
            .prepare_cached(
                "SELECT count(*), coalesce(max(fingerprint = ?2), 0) FROM spellings
                 WHERE entry = ?1 AND delivery < ?3 AND fingerprint <> x''",
            )?
            .query_row((entry, fingerprint, before), |row| Ok((row.get(0)?, row.get(1)?)))
    };
    // The catalog may not know yet what the live segment has.
    let (in_live, in_older) = (kept(live, MAX_ID)?, kept(catalog, first_delivery)?);
    if in_live.1 || in_older.1 || in_live.0 + in_older.0 >= KEPT {
        return Ok(());
    }
    live.prepare_cached(
        "INSERT INTO spellings (entry, fingerprint, delivery, line) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((entry, fingerprint, spelling.delivery, line))
    .map(drop)
}

/// Counts a line that came, and marks its entry if it is the first.
pub(super) fn count(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    spelling: &Spelling,
) -> Result<(), StoreError> {
    let Spelling { entry, fingerprint, delivery } = spelling;
    let run = || -> rusqlite::Result<bool> {
        let (kept, known): (u64, bool) = catalog
            .connection
            .prepare_cached(
                "SELECT count(*), coalesce(max(fingerprint = ?2), 0) FROM spellings
                 WHERE entry = ?1",
            )?
            .query_row((entry, fingerprint.0.as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let listed = if known || kept < KEPT { fingerprint.0.as_slice() } else { &[] };
        catalog
            .connection
            .prepare_cached(
                "INSERT INTO spellings (entry, fingerprint, delivery, count) VALUES (?1, ?2, ?3, 1)
                 ON CONFLICT (entry, fingerprint) DO UPDATE SET count = count + 1",
            )?
            .execute((entry, listed, delivery))?;
        Ok(kept == 0)
    };
    if run().doing("count a spelling", &catalog.path)? {
        mark(catalog, segments, *entry)?;
    }
    Ok(())
}

/// Enters what an entry is now. If another entry has its signed identity, the one with the lower id is
/// shown and the other one is hidden.
pub(super) fn put(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    mut entry: Entry,
    stored: &Stored<'_>,
) -> Result<(), StoreError> {
    let Catalog { connection, path } = catalog;
    let put =
        |entry: &Entry| overlay::put(connection, entry, stored).doing("enter a verdict", path);
    let hide = |id: u64, shown: u64, fingerprint: &[u8], delivery: u64| {
        hide(connection, id, shown, fingerprint, delivery).doing("hide an entry", path)
    };
    match segments.find_shown(catalog, &entry)? {
        Some(other) if other < stored.id => {
            hide(stored.id, other, &entry.fingerprint.0, stored.delivery)?;
            mark(catalog, segments, other)
        }
        Some(other) if other > stored.id => {
            match segments.came(other) {
                Ok((fingerprint, delivery)) => hide(other, stored.id, &fingerprint, delivery)?,
                // It must not keep deliveries from being stored.
                Err(error) => {
                    tracing::warn!(%error, id = other, "an entry cannot be read to be hidden")
                }
            }
            Warning::SignatureMoved.note(&mut entry.warnings);
            put(&entry)
        }
        Some(_) | None => put(&entry),
    }
}

/// Hides the entry `id`, in whose place `shown` is shown.
fn hide(
    catalog: &Connection,
    id: u64,
    shown: u64,
    fingerprint: &[u8],
    delivery: u64,
) -> rusqlite::Result<()> {
    overlay::forget(catalog, id, id)?;
    catalog
        .prepare_cached("UPDATE OR REPLACE spellings SET entry = ?2 WHERE entry = ?1")?
        .execute((id, shown))?;
    catalog
        .prepare_cached(
            "INSERT OR REPLACE INTO spellings (entry, fingerprint, delivery, count, hidden)
             VALUES (?1, ?2, ?3, 1, ?4)",
        )?
        .execute((shown, fingerprint, delivery, id))
        .map(drop)
}

fn mark(catalog: &Catalog, segments: &mut Segments<'_>, entry: u64) -> Result<(), StoreError> {
    overlay::amend(catalog, segments, entry, None, |warnings| {
        let moved = Warning::SignatureMoved.as_str();
        if warnings.iter().all(|one| one != moved) {
            warnings.push(moved.to_owned());
        }
    })
}

/// Forgets the spellings of the entries `first` to `last`.
pub(super) fn forget(catalog: &Connection, first: u64, last: u64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM spellings WHERE entry BETWEEN ?1 AND ?2 OR hidden BETWEEN ?1 AND ?2";
    catalog.execute(sql, (first, last)).map(drop)
}
