//! How the outputs stand: how far behind they are, how fast, and what went wrong.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::outputs::{OutputCursor, Position};
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::segment::Closed;

/// A rate that was saved longer ago than this is past.
const CURRENT: Duration = Duration::from_secs(60);

/// How an output stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputStanding {
    /// Its name.
    pub name: String,
    /// Whether there is such an output now, or it is past and keeps its place.
    pub configured: bool,
    /// The id of the next entry.
    pub next_id: u64,
    /// The last change of a verdict that it saw.
    pub change: u64,
    /// How many entries there are that it has not seen, those that do not match included.
    pub behind: u64,
    /// When the first of them was received.
    pub behind_since: Option<Millis>,
    /// How many lines a second it wrote in the minute before its place was saved; 0 when that is more
    /// than a minute ago.
    pub rate: f64,
    /// How many lines were taken.
    pub written: u64,
    /// How many entries were refused for good by the other end, and put aside.
    pub dead_letters: u64,
    /// How many entries retention gave up before it saw them, those that do not match included.
    pub lost: u64,
    /// How often it failed.
    pub failures: u64,
    /// When its place was saved last.
    pub saved_at: Millis,
    /// What went wrong last; none if it went on since.
    pub error: Option<String>,
    /// When that was.
    pub failed_at: Option<Millis>,
}

impl Reader {
    /// How the outputs stand at `now`, by name.
    pub fn output_standings(&self, now: Millis) -> Result<Vec<OutputStanding>, StoreError> {
        let cursors = self.output_cursors()?;
        if cursors.is_empty() {
            return Ok(Vec::new());
        }
        let end = self.greatest_id()?.saturating_add(1);
        cursors.into_iter().map(|(name, cursor)| self.standing(name, cursor, end, now)).collect()
    }

    /// The outputs that ever ran, by name.
    pub fn output_cursors(&self) -> Result<Vec<(String, OutputCursor)>, StoreError> {
        self.catalog(Catalog::output_cursors)
    }

    fn standing(
        &self,
        name: String,
        cursor: OutputCursor,
        end: u64,
        now: Millis,
    ) -> Result<OutputStanding, StoreError> {
        let behind = end.saturating_sub(cursor.position.next_id);
        let behind_since = match behind {
            0 => None,
            _ => self.received_from(cursor.position.next_id)?,
        };
        let is_current = now.get().saturating_sub(cursor.saved_at.get())
            <= i64::try_from(CURRENT.as_millis()).unwrap_or(i64::MAX);
        let (error, failed_at) = cursor.error.unzip();
        Ok(OutputStanding {
            name,
            configured: cursor.configured,
            next_id: cursor.position.next_id,
            change: cursor.position.change,
            behind,
            behind_since,
            rate: if is_current { cursor.rate } else { 0.0 },
            written: cursor.written,
            dead_letters: cursor.dead_letters,
            lost: cursor.lost,
            failures: cursor.failures,
            saved_at: cursor.saved_at,
            error,
            failed_at,
        })
    }

    /// When the first entry from the id `id` on was received, if there is one.
    fn received_from(&self, id: u64) -> Result<Option<Millis>, StoreError> {
        let sql = "SELECT received_at FROM entries WHERE id >= ?1 ORDER BY id LIMIT 1";
        for segment in self.segments()?.into_iter().filter(|segment| segment.end() >= id) {
            let found = self.read_segment(segment.first_id, |database| {
                database.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()
            })?;
            if let Some(time) = found.flatten() {
                return Ok(Some(Millis::saturating(time)));
            }
        }
        Ok(None)
    }

    /// Where a follower begins that is to see what was received from `time` on. Entries are received
    /// in the order of their ids, unless the clock was put back.
    pub fn position_since(&self, time: Millis) -> Result<Position, StoreError> {
        let newest = self.newest(&crate::search::Filter::All, 0)?;
        for segment in self.catalog(Catalog::segments)? {
            let is_before = |closed: &Closed| match closed.received_at {
                Some((_, last)) => last < time.get(),
                None => false,
            };
            if segment.closed.as_ref().is_some_and(is_before) {
                continue;
            }
            let found = self.read_segment(segment.first_id, |one| first_since(one, time))?;
            if let Some(next_id) = found.flatten() {
                return Ok(Position { next_id, ..newest });
            }
        }
        Ok(newest)
    }
}

fn first_since(segment: &Connection, time: Millis) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT min(id) FROM entries WHERE received_at >= ?1";
    segment.prepare_cached(sql)?.query_row([time.get()], |row| row.get(0))
}
