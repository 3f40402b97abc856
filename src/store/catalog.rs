//! The catalog: which segments there are, and what is known of each.
//!
//! Every writer opens its own connection and keeps its transactions short. What else the catalog
//! holds is next to what uses it: keys in `keys`, changes in `late`, quarantine, refused requests.

use std::path::PathBuf;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use super::StoreError;
use super::directory::Directory;
use super::error::SqliteContext;
use super::folder;
use super::gaps::Gap;
use super::schema::CATALOG;
use super::sqlite::{self, Access, Database};
use super::{overlay, spellings};
use crate::entry::Millis;
use crate::entry::words::{UnknownWord, words};

/// A connection to the catalog.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) connection: Database,
    pub(super) path: PathBuf,
}

words! {
    /// What becomes of a segment.
    pub enum State {
        /// It takes appends.
        Live = "live",
        /// It takes no more and waits to be sealed.
        Closed = "closed",
        /// It is indexed, and its bytes never change.
        Sealed = "sealed",
        /// Retention has given it up; its file is being removed.
        Dropped = "dropped",
    }
}

/// A segment as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The id of its first entry; names the segment.
    pub first_id: u64,
    /// The id of its first delivery.
    pub first_delivery: u64,
    /// What has become of it.
    pub state: State,
    /// Its file in the folder of the segments.
    pub file: String,
    /// When it was made.
    pub created_at: Millis,
    /// What is known once it takes no more appends.
    pub closed: Option<Closed>,
    /// Its size in bytes and its SHA-256 in hexadecimal, once it is sealed.
    pub sealed: Option<(u64, String)>,
}

/// What is known of a segment that takes no more appends. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The id of its last entry; `first_id - 1` if it has none.
    pub last_id: u64,
    /// The id of its last delivery; `first_delivery - 1` if it has none.
    pub last_delivery: u64,
    /// The least and the greatest `event_time`, of the entries that have one.
    pub event_time: Option<(i64, i64)>,
    /// How many entries have no time of their own.
    pub without_time: u64,
    /// The least and the greatest `time`.
    pub time: Option<(i64, i64)>,
    /// The least and the greatest `received_at`.
    pub received_at: Option<(i64, i64)>,
    /// How many entries a new key may make valid.
    pub awaiting_key: u64,
}

impl Closed {
    /// What there is to know of the segment that `connection` is.
    pub(super) fn of(connection: &Connection) -> rusqlite::Result<Closed> {
        let deliveries = "SELECT coalesce(max(id), (SELECT first_delivery - 1 FROM segment))
                          FROM deliveries";
        let last_delivery = connection.query_row(deliveries, [], |row| row.get(0))?;
        let sql = format!(
            "SELECT coalesce(max(id), (SELECT first_id - 1 FROM segment)),
                    min(nullif(event_time, 0)), max(nullif(event_time, 0)),
                    count(*) FILTER (WHERE event_time = 0), min(time), max(time),
                    min(received_at), max(received_at), count(*) FILTER (WHERE {AWAITING_KEY})
             FROM entries"
        );
        connection.query_row(&sql, [], |row| {
            Ok(Closed {
                last_id: row.get(0)?,
                last_delivery,
                event_time: range(row, 1)?,
                without_time: row.get(3)?,
                time: range(row, 4)?,
                received_at: range(row, 6)?,
                awaiting_key: row.get(8)?,
            })
        })
    }
}

/// Which entries a new key may make valid, in SQL over `entries`.
pub(super) const AWAITING_KEY: &str = "(verdict = 'no_key' OR (verdict = 'invalid'
     AND reason IN ('no_matching_key', 'not_tried')))";

/// Which entries were not tried under the keys at hand, in SQL over `entries`.
pub(super) const NOT_TRIED: &str = "(verdict = 'invalid' AND reason = 'not_tried')";

