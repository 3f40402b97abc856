//! Entries as their leaves in the log describe them, for the check of the log.
//!
//! The line, the time of receipt and the first verdict are read from the segments. What was learned
//! later is read from the overlay beside them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use ring::digest;
use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::entry::{Millis, VerdictName};
use crate::ingest::sha256;
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::Overlay;
use crate::store::catalog::segments::{Segment, State};
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::leaves::thumbprint;
use crate::store::schema::{SEGMENT_WITH_LEAVES, SEGMENT_WITH_ORIGINS, SEGMENT_WITH_SPELLINGS};
use crate::store::segment::condition::{Sql, line};
use crate::store::segment::leaves::{self, Backfill, Salts};
use crate::store::segment::long_lines;
use crate::store::segment::row::{self, Entries, Ids};
use crate::store::sqlite::Database;
use crate::tlog::leaf::{Salt, Sha256, salted};
use crate::tlog::tile;

/// The number of ids in a slice.
const SLICE: u64 = 2000;

/// The bytes of records that are read at a time.
const RECORDS: usize = 4 << 20;

/// The bytes of records that are read to find one.
const ONE: usize = 1;

/// Some ids of a segment. A thread reads one slice at a time.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The first id of the segment.
    pub segment: u64,
    /// The ids that it may have.
    pub ids: RangeInclusive<u64>,
}

/// What the store has of an entry.
#[derive(Clone, Debug)]
pub struct LoggedEntry {
    /// The id.
    pub id: u64,
    /// What is compared with its leaf. `None` if it has none.
    pub logged: Option<Logged>,
}

/// What the store has of an entry, and the log too.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The leaf.
    pub leaf: u64,
    /// When it was received.
    pub received_at: Millis,
    /// When it was stored. `None` if the delivery that it came in is not there.
    pub stored_at: Option<Millis>,
    /// The delivery that it came in.
    pub delivery: u64,
    /// The salted hash of the line. `None` if there is no salt.
    pub line: Option<Sha256>,
    /// What it is by its segment.
    pub stored: EntryState,
    /// What it is by the overlay, if that has a newer version of it.
    pub later: Option<LaterVersion>,
    /// The number of its last change; 0 if it never changed.
    pub change: u64,
    /// The entry that is shown instead of it; 0 if it is shown itself.
    pub shown: u64,
}

/// What may change of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// The verdict.
    pub verdict: VerdictName,
    /// The RFC 7638 thumbprint of the key that verified it.
    pub key: Option<Sha256>,
    /// The salted hash of the name of the input. `None` if there is no salt.
    pub input: Option<Sha256>,
}

/// The version of an entry in the overlay.
#[derive(Clone, Copy, Debug)]
pub struct LaterVersion {
    /// When it was received.
    pub received_at: Millis,
    /// The delivery that it came in.
    pub delivery: u64,
    /// What it is.
    pub state: EntryState,
}

impl Slice {
    /// The number of ids in it.
    pub fn count(&self) -> u64 {
        (self.ids.end() - self.ids.start()).saturating_add(1)
    }

    /// The ids of a segment up to `last`, in slices.
    pub(in crate::store) fn all(segment: u64, last: u64) -> impl Iterator<Item = Slice> {
        (segment..=last).step_by(SLICE as usize).map(move |first| Slice {
            segment,
            ids: first..=last.min(first.saturating_add(SLICE - 1)),
        })
    }
}

/// The id of the last entry of a segment; what comes later is not looked at. `greatest` is the largest
/// id in the store.
pub(in crate::store) fn last_id(segment: &Segment, greatest: u64) -> u64 {
    match (&segment.closed, segment.state) {
        (Some(closed), _) => closed.last_id,
        (None, State::Live) => greatest,
        (None, _) => segment.first_id.saturating_sub(1),
    }
}

impl Reader {
    /// The entries of a slice, by their ids. `None` if retention deleted the segment.
    pub fn logged(&self, slice: &Slice) -> Result<Option<Vec<LoggedEntry>>, StoreError> {
        let ids = Ids::Range(slice.ids.clone());
        self.visit(
            slice.segment,
            |overlay, _| Later::read(overlay, &slice.ids),
            |segment, _, later| {
                let mut entries = Vec::new();
                let salts = salts(segment, &ids)?;
                segment.each(&values(segment), &Sql::from("1"), &ids, |row| {
                    entries.push(entry(segment, row, &salts, &later)?);
                    Ok(())
                })?;
                Ok(entries)
            },
        )
    }

