//! Where entries come from: the delivery that brought one, the key that verified it, and how many
//! entries each key verified.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Row};

use super::newest::hidden;
use super::read::{Place, Reader};
use super::schema::{CATALOG_WITH_SPELLINGS, SEGMENT_WITH_SPELLINGS};
use super::sqlite::Database;
use super::stats::{Delivered, delivered};
use super::{Sighting, Source, StoreError, sightings};
use crate::signature::Key;

/// Where an entry comes from.
#[derive(Debug)]
pub struct Provenance {
    /// The delivery that it first came in. Of the others only the number is known.
    pub delivery: Option<Delivered>,
    /// The key that verified it, if one did.
    pub key: Option<Key>,
    /// The other lines that came with the same signature, in the order of their first deliveries.
    pub spellings: Vec<Spelled>,
}

/// Another line with the signature of an entry, and what it signs.
#[derive(Debug)]
pub struct Spelled {
    /// The line; `None` for those that are only counted, and where its segment is gone.
    pub line: Option<Vec<u8>>,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// How often it came.
    pub count: u64,
}

impl Reader {
    /// Where the entry `id` comes from.
    pub fn provenance(&self, id: u64) -> Result<Option<Provenance>, StoreError> {
        let found = self.places()?.into_iter().rfind(|place| place.first_id <= id);
        let Some(place) = found.filter(|place| id <= place.end()) else { return Ok(None) };
        let spellings = self.spellings(id)?;
        let found = self.visit(
            place.first_id,
            |catalog, _| key_of(catalog, id),
            |segment, _, changed| {
                let key = match changed {
                    Some(key) => key,
                    None => key_of(segment, id)?.flatten(),
                };
                let delivery = segment
                    .prepare_cached(
                        "SELECT deliveries.* FROM entries
                         JOIN deliveries ON deliveries.id = entries.delivery
                         WHERE entries.id = ?1",
                    )?
                    .query_row([id], delivered)
                    .optional()?;
                Ok((delivery, key))
            },
        )?;
        Ok(found.map(|(delivery, key)| Provenance { delivery, key, spellings }))
    }

    fn spellings(&self, id: u64) -> Result<Vec<Spelled>, StoreError> {
        let known: Vec<Spelling> = self.catalog("read the spellings", |catalog| {
            if catalog.version() < CATALOG_WITH_SPELLINGS {
                return Ok(Vec::new());
            }
            catalog
                .prepare_cached(
                    "SELECT fingerprint, delivery, count, hidden FROM spellings WHERE entry = ?1
                     ORDER BY fingerprint = x'', delivery",
                )?
                .query_map([id], Spelling::read)?
                .collect()
        })?;
        let places = self.places()?;
        let with_line = |one: Spelling| {
            let place = places.iter().rfind(|place| place.first_delivery <= one.delivery);
            let line = match place {
                Some(place) => self.visit(
                    place.first_id,
                    |_, _| Ok(()),
                    |segment, _, ()| one.line(segment, id),
                )?,
                None => None,
            };
            Ok(Spelled { line: line.flatten(), delivery: one.delivery, count: one.count })
        };
        known.into_iter().map(with_line).collect()
    }

    /// Every key that was ever seen, and how it went with each source.
    pub fn keys(&self) -> Result<(Vec<Sighting>, Vec<Source>), StoreError> {
        self.catalog("read the keys", |catalog| {
            Ok((sightings::list(catalog)?, sightings::sources(catalog)?))
        })
    }

    /// How many entries each key verified, by its thumbprint.
    pub fn verified_by(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let counted: Vec<_> = self
            .places()?
            .par_iter()
            .map(|place| self.visit(place.first_id, changed, count))
            .collect::<Result<_, _>>()?;
        let mut all = BTreeMap::<String, i64>::new();
        for (thumbprint, count) in counted.into_iter().flatten().flatten() {
            *all.entry(thumbprint).or_default() += count;
        }
        let positive = |(thumbprint, count): (String, i64)| {
            u64::try_from(count).ok().filter(|count| *count > 0).map(|count| (thumbprint, count))
        };
        Ok(all.into_iter().filter_map(positive).collect())
    }
}

