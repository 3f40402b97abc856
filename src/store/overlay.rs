//! What was learned of entries after they were stored.
//!
//! It stands in the catalog, in tables like those of a segment, and is laid over the segment on
//! reading. Every change has a number, so that those who read the entry before are told.

use rusqlite::Connection;

use super::StoreError;
use super::catalog::Catalog;
use super::error::SqliteContext;
use super::read::MAX_ID;
use super::row::{self, Stored};
use super::spellings::Segments;
use crate::clock::now;
use crate::ingest::Entry;

/// Enters what an entry is now.
pub(super) fn put(
    catalog: &Connection,
    entry: &Entry,
    stored: &Stored<'_>,
) -> rusqlite::Result<()> {
    forget(catalog, stored.id, stored.id)?;
    row::insert(catalog, entry, stored)?;
    note_change(catalog, stored.id)
}

/// Enters other warnings of the entry `id`, and the input whose delivery it shows if that is another
/// one now. An entry that cannot be read stays as it is, with a warning: it must not keep deliveries
/// from being stored.
pub(super) fn amend(
    catalog: &Catalog,
    segments: &mut Segments<'_>,
    id: u64,
    input: Option<&str>,
    warnings: impl FnOnce(&mut Vec<String>),
) -> Result<(), StoreError> {
    let Catalog { connection: catalog, path } = catalog;
    let what = "enter what changed";
    let is_there = || catalog.prepare_cached("SELECT 1 FROM entries WHERE id = ?1")?.exists([id]);
    if !is_there().doing(what, path)? {
        let (segment, line) = match segments.line(id) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, id, "an entry that came again cannot be read");
                return Ok(());
            }
        };
        let copy = || {
            row::copy(segment, catalog, id)?;
            let sql = "INSERT INTO raw (id, line) VALUES (?1, ?2)";
            catalog.prepare_cached(sql)?.execute((id, line))
        };
        copy().doing(what, path)?;
    }
    let run = || {
        let words: Option<String> = catalog
            .prepare_cached("SELECT warnings FROM entries WHERE id = ?1")?
            .query_row([id], |row| row.get(0))?;
        let words = words.unwrap_or_default();
        let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        warnings(&mut words);
        let words = (!words.is_empty()).then(|| words.join(" "));
        catalog
            .prepare_cached(
                "UPDATE entries SET warnings = ?2, input = coalesce(?3, input) WHERE id = ?1",
            )?
            .execute((id, words, input))?;
        note_change(catalog, id)
    };
    run().doing(what, path)
}

/// Removes what is laid over the entries `first` to `last`.
pub(super) fn forget(catalog: &Connection, first: u64, last: u64) -> rusqlite::Result<()> {
    forget_until(catalog, first, last, MAX_ID)
}

/// Removes what is laid over the entries `first` to `last`, but for those that changed after the change
/// number `change`.
pub(super) fn forget_until(
    catalog: &Connection,
    first: u64,
    last: u64,
    change: u64,
) -> rusqlite::Result<()> {
    for (table, id) in [("entries", "id"), ("raw", "id"), ("extensions", "entry")] {
        let sql = format!(
            "DELETE FROM {table} WHERE {id} BETWEEN ?1 AND ?2
                 AND {id} NOT IN (SELECT entry FROM changes WHERE change > ?3)"
        );
        catalog.prepare_cached(&sql)?.execute((first, last, change))?;
    }
    Ok(())
}

/// The number of the last change.
pub(super) fn last_change(catalog: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(change), 0) FROM changes";
    catalog.query_row(sql, [], |row| row.get(0))
}

fn note_change(catalog: &Connection, id: u64) -> rusqlite::Result<()> {
    catalog
        .prepare_cached("INSERT INTO changes (entry, changed_at) VALUES (?1, ?2)")?
        .execute((id, now().get()))
        .map(drop)
}
