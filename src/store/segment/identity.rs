//! The identities of an entry, by which duplicates are found.
//!
//! Earlier versions recorded no signed identities. They are computed by checking the valid entries
//! again.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use crate::entry::Millis;
use crate::ingest::{CheckedLine, Entry, Fingerprint};
use crate::signature::{Key, KeySet};
use crate::store::sqlite::Database;

/// An identity of an entry.
#[derive(Clone, Copy)]
pub(in crate::store) enum Identity {
    /// The fingerprint of its line.
    Line(Fingerprint),
    /// Its signed identity.
    Signed(Fingerprint),
}

impl Identity {
    /// Finds the entry with this identity and time. The file must have the column.
    pub(in crate::store) fn find(
        self,
        database: &Database,
        time: i64,
    ) -> rusqlite::Result<Option<u64>> {
        let (column, fingerprint) = match self {
            Identity::Line(line) => ("fingerprint", line),
            Identity::Signed(signed) => ("signed", signed),
        };
        // The index of a packed segment is over the beginning.
        let begins = match database.columns().are_packed() {
            true => format!("substr({column}, 1, 4) = substr(?2, 1, 4) AND "),
            false => String::new(),
        };
        let sql = format!("SELECT id FROM entries WHERE {begins}event_time = ?1 AND {column} = ?2");
        database
            .prepare_cached(&sql)?
            .query_row((time, fingerprint.0.as_slice()), |row| row.get(0))
            .optional()
    }
}

/// The time that is part of the identities of an entry, in milliseconds. 0 if it has none.
pub(in crate::store) fn time(entry: &Entry) -> i64 {
    entry.event_time.map_or(0, Millis::get)
}

/// Computes the signed identities of the valid entries of a time. Each entry is checked again with
/// the key that verified it.
pub(in crate::store) fn signed_at(
    connection: &Connection,
    time: i64,
) -> rusqlite::Result<Vec<(Fingerprint, u64)>> {
    valid(connection, "entries.event_time = ?1", time)
}

/// Records the signed identities of valid entries that an earlier version stored without.
pub(in crate::store) fn record_signed(connection: &Connection) -> rusqlite::Result<()> {
    // That version stored what is signed once for each of its lines: the oldest has it.
    let mut record =
        connection.prepare("UPDATE OR IGNORE entries SET signed = ?2 WHERE id = ?1")?;
    for (signed, id) in valid(connection, "entries.signed IS NULL AND ?1", 1)? {
        record.execute((id, signed.0.as_slice()))?;
    }
    Ok(())
}

fn valid(
    connection: &Connection,
    which: &str,
    parameter: i64,
) -> rusqlite::Result<Vec<(Fingerprint, u64)>> {
    let sql = format!(
        "SELECT entries.id, raw.line, keys.public FROM entries
         JOIN raw ON raw.id = entries.id JOIN keys ON keys.id = entries.key
         WHERE entries.verdict = 'valid' AND {which} ORDER BY entries.id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([parameter])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let keys = KeySet::new([Arc::new(Key::new(None, row.get(2)?))]);
        let examined = CheckedLine::new(row.get_ref(1)?.as_bytes()?, &keys, usize::MAX);
        let id: u64 = row.get(0)?;
        found.extend(examined.signed().map(|signed| (signed, id)));
    }
    Ok(found)
}