    /// The leaf of each of these entries that is there; `None` if it has none. The ids are in order.
    pub fn leaves_of(&self, ids: &[u64]) -> Result<HashMap<u64, Option<u64>>, StoreError> {
        let mut leaves = HashMap::new();
        let mut rest = ids;
        for segment in self.catalog(Catalog::segments)? {
            rest =
                rest.get(rest.partition_point(|id| *id < segment.first_id)..).unwrap_or_default();
            let (here, later) = rest.split_at(rest.partition_point(|id| *id <= segment.end()));
            rest = later;
            if here.is_empty() {
                continue;
            }
            let range = here.first().copied().unwrap_or(1)..=here.last().copied().unwrap_or(0);
            let found = self.visit(
                segment.first_id,
                |overlay, _| overlay.backfills(&range),
                |segment, _, backfills| {
                    let mut found: Vec<(u64, Option<u64>)> = Vec::new();
                    let values = Sql::from(&format!("id, {}", leaf(segment)));
                    segment.each(&values, &Sql::from("1"), &Ids::of(here), |row| {
                        let (id, leaf): (u64, Option<u64>) = (row.get(0)?, row.get(1)?);
                        let later = || backfills.iter().find_map(|one| one.of(id));
                        found.push((id, leaf.or_else(|| later().map(|(leaf, _)| leaf))));
                        Ok(())
                    })?;
                    Ok(found)
                },
            )?;
            leaves.extend(found.unwrap_or_default());
        }
        Ok(leaves)
    }

    /// Calls `each` with the leaves from `from` on whose records a segment has, in order, each with its
    /// record.
    pub fn kept_records(
        &self,
        segment: u64,
        from: u64,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        let mut next = from;
        loop {
            let read = |segment: &Database| leaves::records(segment, next, RECORDS);
            let found = self.read_segment(segment, read)?.unwrap_or_default();
            let before = next;
            for records in &found {
                let all = tile::entries(&records.bundle, records.count)?;
                for (leaf, record) in (records.first..).zip(all) {
                    if leaf >= next {
                        each(leaf, record);
                        next = leaf.saturating_add(1);
                    }
                }
            }
            // Rows that do not go on would be read for ever.
            if next == before {
                return Ok(());
            }
        }
    }

    /// The record of a leaf that a segment has, because the files of the log do not have it yet.
    /// `None` if the segment does not have it either.
    pub fn pending_record(&self, segment: u64, leaf: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.read_segment(segment, |segment| leaves::records(segment, leaf, ONE))?;
        let Some(records) = found.unwrap_or_default().into_iter().next() else { return Ok(None) };
        let Some(at) = leaf.checked_sub(records.first) else { return Ok(None) };
        let all = tile::entries(&records.bundle, records.count)?;
        Ok(usize::try_from(at).ok().and_then(|at| all.get(at)).map(|record| record.to_vec()))
    }
}

/// What was learned of entries later.
struct Later {
    changes: HashMap<u64, u64>,
    hidden: HashMap<u64, u64>,
    versions: HashMap<u64, OverlayRow>,
    backfills: Vec<Backfill>,
}

/// A row of the overlay.
struct OverlayRow {
    received_at: Millis,
    delivery: u64,
    verdict: VerdictName,
    key: Option<Sha256>,
    input: Vec<u8>,
}

impl Later {
    fn read(overlay: &Overlay<'_>, range: &RangeInclusive<u64>) -> rusqlite::Result<Later> {
        let ids = Ids::Range(range.clone());
        let mut versions = HashMap::new();
        let values = Sql::from(&format!("id, received_at, delivery, verdict, input, {KEY}"));
        overlay.each(&values, &Sql::from("1"), &ids, |row| {
            let version = OverlayRow {
                received_at: Millis::saturating(row.get(1)?),
                delivery: row.get(2)?,
                verdict: row::verdict(row.get_ref(3)?)?,
                input: bytes(row.get_ref(4)?)?.to_vec(),
                key: key(row.get(5)?),
            };
            versions.insert(row.get(0)?, version);
            Ok(())
        })?;
        let (changes, hidden) = (overlay.last_changes(range)?, overlay.hidden(&ids)?);
        Ok(Later { changes, hidden, versions, backfills: overlay.backfills(range)? })
    }

    /// The leaf and the salt that an entry got after it was stored.
    fn leaf(&self, id: u64) -> Option<(u64, Salt)> {
        self.backfills.iter().find_map(|backfill| backfill.of(id))
    }

