//! The rows of the tables that say how far a journal was read.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::entry::Millis;
use crate::store::origin::{EpochCursor, EpochEnd, Skip};
use crate::store::segment::origins::EpochSpan;

pub(super) fn enter_skip(catalog: &Connection, skip: &Skip) -> rusqlite::Result<()> {
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

pub(super) fn enter_end(catalog: &Connection, end: &EpochEnd) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO journal_ends (epoch, number, found_at) VALUES (?1, ?2, ?3)";
    catalog.execute(sql, (end.epoch, end.number, end.found_at.get())).map(drop)
}

/// Enters from which epochs a segment that is closed has deliveries.
pub(in crate::store::catalog) fn enter_spans(
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
pub(in crate::store::catalog) fn forget_spans(
    catalog: &Connection,
    first_id: u64,
) -> rusqlite::Result<()> {
    catalog.execute("DELETE FROM segment_epochs WHERE first_id = ?1", [first_id]).map(drop)
}

pub(super) fn cursor(row: &Row<'_>) -> rusqlite::Result<EpochCursor> {
    let positions = row.get_ref(2)?.as_str()?.parse();
    let positions = positions.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error))
    })?;
    Ok(EpochCursor { positions, ..EpochCursor::at(row.get(0)?, row.get(1)?) })
}

pub(super) fn skip(row: &Row<'_>) -> rusqlite::Result<Skip> {
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

pub(super) fn end(row: &Row<'_>) -> rusqlite::Result<EpochEnd> {
    Ok(EpochEnd {
        epoch: row.get(0)?,
        number: row.get(1)?,
        found_at: Millis::saturating(row.get(2)?),
    })
}
