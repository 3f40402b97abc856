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
        let (Identity::Line(fingerprint) | Identity::Signed(fingerprint)) = self;
        database
            .prepare_cached(self.sql(database.columns().are_packed()))?
            .query_row((time, fingerprint.0.as_slice()), |row| row.get(0))
            .optional()
    }

    fn sql(self, packed: bool) -> &'static str {
        // The indexes of a packed segment are over the beginnings.
        match (self, packed) {
            (Identity::Line(_), false) => {
                "SELECT id FROM entries WHERE event_time = ?1 AND fingerprint = ?2"
            }
            (Identity::Line(_), true) => {
                "SELECT id FROM packed WHERE substr(fingerprint, 1, 4) = substr(?2, 1, 4)
                 AND coalesce(event_time, time) = ?1 AND fingerprint = ?2"
            }
            (Identity::Signed(_), false) => {
                "SELECT id FROM entries WHERE event_time = ?1 AND signed = ?2"
            }
            (Identity::Signed(_), true) => {
                "SELECT id FROM packed WHERE substr(signed, 1, 4) = substr(?2, 1, 4)
                 AND coalesce(event_time, time) = ?1 AND signed = ?2"
            }
        }
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
    record_signed_of_shown(connection, |_| false).map(drop)
}

/// Records the signed identities of valid entries that have none, but for those that are hidden. Returns
/// the number of valid entries that their key verifies, hidden or not.
pub(in crate::store) fn record_signed_of_shown(
    connection: &Connection,
    is_hidden: impl Fn(u64) -> bool,
) -> rusqlite::Result<u64> {
    // Version 1 stored what is signed once for each of its lines: the oldest has it.
    let mut record =
        connection.prepare("UPDATE OR IGNORE entries SET signed = ?2 WHERE id = ?1")?;
    let verified = valid(connection, "entries.signed IS NULL AND ?1", 1)?;
    for (signed, id) in verified.iter().filter(|(_, id)| !is_hidden(*id)) {
        record.execute((id, signed.0.as_slice()))?;
    }
    Ok(verified.len() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::segment::SCHEMA;
    use crate::store::segment::packed::Packer;
    use crate::store::sqlite;

    #[test]
    fn an_identity_is_found_by_its_index() {
        let temporary = tempfile::tempdir().unwrap();
        let live = sqlite::open(&temporary.path().join("x.db"), &SCHEMA).unwrap();
        let packed = Connection::open_in_memory().unwrap();
        Packer::new(&live, &packed, false, (None, &[])).unwrap().finish().unwrap();
        let plan = |connection: &Connection, sql: &str| -> String {
            let sql = format!("EXPLAIN QUERY PLAN {sql}");
            connection.query_row(&sql, (1, [0; 16]), |row| row.get(3)).unwrap()
        };
        let fingerprint = Fingerprint([0; 16]);
        for (identity, in_live, in_packed) in [
            (Identity::Line(fingerprint), "entries_identity", "packed_fingerprint"),
            (Identity::Signed(fingerprint), "entries_signed", "packed_signed"),
        ] {
            assert!(plan(&live, identity.sql(false)).contains(in_live));
            assert!(plan(&packed, identity.sql(true)).contains(in_packed));
        }
    }
}
