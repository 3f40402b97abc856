//! What a store holds: counts, segments, and what came in last or was turned away.
//!
//! "Nothing arrives" is the commonest question; the refused requests answer it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;

use super::catalog::{Catalog, Segment, State};
use super::filter::WITH_WARNING;
use super::newest::hidden;
use super::read::{MAX_ID, Place, Reader};
use super::sqlite::Database;
use super::{
    Gap, Quarantined, Refused, Sighting, Source, StoreError, quarantine, retention, sightings,
};
use crate::entry::Millis;

/// What a store holds.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// How many entries there are.
    pub entries: u64,
    /// How many have each verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// How many are of each kind; malformed lines are of the kind `none`.
    pub kinds: BTreeMap<String, u64>,
    /// The oldest and the newest time.
    pub time: Option<(Millis, Millis)>,
    /// The oldest and the newest time of receipt.
    pub received_at: Option<(Millis, Millis)>,
    /// The size of the segments and the catalog on the disk, in bytes.
    pub bytes: u64,
    /// How many segments there are in each state.
    pub states: BTreeMap<&'static str, u64>,
    /// The version of the catalog's schema.
    pub catalog_version: usize,
    /// How many segments there are in each version of the schema.
    pub versions: BTreeMap<usize, u64>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentStats>,
    /// The newest deliveries that were answered with 200, newest first.
    pub deliveries: Vec<Delivered>,
    /// The newest refused requests and failed TLS handshakes, newest first.
    pub refused: Vec<Refused>,
    /// What is in quarantine, oldest first.
    pub quarantine: Vec<Quarantined>,
    /// Ids that no segment has and that were not removed.
    pub gaps: Vec<Gap>,
    /// How it went with each source of keys.
    pub sources: Vec<Source>,
    /// How many keys were ever seen.
    pub keys: usize,
}

/// A segment.
#[derive(Debug, Serialize)]
pub struct SegmentStats {
    /// The id of its first entry.
    pub first_id: u64,
    /// How many entries it has.
    pub entries: u64,
    /// What has become of it.
    pub state: State,
    /// Its file in the folder of the segments.
    pub file: String,
    /// When it was made.
    pub created_at: Millis,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file in hexadecimal, once it is sealed.
    pub sha256: Option<String>,
}

/// A delivery that was stored.
#[derive(Debug, Serialize)]
pub struct Delivered {
    /// Its number.
    pub id: u64,
    /// When it was received.
    pub received_at: Millis,
    /// The input that received it.
    pub input: String,
    /// Who sent it.
    pub peer: String,
    /// The size of its body as sent.
    pub bytes: u64,
    /// The size of its body when it is decoded.
    pub decoded_bytes: u64,
    /// Lines that are not blank.
    pub received: u64,
    /// Lines that were new.
    pub stored: u64,
    /// Lines that were there already.
    pub duplicates: u64,
    /// Lines that are no entries.
    pub malformed: u64,
    /// By the verdict of its lines when they were received.
    pub valid: u64,
    /// By verdict.
    pub invalid: u64,
    /// By verdict.
    pub unsigned: u64,
    /// By verdict.
    pub no_key: u64,
    /// How many of its new lines have each warning.
    pub warnings: BTreeMap<String, u64>,
    /// How long it took from the end of its headers, in microseconds.
    pub duration_us: u64,
}

