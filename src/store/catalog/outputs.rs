//! The cursors of outputs: the position of each, and its state.
//!
//! A running output saves its cursor from time to time. A reset increments the `epoch`, even while
//! the output runs in another process. A cursor with an old epoch is not saved: the output reads
//! its row and starts again from there.

use rusqlite::{OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::entry::Millis;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::{CATALOG_WITH_OUTPUTS, CATALOG_WITH_REMOVALS};

/// The position of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The id of the next entry.
    pub next_id: u64,
    /// The number of the last change that the follower saw.
    pub change: u64,
}

impl Position {
    /// The position before the oldest entry.
    pub const OLDEST: Position = Position { next_id: 1, change: 0 };
}

#[derive(Clone, Debug, PartialEq)]
pub struct OutputCursor {
    /// Everything before it was delivered.
    pub position: Position,
    /// The state of the output, in a format of its own.
    pub state: String,
    /// The number of lines delivered.
    pub written: u64,
    /// The number of entries that the other end rejected permanently. They are in the dead letters.
    pub dead_letters: u64,
    /// The lines delivered per second, over the minute before the cursor was saved.
    pub rate: f64,
    /// The number of failures.
    pub failures: u64,
    /// The number of entries that retention deleted before the output saw them, including those
    /// that do not match its filter.
    pub lost: u64,
    /// The number of resets.
    pub epoch: u64,
    /// When the cursor was last saved.
    pub saved_at: Millis,
    /// The last error and its time. `None` if the output has recovered since.
    pub error: Option<(String, Millis)>,
    /// Whether the output is still configured.
    pub configured: bool,
    /// Whether the cursor was lost with the catalog. Then the output waits for a reset.
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

    /// The cursor of the output `name`.
    pub fn load(&self, name: &str) -> Result<Option<OutputCursor>, StoreError> {
        let read = self
            .0
            .database
            .prepare_cached(&format!("SELECT {COLUMNS}, waiting FROM outputs WHERE name = ?1"))
            .and_then(|mut statement| statement.query_row([name], |row| cursor(row, 0)).optional());
        read.doing("read an output's cursor", self.0.path())
    }

    /// Adds an output unless there is one of this name. If the cursors were lost, it waits for a
    /// reset.
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

    /// Marks these outputs as configured and all others as not. The others keep their position but
    /// not their state: their files may belong to another output by the time they come back.
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

    /// Saves a cursor. If the cursor has no error, the recorded error is cleared. Returns `false`,
    /// and saves nothing, if the output was reset meanwhile.
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

    /// Records an error.
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

    /// The number of resets of an output. `None` if there is no such output.
    pub fn epoch(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.0
            .database
            .prepare_cached("SELECT epoch FROM outputs WHERE name = ?1")
            .and_then(|mut one| one.query_row([name], |row| row.get(0)).optional())
            .doing("read an output's cursor", self.0.path())
    }

    /// Deletes the cursor of an output that is not configured. Returns `false` if there is no such
    /// output or it is configured.
    pub fn forget(&self, name: &str) -> Result<bool, StoreError> {
        self.0
            .database
            .execute("DELETE FROM outputs WHERE name = ?1 AND NOT configured", [name])
            .map(|rows| rows == 1)
            .doing("forget an output", self.0.path())
    }

    /// Moves an output to another position. It still sees the changes that it has not seen. Returns
    /// `false` if there is no such output.
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
    /// The cursors of all outputs, by name, including those that are no longer configured.
    pub(in crate::store) fn output_cursors(
        &self,
    ) -> Result<Vec<(String, OutputCursor)>, StoreError> {
        // A store that an older version wrote may have no such table.
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

/// Reads [`COLUMNS`], starting at the column `at`, and `waiting` after them.
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
