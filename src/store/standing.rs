//! How the outputs stand: how far behind they are, how fast, and what went wrong.

use std::time::Duration;

use serde::Serialize;

use super::StoreError;
use super::cursors::OutputCursor;
use super::read::Reader;
use crate::entry::Millis;

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
}
