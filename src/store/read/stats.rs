//! The statistics of a store: counts, segments, the newest deliveries and refused requests.
//!
//! The refused requests answer the most common question: why nothing arrives.

use std::collections::BTreeMap;

use rusqlite::Row;
use serde::Serialize;

use crate::entry::{Kind, Millis, VerdictName};
use crate::search::{Field, Filter, Operand, Test};
use crate::store::catalog::Catalog;
use crate::store::catalog::archived::Archived;
use crate::store::catalog::gaps::Gap;
use crate::store::catalog::quarantine::{self, Quarantined};
use crate::store::catalog::segments::{Segment, State};
use crate::store::catalog::sightings::{Sighting, Source};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::origin::{JournalState, Origin};
use crate::store::read::Reader;
use crate::store::read::counts::totals::Totals;
use crate::store::read::query::TimeRange;
use crate::store::refused::{self, Refused};
use crate::store::segment;
use crate::store::segment::condition::with_warning;
use crate::store::segment::origins::{optional, origin};
use crate::store::sqlite::{Access, Database, MAX_ID};

/// The statistics of a store.
#[derive(Debug, Serialize)]
pub struct Stats {
    /// The number of entries.
    pub entries: u64,
    /// The number of entries by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// The number of entries by kind; malformed lines count as `none`.
    pub kinds: BTreeMap<String, u64>,
    /// The oldest and the newest time.
    pub time: Option<(Millis, Millis)>,
    /// The oldest and the newest time of receipt.
    pub received_at: Option<(Millis, Millis)>,
    /// The size of the segments and the catalog on the disk, in bytes.
    pub bytes: u64,
    /// The number of segments by state.
    pub states: BTreeMap<&'static str, u64>,
    /// The id of the store. `None` if its catalog is of an earlier version.
    pub store_id: Option<String>,
    /// The version of the catalog's schema.
    pub catalog_version: usize,
    /// The number of segments by version of the schema.
    pub versions: BTreeMap<usize, u64>,
    /// The segments, oldest first.
    pub segments: Vec<SegmentStats>,
    /// The newest deliveries that were answered with 200, newest first.
    pub deliveries: Vec<StoredDelivery>,
    /// The newest refused requests and failed TLS handshakes, newest first.
    pub refused: Vec<Refused>,
    /// The bodies in quarantine, oldest first.
    pub quarantine: Vec<Quarantined>,
    /// Ranges of ids that no segment has and that were not removed.
    pub gaps: Vec<Gap>,
    /// The last results of each source of keys.
    pub sources: Vec<Source>,
    /// The number of keys that were ever seen.
    pub keys: usize,
}

#[derive(Debug, Serialize)]
pub struct SegmentStats {
    /// The id of its first entry.
    pub first_id: u64,
    /// The number of its entries.
    pub entries: u64,
    /// Whether it is live, closed or sealed.
    pub state: State,
    /// Its file in the folder of the segments.
    pub file: String,
    /// When it was created.
    pub created_at: Millis,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file in hexadecimal, once it is sealed.
    pub sha256: Option<String>,
}

/// A delivery that was stored.
#[derive(Debug, Serialize)]
pub struct StoredDelivery {
    /// Its number.
    pub id: u64,
    /// When it was received. If it came through a journal, that is what its receiver says.
    pub received_at: Millis,
    /// When it was stored, by the clock of the store. `None` if its segment is of an earlier version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<Millis>,
    /// Where it stood in a journal. `None` if it came directly.
    #[serde(rename = "journal", skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The input that received it.
    pub input: String,
    /// The address of the sender.
    pub peer: String,
    /// The size of its body as sent, in bytes.
    pub bytes: u64,
    /// The size of its decoded body, in bytes.
    pub decoded_bytes: u64,
    /// Lines that are not blank.
    pub received: u64,
    /// Lines that were new.
    pub stored: u64,
    /// Lines that were stored already.
    pub duplicates: u64,
    /// Lines that are no entries.
    pub malformed: u64,
    /// Its new lines by their verdicts on receipt.
    pub valid: u64,
    /// By verdict.
    pub invalid: u64,
    /// By verdict.
    pub unsigned: u64,
    /// By verdict.
    pub no_key: u64,
    /// The number of its new lines with each warning.
    pub warnings: BTreeMap<String, u64>,
    /// The time from the end of its headers to the commit, in microseconds.
    pub duration_us: u64,
}

