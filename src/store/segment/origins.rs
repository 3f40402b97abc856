//! When the deliveries of a segment were stored, and where they stood in a journal.
//!
//! The quarantine in the catalog has the same columns for its bodies. The format is described in
//! docs/store.md.

use rusqlite::{Connection, Row};

use crate::store::origin::{EpochCursor, Origin};
use crate::store::schema::SEGMENT_WITH_ORIGINS;
use crate::store::segment::range;
use crate::store::sqlite::Database;

/// The numbers of an epoch from which a table has rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct EpochSpan {
    /// The smallest number.
    pub(in crate::store) min_number: u64,
    /// The largest number, and the positions of it.
    pub(in crate::store) cursor: EpochCursor,
}

/// The epochs from which a segment has deliveries, in order.
pub(in crate::store) fn spans(segment: &Database) -> rusqlite::Result<Vec<EpochSpan>> {
    match segment.version() < SEGMENT_WITH_ORIGINS {
        true => Ok(Vec::new()),
        false => spans_of(segment, "deliveries"),
    }
}

/// The epochs from which a table has rows, in order.
pub(in crate::store) fn spans_of(
    database: &Connection,
    table: &str,
) -> rusqlite::Result<Vec<EpochSpan>> {
    let mut epochs = database.prepare(&format!(
        "SELECT epoch, min(number), max(number) FROM {table} WHERE epoch IS NOT NULL
         GROUP BY epoch ORDER BY epoch"
    ))?;
    let mut positions = database
        .prepare(&format!("SELECT position FROM {table} WHERE epoch = ?1 AND number = ?2"))?;
    let mut rows = epochs.query([])?;
    let mut spans = Vec::new();
    while let Some(row) = rows.next()? {
        let mut cursor = EpochCursor::at(row.get(0)?, row.get(2)?);
        let mut found = positions.query((cursor.epoch, cursor.number))?;
        while let Some(row) = found.next()? {
            cursor.positions.insert(row.get(0)?);
        }
        spans.push(EpochSpan { min_number: row.get(1)?, cursor });
    }
    Ok(spans)
}

/// Whether a segment has the delivery from this origin.
pub(in crate::store) fn has(segment: &Database, origin: &Origin) -> rusqlite::Result<bool> {
    match segment.version() < SEGMENT_WITH_ORIGINS {
        true => Ok(false),
        false => has_in(segment, "deliveries", origin),
    }
}

/// Whether a table has the row of this origin.
pub(in crate::store) fn has_in(
    database: &Connection,
    table: &str,
    origin: &Origin,
) -> rusqlite::Result<bool> {
    let sql = format!("SELECT 1 FROM {table} WHERE epoch = ?1 AND number = ?2 AND position = ?3");
    database.prepare_cached(&sql)?.exists((origin.epoch, origin.number, origin.position))
}

/// The values of the columns `epoch`, `number` and `position`.
pub(in crate::store) fn values(origin: Option<Origin>) -> (Option<u64>, Option<u64>, Option<u32>) {
    (origin.map(|one| one.epoch), origin.map(|one| one.number), origin.map(|one| one.position))
}

/// Reads the columns `epoch`, `number` and `position`. A row of an earlier version has none.
pub(in crate::store) fn origin(row: &Row<'_>) -> rusqlite::Result<Option<Origin>> {
    let Some(epoch) = optional(row, "epoch")? else { return Ok(None) };
    Ok(Some(Origin { epoch, number: row.get("number")?, position: row.get("position")? }))
}

/// The value of a column that earlier versions lack.
pub(in crate::store) fn optional<T: rusqlite::types::FromSql>(
    row: &Row<'_>,
    name: &str,
) -> rusqlite::Result<Option<T>> {
    match row.get(name) {
        Err(rusqlite::Error::InvalidColumnName(_)) => Ok(None),
        found => found,
    }
}

/// When the first and the last delivery of a segment of this version were stored. `None` if there is no
/// delivery, or if the version does not say it.
pub(in crate::store) fn stored_at(
    segment: &Connection,
    version: usize,
) -> rusqlite::Result<Option<(i64, i64)>> {
    if version < SEGMENT_WITH_ORIGINS {
        return Ok(None);
    }
    // It never decreases, but rows that an earlier version wrote may.
    let sql = "SELECT min(stored_at), max(stored_at) FROM deliveries";
    segment.query_row(sql, [], |row| range(row, 0))
}