impl Reader {
    /// Looks at everything. Of deliveries and refused requests the newest `newest` are listed.
    pub fn stats(&self, newest: usize) -> Result<Stats, StoreError> {
        let catalog = Catalog::open_read_only(self.directory())?;
        let segments = catalog.segments()?;
        let (keys, sources) = self.catalog("read the keys", |connection| {
            Ok((sightings::list(connection)?, sightings::sources(connection)?))
        })?;
        let mut stats = Stats {
            entries: 0,
            verdicts: BTreeMap::new(),
            kinds: BTreeMap::new(),
            time: None,
            received_at: None,
            bytes: std::fs::metadata(&catalog.path).map_or(0, |found| found.len()),
            states: BTreeMap::new(),
            catalog_version: catalog.connection.version(),
            versions: BTreeMap::new(),
            segments: Vec::new(),
            deliveries: deliveries(self, &segments, None, newest)?,
            refused: self.refused(newest)?,
            quarantine: self.quarantine()?,
            gaps: self.gaps()?,
            sources,
            keys: distinct(&keys),
        };
        for segment in segments {
            let found = self.visit(segment.first_id, changed, |connection, place, changed| {
                Ok((tally(connection, place, &changed)?, connection.version()))
            })?;
            // Else retention was faster.
            if let Some((tally, version)) = found {
                *stats.versions.entry(version).or_default() += 1;
                stats.add(segment, &tally, |segment| retention::size(self.directory(), segment));
            }
        }
        Ok(stats)
    }

    /// What is in quarantine, oldest first.
    pub fn quarantine(&self) -> Result<Vec<Quarantined>, StoreError> {
        self.catalog("read the quarantine", |catalog| quarantine::list(catalog))
    }

    /// A body in quarantine.
    pub fn quarantined(&self, id: u64) -> Result<(Quarantined, Vec<u8>), StoreError> {
        self.catalog("read the quarantine", |connection| quarantine::get(connection, id))?
            .ok_or(StoreError::NoSuch { what: "body in quarantine", id })
    }
}