impl Reader {
    /// Collects the statistics, with the newest `newest` deliveries and refused requests.
    pub fn stats(&self, newest: usize) -> Result<Stats, StoreError> {
        let (catalog_version, store_id, segments) = self
            .catalog(|catalog| Ok((catalog.version(), catalog.store_id()?, catalog.segments()?)))?;
        let (keys, sources) = self.keys()?;
        let mut stats = Stats {
            entries: 0,
            verdicts: BTreeMap::new(),
            kinds: BTreeMap::new(),
            time: None,
            received_at: None,
            bytes: self.catalog_bytes(),
            states: BTreeMap::new(),
            store_id,
            catalog_version,
            versions: BTreeMap::new(),
            segments: Vec::new(),
            deliveries: deliveries(self, &segments, None, newest)?,
            refused: self.refused(newest)?,
            quarantine: self.quarantine()?,
            gaps: self.gaps()?,
            sources,
            keys: distinct(&keys),
        };
        let names = Names::all();
        // A segment that retention removed meanwhile is not among them.
        for (segment, counted) in self.totals_by_segment(&names.filters(), TimeRange::default())? {
            *stats.versions.entry(counted.version).or_default() += 1;
            let bytes = segment.bytes(self.directory());
            stats.add(segment, &counted.totals, &names, bytes);
        }
        Ok(stats)
    }

    /// The id of the store: 32 hexadecimal digits. `None` if its catalog is of an earlier version.
    pub fn store_id(&self) -> Result<Option<String>, StoreError> {
        self.catalog(Catalog::store_id)
    }

    /// What the store has read of a journal.
    pub fn journal(&self) -> Result<JournalState, StoreError> {
        // Not in one snapshot: a segment that is sealed meanwhile is found under its new name.
        Catalog::open_read_only(self.directory())?.journal(self.directory())
    }

    /// The segments that are in an archive, oldest first, with those that retention removed since. None
    /// if the catalog is of a version that does not say where they are.
    pub fn archived(&self) -> Result<Vec<Archived>, StoreError> {
        self.catalog(Catalog::archived)
    }

    /// The bodies in quarantine, oldest first.
    pub fn quarantine(&self) -> Result<Vec<Quarantined>, StoreError> {
        self.catalog(quarantine::list)
    }

    /// A body in quarantine.
    pub fn quarantined(&self, id: u64) -> Result<(Quarantined, Vec<u8>), StoreError> {
        self.catalog(|catalog| quarantine::get(catalog, id))
    }

    /// The ids that no segment has and that were not removed, oldest first.
    pub fn gaps(&self) -> Result<Vec<Gap>, StoreError> {
        self.catalog(Catalog::gaps)
    }

    /// The newest `limit` refused requests and failed TLS handshakes, newest first.
    pub fn refused(&self, limit: usize) -> Result<Vec<Refused>, StoreError> {
        let path = self.directory().refused();
        let mut refused = match path.exists() {
            true => self.snapshot(&path, &refused::SCHEMA, Access::Shared, |file| {
                match file.version() {
                    // The file is being created.
                    0 => Ok(Vec::new()),
                    _ => refused::newest(file, limit).doing("read refused requests", &path),
                }
            })?,
            false => Vec::new(),
        };
        // Catalogs before version 4 have them in a table.
        let left = limit.saturating_sub(refused.len());
        refused.extend(self.catalog(|catalog| catalog.refused(left))?);
        Ok(refused)
    }

