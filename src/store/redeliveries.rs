//! Further deliveries of entries whose segment takes no more appends: they are counted in the
//! catalog, and laid over on reading.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::StoreError;
use super::catalog::Catalog;
use super::error::SqliteContext;

/// Counts one more delivery of each of these entries.
pub(super) fn add(catalog: &Catalog, entries: &[u64]) -> Result<(), StoreError> {
    let run = || {
        let mut count = catalog.connection.prepare_cached(
            "INSERT INTO redeliveries (entry, count) VALUES (?1, 1)
             ON CONFLICT (entry) DO UPDATE SET count = count + 1",
        )?;
        entries.iter().try_for_each(|entry| count.execute([entry]).map(drop))
    };
    run().doing("count deliveries", &catalog.path)
}

/// The counts of the entries `first` to `last`.
pub(super) fn of(
    connection: &Connection,
    first: u64,
    last: u64,
) -> rusqlite::Result<BTreeMap<u64, u64>> {
    connection
        .prepare_cached("SELECT entry, count FROM redeliveries WHERE entry BETWEEN ?1 AND ?2")?
        .query_map((first, last), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Takes back counts that now stand in a segment.
pub(super) fn subtract(
    connection: &Connection,
    merged: &BTreeMap<u64, u64>,
) -> rusqlite::Result<()> {
    let mut less =
        connection.prepare_cached("UPDATE redeliveries SET count = count - ?2 WHERE entry = ?1")?;
    for (entry, count) in merged {
        less.execute((entry, count))?;
    }
    connection.execute("DELETE FROM redeliveries WHERE count <= 0", []).map(drop)
}
