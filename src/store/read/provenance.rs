//! The origin of entries: the delivery of an entry, the key that verified it, its spellings, and the
//! number of entries that each key verified.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rusqlite::OptionalExtension;

use crate::signature::Key;
use crate::store::catalog::overlay::{Overlay, Spelling};
use crate::store::catalog::segments::Segment;
use crate::store::catalog::sightings::{self, Sighting, Source};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::read::stats::{StoredDelivery, delivered};
use crate::store::segment::blocks::with_raw;
use crate::store::segment::condition::Sql;
use crate::store::segment::row::{Entries, Ids};
use crate::store::segment::{contents, long_lines};
use crate::store::sqlite::Database;

/// The origin of an entry.
#[derive(Debug)]
pub struct Provenance {
    /// The delivery that it first came in. Later ones are only counted.
    pub delivery: Option<StoredDelivery>,
    /// The key that verified it, if one did.
    pub key: Option<Key>,
    /// The other lines that came with the same signature, in the order of their first deliveries.
    pub spellings: Vec<SpellingLine>,
}

/// Another line with the signed identity of an entry.
#[derive(Debug)]
pub struct SpellingLine {
    /// The line. `None` if it was only counted, or if its segment no longer exists.
    pub line: Option<Vec<u8>>,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// How often it came.
    pub count: u64,
}

impl Reader {
    /// Where the entry `id` comes from.
    pub fn provenance(&self, id: u64) -> Result<Option<Provenance>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let spellings = self.spellings(id)?;
        let found = self.visit(
            first_id,
            |overlay, _| key_of(overlay, id),
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

    fn spellings(&self, id: u64) -> Result<Vec<SpellingLine>, StoreError> {
        let (known, segments) = self.catalog(|catalog| {
            let known = catalog.overlay().spellings(id);
            Ok((known.doing("read the spellings", catalog.path())?, catalog.segments()?))
        })?;
        let with_line = |one: Spelling| {
            let segment = segments.iter().rfind(|segment| segment.first_delivery <= one.delivery);
            let line = match segment {
                Some(segment) => {
                    self.read_segment(segment.first_id, |segment| line(segment, id, &one))?
                }
                None => None,
            };
            Ok(SpellingLine { line: line.flatten(), delivery: one.delivery, count: one.count })
        };
        known.into_iter().map(with_line).collect()
    }

    /// The length of the line of the entry `id` as it was received, in bytes; `None` if there is no
    /// such entry.
    pub fn line_length(&self, id: u64) -> Result<Option<u64>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let length = self.read_segment(first_id, |segment| long_lines::length(segment, id))?;
        Ok(length.flatten())
    }

    /// A piece of the line of the entry `id` as it was received, counted from 0: 1 MiB, or what is
    /// left; `None` after the last. Who reads all has the whole line, however long it is.
    pub fn line_piece(&self, id: u64, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let piece =
            self.read_segment(first_id, |segment| long_lines::piece(segment, id, number))?;
        Ok(piece.flatten())
    }

    /// The fingerprint of the line of an entry, and the delivery that brought it first.
    pub(in crate::store) fn first_delivery(
        &self,
        id: u64,
    ) -> Result<Option<(Vec<u8>, u64)>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let sql = "SELECT fingerprint, delivery FROM entries WHERE id = ?1";
        let found = self.read_segment(first_id, |segment| {
            let mut find = segment.prepare_cached(sql)?;
            find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        Ok(found.flatten())
    }

    /// Every key that was ever seen, and how it went with each source.
    pub fn keys(&self) -> Result<(Vec<Sighting>, Vec<Source>), StoreError> {
        self.catalog(sightings::all)
    }

    /// How many entries each key verified, by its thumbprint.
    pub fn verified_by(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let counted: Vec<_> = self
            .segments()?
            .par_iter()
            .map(|segment| self.visit(segment.first_id, changed, count))
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

/// The line of a spelling of an entry, from the segment that has its first delivery.
fn line(segment: &Database, entry: u64, spelling: &Spelling) -> rusqlite::Result<Option<Vec<u8>>> {
    if let Some(id) = spelling.hidden {
        let sql = with_raw(segment.columns(), "SELECT line FROM raw WHERE id = ?1");
        return segment.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional();
    }
    contents::spelling(segment, entry, &spelling.fingerprint)
}

/// The key of the entry `id`; `None` if the entry is not there.
fn key_of(entries: &impl Entries, id: u64) -> rusqlite::Result<Option<Option<Key>>> {
    let values = Sql::from(
        "(SELECT kid FROM keys WHERE keys.id = entries.key),
         (SELECT public FROM keys WHERE keys.id = entries.key)",
    );
    let mut found = None;
    entries.each(&values, &Sql::from("1"), &Ids::List(&[id]), |row| {
        let public: Option<[u8; 32]> = row.get(1)?;
        found = Some(match public {
            Some(public) => Some(Key::new(row.get(0)?, public)),
            None => None,
        });
        Ok(())
    })?;
    Ok(found)
}

/// The overlaid entries of a segment, with the thumbprints of the keys that verify them now.
type Changed = BTreeMap<u64, Option<String>>;

fn changed(overlay: &Overlay<'_>, segment: &Segment) -> rusqlite::Result<Changed> {
    let ids = overlay.overlaid(&Ids::Range(segment.first_id..=segment.end()))?;
    let mut now = thumbprints(overlay, &ids)?;
    Ok(ids.into_iter().map(|id| (id, now.remove(&id))).collect())
}

/// The thumbprints of the keys that verify these entries, by their ids.
fn thumbprints(entries: &impl Entries, ids: &[u64]) -> rusqlite::Result<BTreeMap<u64, String>> {
    let values = Sql::from("id, (SELECT thumbprint FROM keys WHERE keys.id = entries.key)");
    let mut found = BTreeMap::new();
    entries.each(&values, &Sql::from("\"key\" IS NOT NULL"), &Ids::List(ids), |row| {
        found.insert(row.get(0)?, row.get(1)?);
        Ok(())
    })?;
    Ok(found)
}

/// How many entries of a segment each key verified.
fn count(
    database: &Database,
    segment: &Segment,
    changed: Changed,
) -> rusqlite::Result<BTreeMap<String, i64>> {
    let keys: Vec<String> = database
        .prepare_cached("SELECT thumbprint FROM keys")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut counts = BTreeMap::new();
    match keys.as_slice() {
        [] => {}
        // What is valid in a sealed segment is counted already.
        [only] if segment.is_sealed() => {
            let sql = "SELECT coalesce(sum(entries), 0) FROM minutes WHERE verdict = 'valid'";
            let valid = database.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
            counts.insert(only.clone(), valid);
        }
        _ => {
            let sql = "SELECT thumbprint, count(*) FROM entries
                       JOIN keys ON keys.id = entries.key GROUP BY keys.id";
            let mut statement = database.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                counts.insert(row.get(0)?, row.get(1)?);
            }
        }
    }
    let ids: Vec<u64> = changed.keys().copied().collect();
    for before in thumbprints(database, &ids)?.into_values() {
        *counts.entry(before).or_default() -= 1;
    }
    for now in changed.into_values() {
        now.into_iter().for_each(|now| *counts.entry(now).or_default() += 1);
    }
    Ok(counts)
}
