//! Writes entries that are known from elsewhere into a segment that is built anew.
//!
//! Nothing is parsed and no verdict is made here. What is recorded of an entry is written as it is, and
//! [`crate::store::segment::identity`] computes the signed identities by checking the signatures.

use rusqlite::{Connection, ToSql};

use crate::entry::record::{Origin, Record};
use crate::entry::{Format, Kind, Millis, Warning};
use crate::ingest::Fingerprint;
use crate::signature::Key;
use crate::store::segment::row::{FIRST, key_id, put_extension, put_known};

/// An entry as a store had it.
#[derive(Clone, Copy, Debug)]
pub struct RestoredEntry<'a> {
    /// What is shown of it. Its line is whole, or the beginning of a line that is too long to be parsed.
    pub record: &'a Record,
    /// The time that the entry states.
    pub event_time: Option<Millis>,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// The key that verified it.
    pub key: Option<&'a Key>,
    /// What the signature covers, as a word.
    pub covers: Option<&'a str>,
    /// The entry that is shown instead of it.
    pub hidden_by: Option<u64>,
}

/// Writes an entry with the fingerprint of its line. Its signed identity is left out.
pub(in crate::store) fn put_entry(
    segment: &Connection,
    entry: &RestoredEntry<'_>,
    fingerprint: Fingerprint,
) -> rusqlite::Result<()> {
    let record = entry.record;
    let Origin::Stored { id, input, received_at, delivery_count } = &record.origin else {
        let why = "an entry that is in no store cannot be restored";
        return Err(rusqlite::Error::UserFunctionError(why.into()));
    };
    let key = match entry.key {
        Some(key) => Some(key_id(segment, &key.thumbprint().to_string(), key.kid(), key.public())?),
        None => None,
    };
    let warnings = (!record.warnings.is_empty()).then(|| Warning::join(&record.warnings, " "));
    let signed: Option<&[u8]> = None;
    let first: [&dyn ToSql; FIRST.len()] = [
        id,
        &received_at.get(),
        &record.time.unwrap_or(*received_at).get(),
        &entry.event_time.map_or(0, Millis::get),
        &fingerprint.0.as_slice(),
        &entry.delivery,
        input,
        &Format::word(record.format),
        &record.kind.map(Kind::as_str),
        &record.verdict.as_str(),
        &record.reason,
        &key,
        &entry.covers,
        &warnings,
        delivery_count,
        &signed,
        &record.whole.and_then(|whole| whole.bytes),
        &record.whole.and_then(|whole| whole.sha256).map(|sha256| sha256.to_vec()),
    ];
    put_known(segment, &first, &record.fields)?;
    segment
        .prepare_cached("INSERT INTO raw (id, line) VALUES (?1, ?2)")?
        .execute((id, &record.raw))?;
    for (name, value) in record.fields.extensions() {
        put_extension(segment, *id, name, value)?;
    }
    Ok(())
}

/// Writes a piece of a line that is too long to be parsed.
pub(in crate::store) fn put_piece(
    segment: &Connection,
    entry: u64,
    number: u64,
    bytes: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO pieces (entry, number, bytes) VALUES (?1, ?2, ?3)";
    segment.prepare_cached(sql)?.execute((entry, number, bytes)).map(drop)
}

/// Writes another line with the signed identity of an entry.
pub(in crate::store) fn put_spelling(
    segment: &Connection,
    entry: u64,
    fingerprint: &[u8],
    delivery: u64,
    line: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO spellings (entry, fingerprint, delivery, line) VALUES (?1, ?2, ?3, ?4)";
    segment.prepare_cached(sql)?.execute((entry, fingerprint, delivery, line)).map(drop)
}
