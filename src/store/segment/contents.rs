//! Compares the contents of files before one of them is deleted.
//!
//! A file that may have entries is deleted only after its entries were found in another file that
//! is on disk. The exceptions are retention, `store prune` and `quarantine drop`, which the catalog
//! records first.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use data_encoding::HEXLOWER;
use ring::digest;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row};

use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::SEGMENT_WITH_SPELLINGS;
use crate::store::segment;
use crate::store::segment::blocks::with_raw;
use crate::store::segment::leaves::{self, Backfill};
use crate::store::segment::long_lines::{self, PIECE};
use crate::store::sqlite::{self, Access, Database};

/// Whether `whole` has every line, every delivery, every spelling and every leaf of `part`, with the same
/// ids.
pub(in crate::store) fn has_all(whole: &Path, part: &Path) -> Result<bool, StoreError> {
    has_all_with(whole, part, &[])
}

/// The same, if the entries of `whole` also have the leaves of `backfills`.
pub(in crate::store) fn has_all_with(
    whole: &Path,
    part: &Path,
    backfills: &[Backfill],
) -> Result<bool, StoreError> {
    let (whole_database, part_database) = (open(whole)?, open(part)?);
    let has_all = compare(&whole_database, &part_database, backfills);
    has_all.doing("compare with another file", part)
}

/// Opens a segment that may be in any state.
pub(in crate::store) fn open(path: &Path) -> Result<Database, StoreError> {
    match sqlite::open_read_only(path, &segment::SCHEMA, Access::Shared) {
        // It was being written. Its journal must be rolled back before it can be read.
        Err(StoreError::Sqlite { source, .. })
            if source.sqlite_error_code() == Some(ErrorCode::ReadOnly) =>
        {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            Connection::open_with_flags(path, flags)
                .and_then(|database| database.table_exists(None, "segment"))
                .doing("roll back", path)?;
            sqlite::open_read_only(path, &segment::SCHEMA, Access::Shared)
        }
        opened => opened,
    }
}

fn compare(whole: &Database, part: &Database, backfills: &[Backfill]) -> rusqlite::Result<bool> {
    // Entries without a line would not be compared.
    let without_line = "SELECT EXISTS (SELECT 1 FROM entries
                                       WHERE id NOT IN (SELECT id FROM raw))";
    if part.query_row(&with_raw(part.columns(), without_line), [], |row| row.get(0))? {
        return Ok(false);
    }
    let line = |one: &Row<'_>, other: &Row<'_>| -> rusqlite::Result<bool> {
        let (first, second) = (one.get_ref(1)?, other.get_ref(1)?);
        match (first, second) {
            (ValueRef::Null, _) | (_, ValueRef::Null) => {
                long_lines::is_same(whole, part, other.get(0)?)
            }
            (first, second) => Ok(first.as_bytes()? == second.as_bytes()?),
        }
    };
    Ok(contains((whole, &lines(whole)), (part, &lines(part)), line)?
        && contains((whole, DELIVERIES), (part, DELIVERIES), |_, _| Ok(true))?
        && has_spellings(whole, part)?
        && leaves::has_all(whole, part, backfills)?)
}

