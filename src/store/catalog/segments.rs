//! The list of segments, and of those that were removed.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Catalog;
use super::gaps::Gap;
use super::journal::{enter_spans, forget_spans};
use super::overlay::Merged;
use crate::entry::Millis;
use crate::entry::words::{UnknownWord, words};
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::schema::{CATALOG_WITH_JOURNAL, CATALOG_WITH_REMOVALS};
use crate::store::segment::origins::EpochSpan;
use crate::store::segment::{self, Closed, range};
use crate::store::sqlite::{self, Access, Database, MAX_ID};

words! {
    /// The state of a segment.
    pub enum State {
        /// It takes appends.
        Live = "live",
        /// It takes no more appends and is not sealed yet.
        Closed = "closed",
        /// It is indexed, and its bytes never change.
        Sealed = "sealed",
        /// Retention removed it. Its file is being deleted.
        Dropped = "dropped",
    }
}

/// A segment as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Segment {
    /// The id of its first entry, which identifies the segment.
    pub first_id: u64,
    /// The id of its first delivery.
    pub first_delivery: u64,
    pub state: State,
    /// Its file in the folder of the segments.
    pub file: String,
    /// When it was created.
    pub created_at: Millis,
    /// What is known once it takes no more appends.
    pub closed: Option<Closed>,
    /// Its size in bytes and its SHA-256 in hexadecimal, once it is sealed.
    pub sealed: Option<(u64, String)>,
}

impl Segment {
    /// The largest id that it may have.
    pub(in crate::store) fn end(&self) -> u64 {
        self.closed.as_ref().map_or(MAX_ID, |closed| closed.last_id)
    }

    /// Whether its bytes never change.
    pub(in crate::store) fn is_sealed(&self) -> bool {
        self.state == State::Sealed
    }

    /// How its file is opened.
    pub(in crate::store) fn access(&self) -> Access {
        if self.is_sealed() { Access::Immutable } else { Access::Shared }
    }

    /// Opens its file for reading.
    pub(in crate::store) fn open(&self, directory: &Directory) -> Result<Database, StoreError> {
        sqlite::open_read_only(&directory.segment(&self.file), &segment::SCHEMA, self.access())
    }

    /// Its size on the disk with its log, in bytes.
    pub(in crate::store) fn bytes(&self, directory: &Directory) -> u64 {
        let files = ["", "-wal"].map(|companion| format!("{}{companion}", self.file));
        let bytes = |file: &String| std::fs::metadata(directory.segment(file)).ok();
        files.iter().filter_map(bytes).map(|found| found.len()).sum()
    }
}

/// The columns of `segments` that `segment` reads, in a version of the catalog.
fn columns(version: usize) -> String {
    let stored_at = match version < CATALOG_WITH_JOURNAL {
        true => "min_received_at, max_received_at",
        false => "min_stored_at, max_stored_at",
    };
    format!(
        "first_id, first_delivery, state, file, created_at, last_id, last_delivery,
         min_event_time, max_event_time, without_time, min_time, max_time,
         min_received_at, max_received_at, awaiting_key, bytes, sha256, {stored_at}"
    )
}