fn range(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<(i64, i64)>> {
    let (least, greatest): (Option<i64>, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
    Ok(least.zip(greatest))
}

impl Catalog {
    /// Opens the catalog to write to it, and makes it if it is not there.
    ///
    /// # Errors
    /// [`StoreError::NoCatalog`] if it is not there and segments are.
    pub(super) fn open(directory: &Directory) -> Result<Catalog, StoreError> {
        let path = directory.catalog();
        if !folder::has_catalog(&path) && folder::has_databases(directory)? {
            return Err(StoreError::NoCatalog(path));
        }
        Catalog::make(directory)
    }

    /// Opens the catalog to write to it, and makes it if it is not there, whatever stands beside it.
    pub(super) fn make(directory: &Directory) -> Result<Catalog, StoreError> {
        let path = directory.catalog();
        let connection = sqlite::open(&path, &CATALOG)?;
        Ok(Catalog { connection, path })
    }

    /// Opens the catalog to read it.
    pub(super) fn open_read_only(directory: &Directory) -> Result<Catalog, StoreError> {
        let path = directory.catalog();
        let connection = sqlite::open_read_only(&path, &CATALOG, Access::Shared)?;
        Ok(Catalog { connection, path })
    }

    /// The segments, oldest first; those that retention has given up are left out.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT first_id, first_delivery, state, file, created_at, last_id,
                            last_delivery, min_event_time, max_event_time, without_time, min_time,
                            max_time, min_received_at, max_received_at, awaiting_key, bytes, sha256
                     FROM segments WHERE state <> 'dropped' ORDER BY first_id",
                )?
                .query_map([], segment)?
                .collect::<Result<Vec<_>, _>>()
        };
        read().doing("list the segments", &self.path)
    }

    /// Enters a new live segment, closes the one before it, and enters the gap between them if there
    /// is one, in one transaction.
    pub(super) fn rotate(
        &mut self,
        closed: Option<(u64, &Closed)>,
        live: &Segment,
        gap: Option<&Gap>,
    ) -> Result<(), StoreError> {
        let Catalog { connection, path } = self;
        let mut run = || {
            let transaction = connection.transaction()?;
            if let Some((first_id, closed)) = closed {
                close(&transaction, first_id, closed)?;
            }
            transaction.execute(
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
                gap.enter(&transaction)?;
            }
            transaction.commit()
        };
        run().doing("enter a segment", path)
    }

    /// Writes down that a segment is removed, and why, and marks it as dropped: from now on nobody
    /// reads it.
    pub(super) fn drop_segment(
        &mut self,
        segment: &Segment,
        reason: &str,
        now: Millis,
    ) -> Result<(), StoreError> {
        let Catalog { connection, path } = self;
        let first_id = segment.first_id;
        let last_id = segment.closed.as_ref().map_or(first_id, |closed| closed.last_id);
        let (bytes, sha256) = segment.sealed.clone().unzip();
        let run = || {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT INTO removals (removed_at, reason, first_id, last_id, file, bytes, sha256)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (now.get(), reason, first_id, last_id, &segment.file, bytes, sha256),
            )?;
            transaction
                .execute("UPDATE segments SET state = 'dropped' WHERE first_id = ?1", [first_id])?;
            transaction.commit()
        };
        run().doing("drop a segment", path)
    }

    /// The files of segments that retention has given up.
    pub(super) fn dropped(&self) -> Result<Vec<(u64, String)>, StoreError> {
        let read = || {
            self.connection
                .prepare("SELECT first_id, file FROM segments WHERE state = 'dropped'")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<_>, _>>()
        };
        read().doing("list the dropped segments", &self.path)
    }

    /// Forgets a dropped segment whose file is gone, and what was learned later about its entries.
    pub(super) fn forget(&mut self, first_id: u64) -> Result<(), StoreError> {
        let Catalog { connection, path } = self;
        let mut run = || {
            let transaction = connection.transaction()?;
            let last: Option<u64> = transaction
                .query_row("SELECT last_id FROM segments WHERE first_id = ?1", [first_id], |row| {
                    row.get(0)
                })
                .optional()?
                .flatten();
            overlay::forget(&transaction, first_id, last.unwrap_or(first_id))?;
            spellings::forget(&transaction, first_id, last.unwrap_or(first_id))?;
            transaction.execute(
                "DELETE FROM changes WHERE entry BETWEEN ?1 AND ?2",
                (first_id, last.unwrap_or(first_id)),
            )?;
            transaction.execute(
                "DELETE FROM redeliveries WHERE entry BETWEEN ?1 AND ?2",
                (first_id, last.unwrap_or(first_id)),
            )?;
            transaction.execute("DELETE FROM segments WHERE first_id = ?1", [first_id])?;
            transaction.commit()
        };
        run().doing("forget a segment", path)
    }
}

/// Enters what is known of a segment that takes no more appends.
pub(super) fn close(
    connection: &Connection,
    first_id: u64,
    closed: &Closed,
) -> rusqlite::Result<()> {
    let (event_time, time, received_at) =
        (closed.event_time.unzip(), closed.time.unzip(), closed.received_at.unzip());
    connection.execute(
        "UPDATE segments SET state = 'closed', last_id = ?2, last_delivery = ?3,
             min_event_time = ?4, max_event_time = ?5, without_time = ?6, min_time = ?7,
             max_time = ?8, min_received_at = ?9, max_received_at = ?10, awaiting_key = ?11
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
        ),
    )?;
    Ok(())
}

/// The state of the segment whose first id is in the first column. One that this version does not
/// know is an error: it must not pass for another.
pub(super) fn state(row: &Row<'_>, at: usize) -> rusqlite::Result<State> {
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

/// The names of a segment's files. A sealed one that is written anew gets the next generation: a
/// file is never put in the place of another.
pub(super) mod file_name {
    /// The name of a live segment.
    pub(in crate::store) fn live(first_id: u64) -> String {
        format!("{first_id:016}.live.db")
    }

    /// The name of a sealed segment, in its first, second, … generation.
    pub(in crate::store) fn sealed(first_id: u64, generation: u32) -> String {
        match generation {
            0 | 1 => format!("{first_id:016}.db"),
            _ => format!("{first_id:016}.{generation}.db"),
        }
    }

    /// The generation that follows the file `before`.
    pub(in crate::store) fn generation_after(before: &str) -> u32 {
        let generation = |name: &str| name.split('.').nth(1)?.parse::<u32>().ok();
        match before.ends_with(".live.db") {
            true => 1,
            false => generation(before).unwrap_or(1).saturating_add(1),
        }
    }

    /// The name under which a sealed segment is made.
    pub(in crate::store) fn temporary(first_id: u64) -> String {
        format!("{first_id:016}.tmp.db")
    }

    /// Whether a name is one of [`temporary`].
    pub(in crate::store) fn is_temporary(name: &str) -> bool {
        name.ends_with(".tmp.db")
    }

    /// The segment that a file is of, by its name.
    pub(in crate::store) fn first_id(name: &str) -> Option<u64> {
        name.split('.').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::file_name::*;

    #[test]
    fn a_file_never_takes_the_name_of_another() {
        let first = sealed(1, generation_after(&live(1)));
        assert_eq!(first, "0000000000000001.db");
        let second = sealed(1, generation_after(&first));
        assert_eq!(second, "0000000000000001.2.db");
        assert_eq!(sealed(1, generation_after(&second)), "0000000000000001.3.db");
        assert_eq!(first_id(&second), Some(1));
    }
}