    /// The newest `limit` stored deliveries with numbers below `before`, newest first.
    pub fn deliveries(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<StoredDelivery>, StoreError> {
        deliveries(self, &self.catalog(Catalog::segments)?, before, limit)
    }
}

/// The newest `limit` deliveries with numbers below `before`, newest first.
fn deliveries(
    reader: &Reader,
    segments: &[Segment],
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<StoredDelivery>, StoreError> {
    let before = before.unwrap_or(MAX_ID).min(MAX_ID);
    let mut deliveries = Vec::new();
    for segment in segments.iter().rev().filter(|segment| segment.first_delivery < before) {
        let left = limit.saturating_sub(deliveries.len());
        if left == 0 {
            break;
        }
        let found = reader.read_segment(segment.first_id, |database| {
            let sql = "SELECT * FROM deliveries WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
            let mut found = database
                .prepare_cached(sql)?
                .query_map((before, left), delivered)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            add_warnings(database, &mut found)?;
            Ok(found)
        })?;
        deliveries.extend(found.into_iter().flatten());
    }
    Ok(deliveries)
}

/// Counts the warnings of the new entries of these deliveries, which are newest first.
fn add_warnings(segment: &Database, found: &mut [StoredDelivery]) -> rusqlite::Result<()> {
    let (Some(newest), Some(oldest)) = (found.first(), found.last()) else { return Ok(()) };
    let numbers = (oldest.id, newest.id);
    let sql = format!(
        "SELECT delivery, warnings, count(*) FROM entries
         WHERE {} AND delivery BETWEEN ?1 AND ?2 GROUP BY delivery, warnings",
        with_warning(segment.columns())
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
    fn add(&mut self, segment: Segment, totals: &Totals, names: &Names, bytes: u64) {
        let mut counts = totals.counts.iter().map(|count| u64::try_from(*count).unwrap_or(0));
        let entries = counts.next().unwrap_or(0);
        self.entries += entries;
        for (verdict, count) in names.verdicts.iter().zip(&mut counts).filter(|one| one.1 > 0) {
            *self.verdicts.entry((*verdict).to_owned()).or_default() += count;
        }
        for (kind, count) in names.kinds.iter().zip(counts).filter(|one| one.1 > 0) {
            *self.kinds.entry(kind.unwrap_or("none").to_owned()).or_default() += count;
        }
        let (time, received_at) = match &segment.closed {
            Some(closed) => (closed.time, closed.received_at),
            None => (totals.time, totals.received_at),
        };
        self.time = union(self.time, time);
        self.received_at = union(self.received_at, received_at);
        *self.states.entry(segment.state.as_str()).or_default() += 1;
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
    let millis = |(from, to)| (Millis::saturating(from), Millis::saturating(to));
    segment::union(one.map(|(from, to)| (from.get(), to.get())), other).map(millis)
}

fn distinct(keys: &[Sighting]) -> usize {
    let thumbprints = keys.iter().map(|one| one.key.thumbprint());
    thumbprints.collect::<std::collections::BTreeSet<_>>().len()
}

/// What the entries are counted by.
struct Names {
    verdicts: Vec<&'static str>,
    /// `None` for malformed lines, which have no kind.
    kinds: Vec<Option<&'static str>>,
}

impl Names {
    fn all() -> Names {
        let kinds = Kind::ALL.iter().map(|kind| Some(kind.as_str()));
        Names {
            verdicts: VerdictName::ALL.iter().map(|verdict| verdict.as_str()).collect(),
            kinds: kinds.chain([None]).collect(),
        }
    }

    /// A filter for all entries, and one for each name.
    fn filters(&self) -> Vec<Filter> {
        let equals = |field: Field, name: &str| {
            Filter::Field(field, Test::Equals(Operand::Text(name.to_owned())))
        };
        let verdict = |verdict: &&str| equals(Field::Verdict, verdict);
        let kind = |kind: &Option<&str>| match kind {
            Some(kind) => equals(Field::Kind, kind),
            None => Filter::Not(Box::new(Filter::Field(Field::Kind, Test::Exists))),
        };
        let names = self.verdicts.iter().map(verdict).chain(self.kinds.iter().map(kind));
        std::iter::once(Filter::All).chain(names).collect()
    }
}

pub(in crate::store) fn delivered(row: &Row<'_>) -> rusqlite::Result<StoredDelivery> {
    Ok(StoredDelivery {
        id: row.get("id")?,
        received_at: Millis::saturating(row.get("received_at")?),
        stored_at: optional(row, "stored_at")?.map(Millis::saturating),
        origin: origin(row)?,
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
