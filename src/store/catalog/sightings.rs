//! The keys that were ever seen, with their sources and times. They are never deleted.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row};

use super::Catalog;
use crate::entry::Millis;
use crate::signature::{Key, KeySet};
use crate::store::directory::Directory;
use crate::store::error::StoreError;

/// A key at one of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The file or URL of the key set.
    pub source: String,
    pub key: Key,
    /// When the set had it first.
    pub first_seen: Millis,
    /// When the set had it last.
    pub last_seen: Millis,
}

/// A source of keys and its last result.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The file or URL of the key set.
    pub source: String,
    /// When it was last read.
    pub attempted_at: Millis,
    /// When it was last read successfully.
    pub succeeded_at: Option<Millis>,
    /// The error of the last attempt.
    pub error: Option<String>,
}

/// Records the result of a source: its key set or an error.
pub(in crate::store) fn enter(
    catalog: &Catalog,
    source: &str,
    result: Result<&KeySet, &str>,
    now: Millis,
) -> Result<(), StoreError> {
    catalog.write("enter keys", |transaction| {
        transaction.execute(
            "INSERT INTO sources (source, attempted_at, succeeded_at, error)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (source) DO UPDATE SET attempted_at = ?2,
                 succeeded_at = coalesce(?3, succeeded_at), error = ?4",
            (source, now.get(), result.is_ok().then_some(now.get()), result.err()),
        )?;
        for key in result.into_iter().flat_map(KeySet::keys) {
            transaction.execute(
                "INSERT INTO sightings (source, thumbprint, kid, public, first_seen, last_seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (source, thumbprint) DO UPDATE SET kid = ?3, last_seen = ?5",
                (
                    source,
                    key.thumbprint().to_string(),
                    key.kid(),
                    key.public().as_slice(),
                    now.get(),
                ),
            )?;
        }
        Ok(())
    })
}

/// Records when keys were seen, as it is known from elsewhere.
pub(in crate::store) fn restore(catalog: &Catalog, keys: &[Sighting]) -> Result<(), StoreError> {
    catalog.write("enter keys", |transaction| {
        let mut enter = transaction.prepare(
            "INSERT INTO sightings (source, thumbprint, kid, public, first_seen, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (source, thumbprint)
             DO UPDATE SET first_seen = min(first_seen, ?5), last_seen = max(last_seen, ?6)",
        )?;
        keys.iter().try_for_each(|one| {
            let thumbprint = one.key.thumbprint().to_string();
            let (kid, public) = (one.key.kid(), one.key.public().as_slice());
            let seen = (one.first_seen.get(), one.last_seen.get());
            enter.execute((&one.source, thumbprint, kid, public, seen.0, seen.1)).map(drop)
        })
    })
}

/// Every key that was ever seen, and every source. Works while another process writes.
pub fn read(directory: &Directory) -> Result<(Vec<Sighting>, Vec<Source>), StoreError> {
    all(&Catalog::open_read_only(directory)?)
}

/// Every key that was ever seen, and every source.
pub(in crate::store) fn all(catalog: &Catalog) -> Result<(Vec<Sighting>, Vec<Source>), StoreError> {
    catalog.read("read the keys", |database| Ok((list(database)?, sources(database)?)))
}

/// Every key that was ever seen, without the weak keys that earlier versions accepted.
fn list(connection: &Connection) -> rusqlite::Result<Vec<Sighting>> {
    let mut sightings: Vec<Sighting> = connection
        .prepare(
            "SELECT source, kid, public, first_seen, last_seen FROM sightings
             ORDER BY source, first_seen, thumbprint",
        )?
        .query_map([], |row| {
            Ok(Sighting {
                source: row.get(0)?,
                key: Key::new(Some(row.get(1)?), row.get(2)?),
                first_seen: Millis::saturating(row.get(3)?),
                last_seen: Millis::saturating(row.get(4)?),
            })
        })?
        .collect::<Result<_, _>>()?;
    sightings.retain(|one| one.key.weakness().is_none());
    Ok(sightings)
}

/// Every source.
fn sources(connection: &Connection) -> rusqlite::Result<Vec<Source>> {
    let source = |row: &Row<'_>| {
        let succeeded_at: Option<i64> = row.get(2)?;
        Ok(Source {
            source: row.get(0)?,
            attempted_at: Millis::saturating(row.get(1)?),
            succeeded_at: succeeded_at.map(Millis::saturating),
            error: row.get(3)?,
        })
    };
    connection
        .prepare("SELECT source, attempted_at, succeeded_at, error FROM sources ORDER BY source")?
        .query_map([], source)?
        .collect()
}

/// Records the key sources of each input. `store check` uses them.
pub(in crate::store) fn enter_inputs(
    catalog: &Catalog,
    inputs: &[(String, Vec<String>)],
) -> Result<(), StoreError> {
    catalog.write("enter inputs", |transaction| {
        for (input, sources) in inputs {
            transaction.execute("DELETE FROM inputs WHERE input = ?1", [input])?;
            for source in sources.iter().collect::<BTreeSet<_>>() {
                transaction.execute("INSERT INTO inputs VALUES (?1, ?2)", (input, source))?;
            }
        }
        Ok(())
    })
}

/// The key sources of each input.
pub(in crate::store) fn inputs(catalog: &Catalog) -> Result<Vec<(String, String)>, StoreError> {
    let sql = "SELECT input, source FROM inputs ORDER BY input, source";
    catalog.read("read inputs", |database| {
        database.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })
}
