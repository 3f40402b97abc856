//! Writes the findings of `store repair` to the catalog.

use std::ops::RangeInclusive;

use rusqlite::Connection;

use super::Catalog;
use super::gaps::Gap;
use super::journal::enter_spans;
use super::segments::{Segment, close};
use crate::entry::Millis;
use crate::store::error::StoreError;
use crate::store::segment::Closed;
use crate::store::segment::origins::EpochSpan;

/// The source of keys that are known only from segments.
const SOURCE: &str = "store repair";

/// A key that verified entries: its thumbprint, its `kid`, and its 32 bytes.
pub(in crate::store) type VerifyingKey = (String, String, Vec<u8>);

/// The findings of a repair.
pub(in crate::store) struct Repair<'a> {
    /// Every segment, the keys that verified its entries, and the epochs of its deliveries.
    pub(in crate::store) segments: Vec<(&'a Segment, &'a [VerifyingKey], &'a [EpochSpan])>,
    /// Ids that no segment has.
    pub(in crate::store) missing: &'a [RangeInclusive<u64>],
    /// Whether the catalog was lost, so that this one is new.
    pub(in crate::store) catalog_lost: bool,
    /// The report, as JSON.
    pub(in crate::store) report: String,
}

impl Catalog {
    /// Replaces the list of segments with the findings of a repair.
    pub(in crate::store) fn enter_repair(
        &self,
        repair: &Repair<'_>,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.write("enter the segments", |catalog| {
            catalog.execute("DELETE FROM segments WHERE state <> 'dropped'", [])?;
            catalog.execute("DELETE FROM segment_epochs", [])?;
            for (segment, keys, epochs) in &repair.segments {
                enter_segment(catalog, segment)?;
                enter_spans(catalog, segment.first_id, epochs)?;
                if let (true, Some(closed)) = (repair.catalog_lost, &segment.closed) {
                    enter_keys(catalog, keys, closed)?;
                }
            }
            for ids in repair.missing {
                let gap = Gap {
                    first_id: *ids.start(),
                    last_id: *ids.end(),
                    found_at: now,
                    reason: "no segment had them when the store was repaired".into(),
                };
                gap.enter(catalog)?;
            }
            if repair.catalog_lost {
                // The rules under which they were written are not known.
                catalog.execute(
                    "INSERT OR IGNORE INTO older_rules SELECT first_id FROM segments",
                    (),
                )?;
            }
            catalog
                .execute(
                    "INSERT INTO repairs (repaired_at, catalog_lost, report) VALUES (?1, ?2, ?3)",
                    (now.get(), repair.catalog_lost, &repair.report),
                )
                .map(drop)
        })
    }

    /// Enters a closed segment of a store that is built anew, and the ids before it that are not there.
    pub(in crate::store) fn enter_rebuilt(
        &self,
        segment: &Segment,
        epochs: &[EpochSpan],
        missing: Option<RangeInclusive<u64>>,
        now: Millis,
    ) -> Result<(), StoreError> {
        self.write("enter a segment", |catalog| {
            enter_segment(catalog, segment)?;
            enter_spans(catalog, segment.first_id, epochs)?;
            if let Some(ids) = missing {
                catalog.execute(
                    "INSERT INTO removals (removed_at, reason, first_id, last_id, file)
                     VALUES (?1, 'not restored', ?2, ?3, '')",
                    (now.get(), ids.start(), ids.end()),
                )?;
            }
            // The rules under which its entries were judged are not known.
            let sql = "INSERT OR IGNORE INTO older_rules (first_id) VALUES (?1)";
            catalog.execute(sql, [segment.first_id]).map(drop)
        })
    }

    /// The ids that are known to be gone: they were removed, or are in a gap.
    pub(in crate::store) fn known_gone(&self) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        let sql = "SELECT first_id, last_id FROM removals UNION SELECT first_id, last_id FROM gaps
                   UNION SELECT first_id, coalesce(last_id, first_id) FROM segments
                   WHERE state = 'dropped'";
        self.read("read what was removed", |catalog| {
            catalog.prepare(sql)?.query_map([], |row| Ok(row.get(0)?..=row.get(1)?))?.collect()
        })
    }
}

fn enter_segment(catalog: &Connection, segment: &Segment) -> rusqlite::Result<()> {
    catalog.execute(
        "INSERT INTO segments (first_id, first_delivery, state, file, created_at)
         VALUES (?1, ?2, 'closed', ?3, ?4)",
        (segment.first_id, segment.first_delivery, &segment.file, segment.created_at.get()),
    )?;
    let Some(closed) = &segment.closed else { return Ok(()) };
    close(catalog, segment.first_id, closed)?;
    if let Some((bytes, sha256)) = &segment.sealed {
        catalog.execute(
            "UPDATE segments SET state = 'sealed', bytes = ?2, sha256 = ?3 WHERE first_id = ?1",
            (segment.first_id, bytes, sha256),
        )?;
    }
    Ok(())
}

fn enter_keys(
    catalog: &Connection,
    keys: &[VerifyingKey],
    closed: &Closed,
) -> rusqlite::Result<()> {
    let Some((first, last)) = closed.received_at else { return Ok(()) };
    for (thumbprint, kid, public) in keys {
        catalog.execute(
            "INSERT INTO sightings (source, thumbprint, kid, public, first_seen, last_seen)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (source, thumbprint)
             DO UPDATE SET first_seen = min(first_seen, ?5), last_seen = max(last_seen, ?6)",
            (SOURCE, thumbprint, kid, public, first, last),
        )?;
    }
    Ok(())
}
