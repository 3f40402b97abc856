//! Spellings: lines with the same signed identity.
//!
//! A line can be changed outside of what the signature covers: the signature can be moved, spaces
//! added, the entry wrapped in another object. The signed content is stored once. Of the other
//! lines of an entry the first [`MAX_SPELLINGS`] are kept, in the live segment. The overlay lists
//! them and counts all.

use rusqlite::Connection;

use crate::entry::Warning;
use crate::ingest::{Entry, Fingerprint};
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::{MAX_SPELLINGS, Overlay};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::blocks::with_raw;
use crate::store::segment::identity::{self, Identity};
use crate::store::segment::row::EntryMetadata;
use crate::store::sqlite::Database;
use crate::store::write::duplicates::OlderSegments;

/// A spelling that was received.
pub(in crate::store) struct NewSpelling {
    /// The entry that is shown.
    pub(in crate::store) entry: u64,
    pub(in crate::store) fingerprint: Fingerprint,
    /// The delivery that brought the line.
    pub(in crate::store) delivery: u64,
}

/// All segments: the closed ones and the live one.
pub(in crate::store) struct Segments<'a> {
    pub(in crate::store) older: &'a mut OlderSegments,
    /// The live segment and its first id, for the writer.
    pub(in crate::store) live: Option<(u64, &'a Database)>,
}

impl Segments<'_> {
    /// The segment that has the entry `id`.
    pub(in crate::store) fn with(&mut self, id: u64) -> Result<&Database, StoreError> {
        match self.live {
            Some((first_id, live)) if first_id <= id => Ok(live),
            _ => self.older.with(id),
        }
    }

    /// The line of the entry `id`, and the segment that has it.
    fn line(&mut self, id: u64) -> Result<(&Database, Vec<u8>), StoreError> {
        let segment = self.with(id)?;
        let sql = with_raw(segment.columns(), "SELECT line FROM raw WHERE id = ?1");
        let line = || segment.prepare_cached(&sql)?.query_row([id], |row| row.get(0));
        let line = line().doing("read a line", segment.path())?;
        Ok((segment, line))
    }

    /// The fingerprint of the entry `id`, and the delivery that it first came in.
    fn first_delivery(&mut self, id: u64) -> Result<(Vec<u8>, u64), StoreError> {
        let segment = self.with(id)?;
        let sql = "SELECT fingerprint, delivery FROM entries WHERE id = ?1";
        let found = || {
            let mut find = segment.prepare_cached(sql)?;
            find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        };
        found().doing("read an entry", segment.path())
    }

    /// The entry that is shown for the signed identity of `entry`. It was stored with this
    /// identity, or was found valid later.
    pub(in crate::store) fn find_shown(
        &mut self,
        catalog: &Catalog,
        entry: &Entry,
    ) -> Result<Option<u64>, StoreError> {
        let Some(signed) = entry.signed else { return Ok(None) };
        let (time, overlay) = (identity::time(entry), catalog.overlay());
        let mut find = || -> rusqlite::Result<Option<u64>> {
            let mut found = match self.live {
                Some((_, live)) => Identity::Signed(signed).find(live, time)?,
                None => None,
            };
            if found.is_none() {
                found = overlay.find_signed(signed, time)?;
            }
            let Some(id) = found.or_else(|| self.older.find_signed(entry)) else { return Ok(None) };
            Ok(Some(overlay.shown_instead_of(id)?.unwrap_or(id)))
        };
        find().doing("look for what is signed", catalog.path())
    }
}

/// Keeps a line in the live segment, whose first delivery is `first_delivery`, unless there are
/// enough.
pub(in crate::store) fn keep(
    overlay: &Overlay<'_>,
    live: &Connection,
    first_delivery: u64,
    spelling: &NewSpelling,
    line: &[u8],
) -> rusqlite::Result<()> {
    let NewSpelling { entry, fingerprint, delivery } = *spelling;
    // The overlay may not list the spellings of the live segment yet.
    let older = overlay.spellings_before(first_delivery, entry, fingerprint)?;
    let here: (u64, bool) = live
        .prepare_cached(
            "SELECT count(line), coalesce(max(fingerprint = ?2), 0) FROM spellings
             WHERE entry = ?1",
        )?
        .query_row((entry, fingerprint.0.as_slice()), |row| Ok((row.get(0)?, row.get(1)?)))?;
    if here.1 || older.1 || here.0 + older.0 >= MAX_SPELLINGS {
        return Ok(());
    }
    live.prepare_cached(
        "INSERT INTO spellings (entry, fingerprint, delivery, line) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((entry, fingerprint.0.as_slice(), delivery, line))
    .map(drop)
}

/// Counts a spelling. If it is the first of its entry, the entry gets a warning.
pub(in crate::store) fn count(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    spelling: &NewSpelling,
) -> Result<(), StoreError> {
    let NewSpelling { entry, fingerprint, delivery } = *spelling;
    let is_first = catalog.overlay().count_spelling(entry, fingerprint, delivery);
    match is_first.doing("count a spelling", catalog.path())? {
        true => mark(catalog, segments, entry),
        false => Ok(()),
    }
}

/// Adds a newer version of an entry. If another entry has the same signed identity, the one with
/// the lower id is shown and the other is hidden.
pub(in crate::store) fn put(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    mut entry: Entry,
    stored: &EntryMetadata<'_>,
) -> Result<(), StoreError> {
    let (overlay, path) = (catalog.overlay(), catalog.path());
    let put = |entry: &Entry| overlay.put(entry, stored).doing("enter a verdict", path);
    let hide = |id: u64, shown: u64, fingerprint: &[u8], delivery: u64| {
        overlay.hide(id, shown, fingerprint, delivery).doing("hide an entry", path)
    };
    match segments.find_shown(catalog, &entry)? {
        Some(other) if other < stored.id => {
            hide(stored.id, other, &entry.fingerprint.0, stored.delivery)?;
            mark(catalog, segments, other)
        }
        Some(other) if other > stored.id => {
            match segments.first_delivery(other) {
                Ok((fingerprint, delivery)) => hide(other, stored.id, &fingerprint, delivery)?,
                // Deliveries must be stored nevertheless.
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

fn mark(catalog: &Catalog, segments: &mut Segments<'_>, entry: u64) -> Result<(), StoreError> {
    amend(catalog, segments, entry, None, |warnings| Warning::SignatureMoved.note(warnings))
}

/// Changes the warnings of the entry `id`, and its input if there is a new one. If the entry cannot
/// be read, it stays as it is and the error is logged, so that deliveries can be stored.
pub(in crate::store) fn amend(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    id: u64,
    input: Option<&str>,
    warnings: impl FnOnce(&mut Vec<Warning>),
) -> Result<(), StoreError> {
    let (overlay, path, what) = (catalog.overlay(), catalog.path(), "enter what changed");
    if overlay.count_changed(&(id..=id)).doing(what, path)? == 0 {
        match segments.line(id) {
            Ok((segment, line)) => overlay.copy_from(segment, id, &line).doing(what, path)?,
            Err(error) => {
                tracing::warn!(%error, id, "an entry that came again cannot be read");
                return Ok(());
            }
        }
    }
    overlay.amend(id, input, warnings).doing(what, path)
}
