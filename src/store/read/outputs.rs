//! The status of outputs: how far they are behind, their rate, and their errors.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::outputs::{OutputCursor, Position};
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::segment::Closed;

/// A rate that was saved earlier than this is outdated.
const CURRENT: Duration = Duration::from_secs(60);

/// The status of an output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputStanding {
    pub name: String,
    /// Whether it is configured.
    pub configured: bool,
    /// The id of the next entry.
    pub next_id: u64,
    /// The number of the last change that it saw.
    pub change: u64,
    /// The number of entries that it has not seen, including those that do not match its filter.
    pub behind: u64,
    /// When the oldest of them was received.
    pub behind_since: Option<Millis>,
    /// The lines written per second, over the minute before its cursor was saved. 0 if that is more
    /// than a minute ago.
    pub rate: f64,
    /// The number of lines delivered.
    pub written: u64,
    /// The number of entries in its dead letters.
    pub dead_letters: u64,
    /// The number of entries that retention deleted before it saw them, including those that do not
    /// match its filter.
    pub lost: u64,
    /// The number of failures.
    pub failures: u64,
    /// When its cursor was last saved.
    pub saved_at: Millis,
    /// The last error. `None` if it has recovered since.
    pub error: Option<String>,
    /// The time of the error.
    pub failed_at: Option<Millis>,
}

impl Reader {
    /// The status of all outputs at `now`, by name.
    pub fn output_standings(&self, now: Millis) -> Result<Vec<OutputStanding>, StoreError> {
        let cursors = self.output_cursors()?;
        if cursors.is_empty() {
            return Ok(Vec::new());
        }
        let end = self.greatest_id()?.saturating_add(1);
        cursors.into_iter().map(|(name, cursor)| self.standing(name, cursor, end, now)).collect()
    }

    /// The cursors of all outputs, by name.
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

    /// The position of a follower that is to see the entries received from `time` on. Entries are
    /// received in order of id, unless the clock was set back.
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