    fn version(&self, id: u64, salt: Option<&Salt>) -> Option<LaterVersion> {
        let OverlayRow { received_at, delivery, verdict, key, ref input } =
            *self.versions.get(&id)?;
        let input = salt.map(|salt| salted(salt, input));
        Some(LaterVersion { received_at, delivery, state: EntryState { verdict, key, input } })
    }
}

/// The thumbprint of the key of an entry, in SQL.
const KEY: &str = "(SELECT thumbprint FROM keys WHERE keys.id = entries.key)";

fn key(of_row: Option<String>) -> Option<Sha256> {
    of_row.as_deref().map(thumbprint)
}

/// The bytes of a text, or of what somebody put in its place.
fn bytes(value: ValueRef<'_>) -> rusqlite::Result<&[u8]> {
    Ok(value.as_bytes_or_null()?.unwrap_or_default())
}

/// The leaf of an entry in a segment, in SQL.
fn leaf(segment: &Database) -> &'static str {
    if segment.version() < SEGMENT_WITH_LEAVES { "NULL" } else { "leaf" }
}

/// What [`entry`] reads.
fn values(segment: &Database) -> Sql {
    let version = segment.version();
    let line_bytes = if version < SEGMENT_WITH_SPELLINGS { "NULL" } else { "line_bytes" };
    let stored_at = if version < SEGMENT_WITH_ORIGINS { "NULL" } else { "stored_at" };
    let mut values = Sql::from(&format!(
        "id, {}, received_at, verdict, input, {line_bytes},
         (SELECT {stored_at} FROM deliveries WHERE deliveries.id = entries.delivery), ",
        leaf(segment)
    ));
    values.push(KEY).push(", delivery, ").push(line(segment.columns()));
    values
}

fn entry(
    segment: &Database,
    row: &Row<'_>,
    salts: &Salts,
    later: &Later,
) -> rusqlite::Result<LoggedEntry> {
    let (id, leaf): (u64, Option<u64>) = (row.get(0)?, row.get(1)?);
    let of_segment = leaf.map(|leaf| (leaf, salts.of(leaf)));
    let later_leaf = || later.leaf(id).map(|(leaf, salt)| (leaf, Some(salt)));
    let Some((leaf, salt)) = of_segment.or_else(later_leaf) else {
        return Ok(LoggedEntry { id, logged: None });
    };
    let stored_at: Option<i64> = row.get(6)?;
    let line = salt.as_ref().map(|salt| line_hash(segment, row, id, salt)).transpose()?;
    let input = bytes(row.get_ref(4)?)?;
    let logged = Logged {
        leaf,
        received_at: Millis::saturating(row.get(2)?),
        stored_at: stored_at.map(Millis::saturating),
        delivery: row.get(8)?,
        line,
        stored: EntryState {
            verdict: row::verdict(row.get_ref(3)?)?,
            key: key(row.get(7)?),
            input: salt.as_ref().map(|salt| salted(salt, input)),
        },
        later: later.version(id, salt.as_ref()),
        change: later.changes.get(&id).copied().unwrap_or(0),
        shown: later.hidden.get(&id).copied().unwrap_or(0),
    };
    Ok(LoggedEntry { id, logged: Some(logged) })
}

/// The salted hash of the line of an entry, which may be in pieces.
fn line_hash(segment: &Database, row: &Row<'_>, id: u64, salt: &Salt) -> rusqlite::Result<Sha256> {
    let is_in_pieces = row.get_ref(5)?.as_i64_or_null()?.is_some();
    if !is_in_pieces && let Some(line) = row.get_ref(9)?.as_bytes_or_null()? {
        return Ok(salted(salt, line));
    }
    let (mut context, mut number) = (digest::Context::new(&digest::SHA256), 0);
    context.update(salt);
    while let Some(piece) = long_lines::piece(segment, id, number)? {
        context.update(&piece);
        number += 1;
    }
    Ok(sha256(&context.finish()))
}

/// The salts of these entries.
fn salts(segment: &Database, ids: &Ids<'_>) -> rusqlite::Result<Salts> {
    let mut range: Option<(u64, u64)> = None;
    if segment.version() >= SEGMENT_WITH_LEAVES {
        let values = Sql::from("min(leaf), max(leaf)");
        segment.each(&values, &Sql::from("1"), ids, |row| {
            let (least, greatest): (Option<u64>, Option<u64>) = (row.get(0)?, row.get(1)?);
            range = least.zip(greatest);
            Ok(())
        })?;
    }
    match range {
        Some((least, greatest)) => Salts::of_leaves(segment, &(least..=greatest)),
        None => Ok(Salts::default()),
    }
}
