//! Where entries come from: the delivery that brought one, the key that verified it, and how many
//! entries each key verified.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, Row};

use super::newest::hidden;
use super::read::{Place, Reader};
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
}

impl Reader {
    /// Where the entry `id` comes from.
    pub fn provenance(&self, id: u64) -> Result<Option<Provenance>, StoreError> {
        let found = self.places()?.into_iter().rfind(|place| place.first_id <= id);
        let Some(place) = found.filter(|place| id <= place.end()) else { return Ok(None) };
        self.visit(
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
                Ok(Provenance { delivery, key })
            },
        )
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