impl Catalog {
    /// The segments, oldest first, without those that retention removed.
    pub(in crate::store) fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        let columns = columns(self.version());
        let sql =
            format!("SELECT {columns} FROM segments WHERE state <> 'dropped' ORDER BY first_id");
        self.read("list the segments", |catalog| {
            catalog.prepare_cached(&sql)?.query_map([], segment)?.collect()
        })
    }

    /// The segment that starts with this id. `None` if retention removed it.
    pub(in crate::store) fn segment(&self, first_id: u64) -> Result<Option<Segment>, StoreError> {
        let columns = columns(self.version());
        let sql =
            format!("SELECT {columns} FROM segments WHERE first_id = ?1 AND state <> 'dropped'");
        self.read("find a segment", |catalog| {
            catalog.prepare_cached(&sql)?.query_row([first_id], segment).optional()
        })
    }

    /// The first id of the segment that has the entry `id`, or will have it.
    pub(in crate::store) fn segment_of(&self, id: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT first_id FROM segments
                   WHERE first_id <= ?1 AND coalesce(last_id, ?1) >= ?1 AND state <> 'dropped'
                   ORDER BY first_id DESC LIMIT 1";
        self.read("find a segment", |catalog| {
            catalog.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
        })
    }

    /// The first id of the newest segment.
    pub(in crate::store) fn newest(&self) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT max(first_id) FROM segments WHERE state <> 'dropped'";
        self.read("find the newest segment", |catalog| {
            catalog.prepare_cached(sql)?.query_row([], |row| row.get(0))
        })
    }

    /// The first id of the segment that follows the entry `id`.
    pub(in crate::store) fn segment_after(&self, id: u64) -> Result<Option<u64>, StoreError> {
        let sql = "SELECT min(first_id) FROM segments WHERE first_id > ?1 AND state <> 'dropped'";
        self.read("find a segment", |catalog| {
            catalog.prepare_cached(sql)?.query_row([id.min(MAX_ID)], |row| row.get(0))
        })
    }

    /// Adds a new live segment, closes the previous one, and records the gap between them if there is
    /// one, in one transaction. The previous one is given with its epochs.
    pub(in crate::store) fn rotate(
        &self,
        closed: Option<(u64, &Closed, &[EpochSpan])>,
        live: &Segment,
        gap: Option<&Gap>,
    ) -> Result<(), StoreError> {
        self.write("enter a segment", |catalog| {
            if let Some((first_id, closed, epochs)) = closed {
                close(catalog, first_id, closed)?;
                enter_spans(catalog, first_id, epochs)?;
            }
            catalog.execute(
                "INSERT INTO segments (first_id, first_delivery, state, file, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (
                    live.first_id,
                    live.first_delivery,
                    live.state.as_str(),
                    &live.file,
                    live.created_at.get(),
                ),
            )?;
            if let Some(gap) = gap {
                gap.enter(catalog)?;
            }
            Ok(())
        })
    }

    /// Makes a sealed file, given with its size in bytes and its SHA-256, the file of a segment, and
    /// deletes the part of the overlay that was merged into it.
    pub(in crate::store) fn enter_sealed(
        &self,
        first_id: u64,
        closed: &Closed,
        (file, bytes, sha256): (&str, u64, &str),
        merged: &Merged,
    ) -> Result<(), StoreError> {
        self.write("enter the sealed segment", |catalog| {
            close(catalog, first_id, closed)?;
            catalog.execute(
                "UPDATE segments SET state = 'sealed', file = ?2, bytes = ?3, sha256 = ?4
                 WHERE first_id = ?1",
                (first_id, file, bytes, sha256),
            )?;
            self.overlay().forget_merged(merged)
        })
    }

    /// Records the removal of a segment and its reason, and marks the segment as dropped. It is not
    /// read from then on.
    pub(in crate::store) fn drop_segment(
        &self,
        segment: &Segment,
        reason: &str,
        now: Millis,
    ) -> Result<(), StoreError> {
        let first_id = segment.first_id;
        let last_id = segment.closed.as_ref().map_or(first_id, |closed| closed.last_id);
        let (bytes, sha256) = segment.sealed.clone().unzip();
        self.write("drop a segment", |catalog| {
            catalog.execute(
                "INSERT INTO removals (removed_at, reason, first_id, last_id, file, bytes, sha256)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (now.get(), reason, first_id, last_id, &segment.file, bytes, sha256),
            )?;
            catalog
                .execute("UPDATE segments SET state = 'dropped' WHERE first_id = ?1", [first_id])
                .map(drop)
        })
    }

    /// The first ids and the files of dropped segments.
    pub(in crate::store) fn dropped(&self) -> Result<Vec<(u64, String)>, StoreError> {
        let sql = "SELECT first_id, file FROM segments WHERE state = 'dropped'";
        self.read("list the dropped segments", |catalog| {
            catalog.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// Deletes a dropped segment whose file is gone, and the overlay of its entries.
    pub(in crate::store) fn forget(&self, first_id: u64) -> Result<(), StoreError> {
        let last_id = "SELECT last_id FROM segments WHERE first_id = ?1";
        self.write("forget a segment", |catalog| {
            let last_id: Option<Option<u64>> =
                catalog.query_row(last_id, [first_id], |row| row.get(0)).optional()?;
            self.overlay().forget(&(first_id..=last_id.flatten().unwrap_or(first_id)))?;
            forget_spans(catalog, first_id)?;
            catalog.execute("DELETE FROM segments WHERE first_id = ?1", [first_id]).map(drop)
        })
    }

    /// The ids that retention and `store prune` removed.
    pub(in crate::store) fn removed(&self) -> Result<Vec<RangeInclusive<u64>>, StoreError> {
        if self.version() < CATALOG_WITH_REMOVALS {
            return Ok(Vec::new());
        }
        let sql = "SELECT first_id, last_id FROM removals";
        self.read("read what was removed", |catalog| {
            catalog.prepare(sql)?.query_map([], |row| Ok(row.get(0)?..=row.get(1)?))?.collect()
        })
    }

    /// The first ids of the segments that were written under earlier rules. Their entries must be
    /// checked again.
    pub(in crate::store) fn under_older_rules(&self) -> Result<BTreeSet<u64>, StoreError> {
        let sql = "SELECT first_id FROM older_rules";
        self.read("list the segments to check again", |catalog| {
            catalog.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Records that the entries of a segment were checked again.
    pub(in crate::store) fn note_checked_again(&self, first_id: u64) -> Result<(), StoreError> {
        self.read("note what was checked again", |catalog| {
            catalog.execute("DELETE FROM older_rules WHERE first_id = ?1", [first_id]).map(drop)
        })
    }
}

/// Marks a segment as closed.
pub(super) fn close(
    connection: &Connection,
    first_id: u64,
    closed: &Closed,
) -> rusqlite::Result<()> {
    let (event_time, time) = (closed.event_time.unzip(), closed.time.unzip());
    let (received_at, stored_at) = (closed.received_at.unzip(), closed.stored_at.unzip());
    connection.execute(
        "UPDATE segments SET state = 'closed', last_id = ?2, last_delivery = ?3,
             min_event_time = ?4, max_event_time = ?5, without_time = ?6, min_time = ?7,
             max_time = ?8, min_received_at = ?9, max_received_at = ?10, awaiting_key = ?11,
             min_stored_at = ?12, max_stored_at = ?13
         WHERE first_id = ?1",
        (
            first_id,
            closed.last_id,
            closed.last_delivery,
            event_time.0,
            event_time.1,
            closed.without_time,
            time.0,
            time.1,
            received_at.0,
            received_at.1,
            closed.awaiting_key,
            stored_at.0,
            stored_at.1,
        ),
    )?;
    Ok(())
}

/// The state of the segment whose first id is in the first column. A state that this version does not
/// know is an error.
fn state(row: &Row<'_>, at: usize) -> rusqlite::Result<State> {
    let first_id: u64 = row.get(0)?;
    row.get_ref(at)?.as_str()?.parse().map_err(|unknown: UnknownWord| {
        let what = format!("the state of the segment {first_id}: {unknown}");
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, what.into())
    })
}

fn segment(row: &Row<'_>) -> rusqlite::Result<Segment> {
    let last_id: Option<u64> = row.get(5)?;
    let closed = match last_id {
        None => None,
        Some(last_id) => Some(Closed {
            last_id,
            last_delivery: row.get(6)?,
            event_time: range(row, 7)?,
            without_time: row.get(9)?,
            time: range(row, 10)?,
            received_at: range(row, 12)?,
            stored_at: range(row, 17)?,
            awaiting_key: row.get(14)?,
        }),
    };
    let (bytes, sha256): (Option<u64>, Option<String>) = (row.get(15)?, row.get(16)?);
    Ok(Segment {
        first_id: row.get(0)?,
        first_delivery: row.get(1)?,
        state: state(row, 2)?,
        file: row.get(3)?,
        created_at: Millis::saturating(row.get(4)?),
        closed,
        sealed: bytes.zip(sha256),
    })
}
