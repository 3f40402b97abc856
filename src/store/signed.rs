//! Signed identities where an earlier version recorded none.

use std::sync::Arc;

use rusqlite::Connection;

use crate::ingest::{CheckedLine, Fingerprint};
use crate::signature::{Key, KeySet};

/// The signed identities of the valid entries of a time, where they are not recorded: each is checked
/// again with the key that verified it.
pub(super) fn at(connection: &Connection, time: i64) -> rusqlite::Result<Vec<(Fingerprint, u64)>> {
    valid(connection, "entries.event_time = ?1", time)
}

/// Records the signed identities of valid entries that an earlier version stored without.
pub(super) fn record(connection: &Connection) -> rusqlite::Result<()> {
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
