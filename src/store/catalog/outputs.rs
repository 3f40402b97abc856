//! Outputs in the catalog: where each stands, and what it needs to go on from there.
//!
//! An output that runs saves its cursor as often as it likes. Whoever resets it, beside a running
//! process too, raises the `epoch`: what the output saves with the epoch it knew is refused then,
//! and it begins anew from the row.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::entry::Millis;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::{CATALOG_WITH_OUTPUTS, CATALOG_WITH_REMOVALS};

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The id of the next entry.
    pub next_id: u64,
    /// The number of the last change that was seen.
    pub change: u64,
}

impl Position {
    /// Before the oldest entry.
    pub const OLDEST: Position = Position { next_id: 1, change: 0 };
}

/// Where an output stands.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputCursor {
    /// What was given out is before it.
    pub position: Position,
    /// What the output keeps with it, in its own format.
    pub state: String,
    /// How many lines were taken.
    pub written: u64,
    /// How many entries were refused for good by the other end, and put aside.
    pub dead_letters: u64,
    /// How many lines a second were taken in the minute before it was saved.
    pub rate: f64,
    /// How often it failed.
    pub failures: u64,
    /// How many entries retention gave up before it saw them, those that do not match included.
    pub lost: u64,
    /// How often it was reset.
    pub epoch: u64,
    /// When it was saved last.
    pub saved_at: Millis,
    /// What went wrong last, and when; none if the output went on since.
    pub error: Option<(String, Millis)>,
    /// Whether there is such an output now, or it is past.
    pub configured: bool,
    /// Whether its cursor was lost with the catalog, so that it waits to be reset.
    pub waiting: bool,
}

/// The cursors of the outputs, open for writing.
#[derive(Debug)]
pub struct OutputCursors(Catalog);

impl OutputCursors {
    /// Opens the catalog of the store in `directory`. It takes no lock.
    pub fn open(directory: &Directory) -> Result<OutputCursors, StoreError> {
        Catalog::open(directory).map(OutputCursors)
    }

    /// The cursor of the output `name`, if it has one.
    pub fn load(&self, name: &str) -> Result<Option<OutputCursor>, StoreError> {
        let read = self
            .0
            .database
            .prepare_cached(&format!("SELECT {COLUMNS}, waiting FROM outputs WHERE name = ?1"))
            .and_then(|mut statement| statement.query_row([name], |row| cursor(row, 0)).optional());
        read.doing("read an output's cursor", self.0.path())
    }

    /// Enters an output with a name that is new. If the cursors of outputs were lost, it waits.
    pub fn begin(&self, name: &str, at: Position, now: Millis) -> Result<(), StoreError> {
        self.0
            .database
            .execute(
                "INSERT OR IGNORE INTO outputs (name, next_id, change, saved_at, waiting)
                 VALUES (?1, ?2, ?3, ?4, EXISTS (SELECT 1 FROM repairs WHERE catalog_lost))",
                (name, at.next_id, at.change, now.get()),
            )
            .map(drop)
            .doing("enter an output", self.0.path())
    }

    /// Enters which outputs there are now. Those with other names are past, and keep their places, but
    /// not their state: what it is about may be another's by the time that they come back.
    pub fn configure(&self, names: &[&str]) -> Result<(), StoreError> {
        let names = serde_json::json!(names).to_string();
        self.0
            .database
            .execute(
                "UPDATE outputs SET configured = name IN (SELECT value FROM json_each(?1)),
                     state = iif(name IN (SELECT value FROM json_each(?1)), state, '')",
                [names],
            )
            .map(drop)
            .doing("enter which outputs there are", self.0.path())
    }

    /// Saves a cursor; its error if it has none any more. `false` if the output was reset meanwhile:
    /// then nothing is saved.
    pub fn save(&self, name: &str, cursor: &OutputCursor) -> Result<bool, StoreError> {
        let run = || {
            let mut statement = self.0.database.prepare_cached(
                "UPDATE outputs SET next_id = ?3, change = ?4, state = ?5, written = ?6, lost = ?7,
                     saved_at = ?8, dead_letters = ?9, rate = ?10,
                     error = CASE WHEN ?11 THEN error END,
                     failed_at = CASE WHEN ?11 THEN failed_at END
                 WHERE name = ?1 AND epoch = ?2",
            )?;
            statement.execute((
                name,
                cursor.epoch,
                cursor.position.next_id,
                cursor.position.change,
                &cursor.state,
                cursor.written,
                cursor.lost,
                cursor.saved_at.get(),
                cursor.dead_letters,
                cursor.rate,
                cursor.error.is_some(),
            ))
        };
        run().map(|rows| rows == 1).doing("save an output's cursor", self.0.path())
    }

    /// Enters what went wrong.
    pub fn fail(&self, name: &str, error: &str, now: Millis) -> Result<(), StoreError> {
        self.0
            .database
            .execute(
                "UPDATE outputs SET error = ?2, failed_at = ?3, failures = failures + 1
                 WHERE name = ?1",
                (name, error, now.get()),
            )
            .map(drop)
            .doing("enter an output's error", self.0.path())
    }

    /// How often the output was reset; `None` if there is none of this name.
    pub fn epoch(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.0
            .database
            .prepare_cached("SELECT epoch FROM outputs WHERE name = ?1")
            .and_then(|mut one| one.query_row([name], |row| row.get(0)).optional())
            .doing("read an output's cursor", self.0.path())
    }

