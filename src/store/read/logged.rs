//! Entries as their leaves in the log describe them, for the check of the log.
//!
//! They are read from the segments, without the overlay: what a leaf says was so when the entry was
//! stored. Only when a segment is rewritten does a late verdict get there.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use rusqlite::Row;

use crate::entry::{Millis, VerdictName};
use crate::ingest::sha256;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::schema::SEGMENT_WITH_LEAVES;
use crate::store::segment::condition::{Sql, line};
use crate::store::segment::leaves::{self, Salts};
use crate::store::segment::long_lines;
use crate::store::segment::row::{self, Entries, Ids};
use crate::store::sqlite::Database;
use crate::tlog::leaf::{Salt, Sha256, salted};
use crate::tlog::tile;

/// The number of ids that are read at a time.
const SLICE: u64 = 2000;

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
    /// What is compared with its leaf. `None` if it was stored before the log began.
    pub logged: Option<Logged>,
}

/// What the store has of an entry and its leaf says too.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The leaf.
    pub leaf: u64,
    /// When it was received.
    pub received_at: Millis,
    /// When it was stored. `None` if the delivery that it came in is not there.
    pub stored_at: Option<Millis>,
    /// The verdict.
    pub verdict: VerdictName,
    /// The RFC 7638 thumbprint of the key that verified it.
    pub key: Option<Sha256>,
    /// The salted hashes of the line and of the name of the input. `None` if there is no salt.
    pub salted: Option<(Sha256, Sha256)>,
    /// Whether the catalog says that it changed after it was stored.
    pub is_changed: bool,
}

impl Reader {
    /// All entries that are there now, in slices.
    pub fn slices(&self) -> Result<Vec<Slice>, StoreError> {
        let greatest = self.greatest_id()?;
        let slices = |segment: Segment| {
            let last = segment.end().min(greatest);
            let firsts = (segment.first_id..=last).step_by(SLICE as usize);
            firsts.map(move |first| Slice {
                segment: segment.first_id,
                ids: first..=last.min(first.saturating_add(SLICE - 1)),
            })
        };
        Ok(self.catalog(Catalog::segments)?.into_iter().flat_map(slices).collect())
    }

    /// The entries of a slice, by their ids. `None` if retention deleted the segment.
    pub fn logged(&self, slice: &Slice) -> Result<Option<Vec<LoggedEntry>>, StoreError> {
        let ids = Ids::Range(slice.ids.clone());
        self.visit(
            slice.segment,
            |overlay, _| overlay.ever_changed(&slice.ids),
            |segment, _, changed| {
                let mut entries = Vec::new();
                let salts = salts(segment, &ids)?;
                segment.each(&values(segment), &Sql::from("1"), &ids, |row| {
                    entries.push(entry(segment, row, &salts, &changed)?);
                    Ok(())
                })?;
                Ok(entries)
            },
        )
    }

    /// The leaf of each of these entries that is there and has one. The ids are in order.
    pub fn leaves_of(&self, ids: &[u64]) -> Result<HashMap<u64, u64>, StoreError> {
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
            let read = |segment: &Database| {
                let mut found: Vec<(u64, u64)> = Vec::new();
                if segment.version() < SEGMENT_WITH_LEAVES {
                    return Ok(found);
                }
                let has_leaf = Sql::from("leaf IS NOT NULL");
                segment.each(&Sql::from("id, leaf"), &has_leaf, &Ids::of(here), |row| {
                    found.push((row.get(0)?, row.get(1)?));
                    Ok(())
                })?;
                Ok(found)
            };
            leaves.extend(self.read_segment(segment.first_id, read)?.unwrap_or_default());
        }
        Ok(leaves)
    }

    /// The ranges of ids that retention and `store prune` removed, by the catalog.
    pub fn removed(&self) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        self.catalog(Catalog::removed)
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

/// What [`entry`] reads.
fn values(segment: &Database) -> Sql {
    let mut values = Sql::from("id, ");
    if segment.version() < SEGMENT_WITH_LEAVES {
        values.push("NULL");
        return values;
    }
    values.push(
        "leaf, received_at, verdict, input, line_bytes,
         (SELECT stored_at FROM deliveries WHERE deliveries.id = entries.delivery),
         (SELECT thumbprint FROM keys WHERE keys.id = entries.key), ",
    );
    values.push(line(segment.columns()));
    values
}

fn entry(
    segment: &Database,
    row: &Row<'_>,
    salts: &Salts,
    changed: &BTreeSet<u64>,
) -> rusqlite::Result<LoggedEntry> {
    let (id, leaf): (u64, Option<u64>) = (row.get(0)?, row.get(1)?);
    let Some(leaf) = leaf else { return Ok(LoggedEntry { id, logged: None }) };
    let stored_at: Option<i64> = row.get(6)?;
    let key: Option<String> = row.get(7)?;
    let salted = match salts.of(leaf) {
        Some(salt) => {
            let input = salted(&salt, row.get_ref(4)?.as_bytes()?);
            Some((line_hash(segment, row, id, &salt)?, input))
        }
        None => None,
    };
    let logged = Logged {
        leaf,
        received_at: Millis::saturating(row.get(2)?),
        stored_at: stored_at.map(Millis::saturating),
        verdict: row::verdict(row.get_ref(3)?)?,
        // What is no thumbprint is not that of the leaf.
        key: key.map(|key| {
            let bytes = URL_SAFE_NO_PAD.decode(key).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.unwrap_or_default()
        }),
        salted,
        is_changed: changed.contains(&id),
    };
    Ok(LoggedEntry { id, logged: Some(logged) })
}

/// The salted hash of the line of an entry, which may be in pieces.
fn line_hash(segment: &Database, row: &Row<'_>, id: u64, salt: &Salt) -> rusqlite::Result<Sha256> {
    let is_in_pieces = row.get_ref(5)?.as_i64_or_null()?.is_some();
    if !is_in_pieces && let Some(line) = row.get_ref(8)?.as_bytes_or_null()? {
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