/// The newest `limit` deliveries, newest first, of those before the number `before`.
pub(super) fn deliveries(
    reader: &Reader,
    segments: &[Segment],
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Delivered>, StoreError> {
    let before = before.unwrap_or(MAX_ID).min(MAX_ID);
    let mut deliveries = Vec::new();
    for segment in segments.iter().rev().filter(|segment| segment.first_delivery < before) {
        let left = limit.saturating_sub(deliveries.len());
        if left == 0 {
            break;
        }
        let found = reader.visit(
            segment.first_id,
            |_, _| Ok(()),
            |connection, _, ()| {
                let sql = "SELECT * FROM deliveries WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
                let mut found = connection
                    .prepare_cached(sql)?
                    .query_map((before, left), delivered)?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                add_warnings(connection, &mut found)?;
                Ok(found)
            },
        )?;
        deliveries.extend(found.into_iter().flatten());
    }
    Ok(deliveries)
}

/// Counts the warnings of the entries that these deliveries brought, which are newest first.
fn add_warnings(segment: &Connection, found: &mut [Delivered]) -> rusqlite::Result<()> {
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else { return Ok(()) };
    let numbers = (oldest.id, newest.id);
    let sql = format!(
        "SELECT delivery, warnings, count(*) FROM entries
         WHERE {WITH_WARNING} AND delivery BETWEEN ?1 AND ?2 GROUP BY delivery, warnings"
    );
    let mut statement = segment.prepare_cached(&sql)?;
    let mut rows = statement.query(numbers)?;
    while let Some(row) = rows.next()? {
        let (delivery, entries): (u64, u64) = (row.get(0)?, row.get(2)?);
        let Some(one) = found.iter_mut().find(|one| one.id == delivery) else { continue };
        for warning in row.get_ref(1)?.as_str()?.split(' ') {
            *one.warnings.entry(warning.to_owned()).or_default() += entries;
        }
    }
    Ok(())
}

impl Stats {
    fn add(&mut self, segment: Segment, tally: &Tally, size: impl Fn(&Segment) -> u64) {
        let entries = tally.counts.values().sum::<i64>().unsigned_abs();
        for ((kind, verdict), count) in &tally.counts {
            let count = count.unsigned_abs();
            if count > 0 {
                *self.kinds.entry(kind.clone().unwrap_or_else(|| "none".into())).or_default() +=
                    count;
                *self.verdicts.entry(verdict.clone()).or_default() += count;
            }
        }
        self.entries += entries;
        self.time = union(self.time, tally.time);
        self.received_at = union(self.received_at, tally.received_at);
        *self.states.entry(segment.state.as_str()).or_default() += 1;
        let bytes = size(&segment);
        self.bytes += bytes;
        self.segments.push(SegmentStats {
            first_id: segment.first_id,
            entries,
            state: segment.state,
            bytes,
            created_at: segment.created_at,
            sha256: segment.sealed.map(|(_, sha256)| sha256),
            file: segment.file,
        });
    }
}

fn union(one: Option<(Millis, Millis)>, other: Option<(i64, i64)>) -> Option<(Millis, Millis)> {
    let other = other.map(|(from, to)| (Millis::saturating(from), Millis::saturating(to)));
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

fn distinct(keys: &[Sighting]) -> usize {
    let thumbprints = keys.iter().map(|one| one.key.thumbprint());
    thumbprints.collect::<std::collections::BTreeSet<_>>().len()
}

/// A kind and a verdict.
type Class = (Option<String>, String);

/// What a segment holds.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<Class, i64>,
    time: Option<(i64, i64)>,
    received_at: Option<(i64, i64)>,
}

/// The entries of a segment that the catalog has a newer version of, with what they are now, if they
/// are shown.
fn changed(catalog: &Database, place: &Place) -> rusqlite::Result<Vec<(u64, Option<Class>)>> {
    let mut now = catalog.prepare_cached("SELECT kind, verdict FROM entries WHERE id = ?1")?;
    let mut class = |id: u64| {
        let class = now.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok((id, class))
    };
    let ids = hidden(catalog, &(place.first_id..=place.end()))?;
    ids.into_iter().map(&mut class).collect()
}

fn tally(
    segment: &Connection,
    place: &Place,
    changed: &[(u64, Option<Class>)],
) -> rusqlite::Result<Tally> {
    // A sealed segment has the counts, and times by index.
    let counts = match place.is_sealed() {
        true => "SELECT kind, verdict, sum(entries) FROM minutes GROUP BY 1, 2",
        false => "SELECT kind, verdict, count(*) FROM entries GROUP BY 1, 2",
    };
    let mut tally = Tally::default();
    let mut statement = segment.prepare_cached(counts)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tally.counts.insert((row.get(0)?, row.get(1)?), row.get(2)?);
    }
    let least_and_greatest = |column: &str| -> rusqlite::Result<Option<(i64, i64)>> {
        let sql = format!(
            "SELECT (SELECT min({column}) FROM entries), (SELECT max({column}) FROM entries)"
        );
        let found: (Option<i64>, Option<i64>) =
            segment.prepare_cached(&sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.0.zip(found.1))
    };
    tally.time = least_and_greatest("time")?;
    tally.received_at = least_and_greatest("received_at")?;
    let mut recorded = segment.prepare_cached("SELECT kind, verdict FROM entries WHERE id = ?1")?;
    for (id, now) in changed {
        let before = recorded.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        *tally.counts.entry(before).or_default() -= 1;
        if let Some(now) = now {
            *tally.counts.entry(now.clone()).or_default() += 1;
        }
    }
    Ok(tally)
}

pub(super) fn delivered(row: &Row<'_>) -> rusqlite::Result<Delivered> {
    Ok(Delivered {
        id: row.get("id")?,
        received_at: Millis::saturating(row.get("received_at")?),
        input: row.get("input")?,
        peer: row.get("peer")?,
        bytes: row.get("bytes")?,
        decoded_bytes: row.get("decoded_bytes")?,
        received: row.get("received")?,
        stored: row.get("stored")?,
        duplicates: row.get("duplicates")?,
        malformed: row.get("malformed")?,
        valid: row.get("valid")?,
        invalid: row.get("invalid")?,
        unsigned: row.get("unsigned")?,
        no_key: row.get("no_key")?,
        warnings: BTreeMap::new(),
        duration_us: row.get("duration_us")?,
    })
}