    /// Forgets an output that is past: one of its name would be a new one. `false` if there is none of
    /// this name, or it is not past.
    pub fn forget(&self, name: &str) -> Result<bool, StoreError> {
        self.0
            .database
            .execute("DELETE FROM outputs WHERE name = ?1 AND NOT configured", [name])
            .map(|rows| rows == 1)
            .doing("forget an output", self.0.path())
    }

    /// Puts an output to another place. Changes of verdicts that it has not seen it sees still. `false`
    /// if there is none of this name.
    pub fn reset(&self, name: &str, to: Position, now: Millis) -> Result<bool, StoreError> {
        self.0
            .database
            .execute(
                "UPDATE outputs SET next_id = ?2, change = min(change, ?3), saved_at = ?4,
                     epoch = epoch + 1, waiting = 0
                 WHERE name = ?1",
                (name, to.next_id, to.change, now.get()),
            )
            .map(|rows| rows == 1)
            .doing("reset an output", self.0.path())
    }
}

impl Catalog {
    /// The cursors of all outputs that ever ran, by name.
    pub(in crate::store) fn output_cursors(
        &self,
    ) -> Result<Vec<(String, OutputCursor)>, StoreError> {
        // A store that this version has not written to yet may have no such table.
        if self.version() < CATALOG_WITH_OUTPUTS {
            return Ok(Vec::new());
        }
        let waiting = match self.version() < CATALOG_WITH_REMOVALS {
            true => "0 AS waiting",
            false => "waiting",
        };
        let sql = format!("SELECT name, {COLUMNS}, {waiting} FROM outputs ORDER BY name");
        self.read("read the outputs' cursors", |catalog| {
            catalog
                .prepare(&sql)?
                .query_map([], |row| Ok((row.get(0)?, cursor(row, 1)?)))?
                .collect()
        })
    }
}

const COLUMNS: &str = "next_id, change, state, written, lost, epoch, saved_at, error, failed_at,
                       dead_letters, rate, failures, configured";

/// Reads [`COLUMNS`], which begin with the column `at`, and `waiting` after them.
fn cursor(row: &Row<'_>, at: usize) -> rusqlite::Result<OutputCursor> {
    let error: (Option<String>, Option<i64>) = (row.get(at + 7)?, row.get(at + 8)?);
    Ok(OutputCursor {
        position: Position { next_id: row.get(at)?, change: row.get(at + 1)? },
        state: row.get(at + 2)?,
        written: row.get(at + 3)?,
        lost: row.get(at + 4)?,
        epoch: row.get(at + 5)?,
        saved_at: Millis::saturating(row.get(at + 6)?),
        dead_letters: row.get(at + 9)?,
        rate: row.get(at + 10)?,
        failures: row.get(at + 11)?,
        configured: row.get(at + 12)?,
        waiting: row.get(at + 13)?,
        error: error.0.zip(error.1.map(Millis::saturating)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_that_was_reset_is_not_saved_over() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let cursors = OutputCursors::open(&directory).unwrap();
        let now = Millis::saturating(5);
        assert_eq!(cursors.load("a").unwrap(), None);
        assert!(!cursors.reset("a", Position::OLDEST, now).unwrap());
        cursors.begin("a", Position { next_id: 7, change: 1 }, now).unwrap();
        cursors.begin("a", Position::OLDEST, now).unwrap();
        let mut cursor = cursors.load("a").unwrap().unwrap();
        assert_eq!(cursor.position, Position { next_id: 7, change: 1 });

        cursors.fail("a", "oh", now).unwrap();
        assert_eq!(cursors.load("a").unwrap().unwrap().error, Some(("oh".into(), now)));
        cursor.position.next_id = 9;
        (cursor.state, cursor.written, cursor.lost) = ("x".into(), 2, 3);
        (cursor.dead_letters, cursor.rate, cursor.failures) = (4, 0.5, 1);
        assert!(cursors.save("a", &cursor).unwrap());
        assert_eq!(cursors.load("a").unwrap().unwrap(), cursor);

        // With an error it is still there, a save keeps it.
        cursors.fail("a", "oh", now).unwrap();
        cursor = cursors.load("a").unwrap().unwrap();
        assert!(cursors.save("a", &cursor).unwrap());
        assert_eq!(cursors.load("a").unwrap().unwrap(), cursor);

        // A change that was not seen is seen after a reset, too.
        assert!(cursors.reset("a", Position { next_id: 1, change: 5 }, now).unwrap());
        assert_eq!(cursors.load("a").unwrap().unwrap().position.change, 1);
        assert!(cursors.reset("a", Position::OLDEST, now).unwrap());
        assert!(!cursors.save("a", &cursor).unwrap());
        assert_eq!(cursors.epoch("a").unwrap(), Some(2));
        let reset = cursors.load("a").unwrap().unwrap();
        assert_eq!((reset.position, reset.state.as_str()), (Position::OLDEST, "x"));
        assert!(!cursors.forget("a").unwrap());
        cursors.configure(&["b"]).unwrap();
        let past = cursors.load("a").unwrap().unwrap();
        assert_eq!((past.configured, past.state.as_str()), (false, ""));
        cursors.configure(&["b", "a"]).unwrap();
        let catalog = Catalog::open_read_only(&directory).unwrap();
        let reset = OutputCursor { state: String::new(), ..reset };
        assert_eq!(catalog.output_cursors().unwrap(), [("a".to_owned(), reset)]);
        cursors.configure(&[]).unwrap();
        assert!(cursors.forget("a").unwrap());
        assert_eq!(cursors.load("a").unwrap(), None);
    }
}