fn has_spellings(whole: &Database, part: &Database) -> rusqlite::Result<bool> {
    if part.version() < SEGMENT_WITH_SPELLINGS {
        return Ok(true);
    }
    let mut wanted = part.prepare("SELECT entry, fingerprint, line FROM spellings")?;
    let mut wanted = wanted.query([])?;
    while let Some(row) = wanted.next()? {
        let (entry, fingerprint): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let same = "SELECT 1 FROM spellings WHERE entry = ?1 AND fingerprint = ?2 AND line = ?3";
        if whole.version() < SEGMENT_WITH_SPELLINGS
            || !whole.prepare_cached(same)?.exists((
                entry,
                fingerprint,
                row.get_ref(2)?.as_bytes()?,
            ))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A line that a segment keeps as a spelling of an entry.
pub(in crate::store) fn spelling(
    segment: &Database,
    entry: u64,
    fingerprint: &[u8],
) -> rusqlite::Result<Option<Vec<u8>>> {
    if segment.version() < SEGMENT_WITH_SPELLINGS {
        return Ok(None);
    }
    let sql = "SELECT line FROM spellings WHERE entry = ?1 AND fingerprint = ?2";
    segment.prepare_cached(sql)?.query_row((entry, fingerprint), |row| row.get(0)).optional()
}

const DELIVERIES: &str = "SELECT id, id FROM deliveries ORDER BY id";

/// Selects the lines of a file. NULL for those that are compared in pieces.
fn lines(database: &Database) -> String {
    let in_pieces = match long_lines::has_pieces(database) {
        true => "(SELECT line_bytes IS NOT NULL FROM entries WHERE entries.id = raw.id)",
        false => "0",
    };
    let sql = format!(
        "SELECT id, CASE WHEN octet_length(line) > {PIECE} OR {in_pieces} THEN NULL ELSE line END
         FROM raw ORDER BY id"
    );
    with_raw(database.columns(), &sql)
}

/// Whether `whole` has each row of `part`, by the id in the first column.
fn contains(
    (whole, of_whole): (&Connection, &str),
    (part, of_part): (&Connection, &str),
    same: impl Fn(&Row<'_>, &Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let (mut whole, mut part) = (whole.prepare(of_whole)?, part.prepare(of_part)?);
    let (mut whole, mut part) = (whole.query([])?, part.query([])?);
    while let Some(wanted) = part.next()? {
        let id: u64 = wanted.get(0)?;
        let found = loop {
            match whole.next()? {
                Some(row) if row.get::<_, u64>(0)? < id => {}
                Some(row) => break row.get::<_, u64>(0)? == id && same(row, wanted)?,
                None => break false,
            }
        };
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file has a line, with all its pieces, for every id from `first` to `last`.
pub(in crate::store) fn is_dense(path: &Path, first: u64, last: u64) -> Result<bool, StoreError> {
    let database = open(path)?;
    let is_whole = match long_lines::has_pieces(&database) {
        true => {
            "id NOT IN (SELECT id FROM entries WHERE line_bytes <> (
                 SELECT coalesce(sum(length(bytes)), 0) FROM pieces WHERE entry = entries.id))"
        }
        false => "1",
    };
    let count = format!(
        "SELECT count(*) FROM raw WHERE id BETWEEN ?1 AND ?2 AND line IS NOT NULL AND {is_whole}"
    );
    let found: u64 = database
        .query_row(&with_raw(database.columns(), &count), [first, last], |row| row.get(0))
        .doing("count the lines", path)?;
    Ok(found == (last + 1).saturating_sub(first))
}

/// Whether a file is a segment without an entry and without a delivery, or has no bytes at all.
pub(in crate::store) fn is_empty(path: &Path) -> Result<bool, StoreError> {
    let database = open(path)?;
    if database.version() == 0 {
        // SQLite takes a few bytes of anything for an empty database.
        let bytes = std::fs::read(path).doing("read", path)?;
        let tables = "SELECT count(*) FROM sqlite_schema";
        return database
            .query_row(tables, [], |row| row.get::<_, u64>(0))
            .map(|tables| {
                tables == 0 && (bytes.is_empty() || bytes.starts_with(b"SQLite format 3\0"))
            })
            .doing("read", path);
    }
    let sql = "SELECT NOT EXISTS (SELECT 1 FROM entries) AND NOT EXISTS (SELECT 1 FROM raw)
                      AND NOT EXISTS (SELECT 1 FROM deliveries)";
    let sql = with_raw(database.columns(), sql);
    database.query_row(&sql, [], |row| row.get(0)).doing("read", path)
}

/// The size of a file, and its SHA-256 in hexadecimal.
pub(in crate::store) fn hash(path: &Path) -> Result<(u64, String), StoreError> {
    let run = || -> std::io::Result<(u64, String)> {
        let mut file = File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            context.update(buffer.get(..read).unwrap_or_default());
        }
        Ok((bytes, HEXLOWER.encode(context.finish().as_ref())))
    };
    run().doing("hash", path)
}