/// What the catalog says of another line of an entry.
struct Spelling {
    fingerprint: Vec<u8>,
    delivery: u64,
    count: u64,
    /// The entry that it was stored as.
    hidden: Option<u64>,
}

impl Spelling {
    fn read(row: &Row<'_>) -> rusqlite::Result<Spelling> {
        let (fingerprint, delivery) = (row.get(0)?, row.get(1)?);
        Ok(Spelling { fingerprint, delivery, count: row.get(2)?, hidden: row.get(3)? })
    }

    /// The line, from the segment that has its first delivery.
    fn line(&self, segment: &Database, entry: u64) -> rusqlite::Result<Option<Vec<u8>>> {
        if let Some(id) = self.hidden {
            let sql = "SELECT line FROM raw WHERE id = ?1";
            return segment.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional();
        }
        if segment.version() < SEGMENT_WITH_SPELLINGS {
            return Ok(None);
        }
        let sql = "SELECT line FROM spellings WHERE entry = ?1 AND fingerprint = ?2";
        let mut find = segment.prepare_cached(sql)?;
        find.query_row((entry, &self.fingerprint), |row| row.get(0)).optional()
    }
}

/// The key of the entry `id` where `connection` is; `None` if the entry is not there.
fn key_of(connection: &Connection, id: u64) -> rusqlite::Result<Option<Option<Key>>> {
    let key = |row: &Row<'_>| match row.get::<_, Option<[u8; 32]>>(1)? {
        Some(public) => Ok(Some(Key::new(row.get(0)?, public))),
        None => Ok(None),
    };
    connection
        .prepare_cached(
            "SELECT keys.kid, keys.public FROM entries LEFT JOIN keys ON keys.id = entries.key
             WHERE entries.id = ?1",
        )?
        .query_row([id], key)
        .optional()
}

/// The entries of a segment that the catalog has a newer version of or does not show, with the keys
/// they have now.
fn changed(catalog: &Database, place: &Place) -> rusqlite::Result<Vec<(u64, Option<String>)>> {
    let ids = hidden(catalog, &(place.first_id..=place.end()))?;
    ids.into_iter().map(|id| Ok((id, thumbprint(catalog, id)?))).collect()
}

/// The key of the entry `id` where `connection` is.
fn thumbprint(connection: &Connection, id: u64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT thumbprint FROM entries JOIN keys ON keys.id = entries.key
             WHERE entries.id = ?1",
        )?
        .query_row([id], |row| row.get(0))
        .optional()
}

/// How many entries of a segment each key verified.
fn count(
    segment: &Database,
    place: &Place,
    changed: Vec<(u64, Option<String>)>,
) -> rusqlite::Result<BTreeMap<String, i64>> {
    let thumbprints: Vec<String> = segment
        .prepare_cached("SELECT thumbprint FROM keys")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut counts = BTreeMap::new();
    match thumbprints.as_slice() {
        [] => {}
        // What is valid in a sealed segment is counted already.
        [only] if place.is_sealed() => {
            let sql = "SELECT coalesce(sum(entries), 0) FROM minutes WHERE verdict = 'valid'";
            let valid = segment.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            counts.insert(only.clone(), valid);
        }
        _ => {
            let sql = "SELECT thumbprint, count(*) FROM entries
                       JOIN keys ON keys.id = entries.key GROUP BY keys.id";
            let mut statement = segment.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                counts.insert(row.get(0)?, row.get(1)?);
            }
        }
    }
    for (id, now) in changed {
        let before = thumbprint(segment, id)?;
        before.into_iter().for_each(|before| *counts.entry(before).or_default() -= 1);
        now.into_iter().for_each(|now| *counts.entry(now).or_default() += 1);
    }
    Ok(counts)
}
