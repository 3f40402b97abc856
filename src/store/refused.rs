//! Refused requests and failed TLS handshakes: a line of each is kept, the newest 10,000.
//!
//! They are kept in memory and written at most once a second, without waiting for the disk: whoever
//! is refused must not be able to make the disk work. They have a file of their own, so that nothing
//! that happens to it can touch an entry.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Row};

use crate::entry::Millis;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::{Columns, Schema};
use crate::store::sqlite::{self, Database};

/// The file of refused requests. `application_id` is "Vidr" in ASCII.
pub(in crate::store) const SCHEMA: Schema = Schema {
    application_id: 0x5669_6472,
    versions: &[include_str!("schema/refused/0001.sql")],
    columns: Columns::of_segment,
    fill: |_, _| Ok(()),
};

/// The most that are kept.
const NEWEST: usize = 10_000;

/// A request that was refused, or a connection that never came to one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    /// When.
    pub time: Millis,
    /// By whom: an address and a port.
    pub peer: String,
    /// The status of the answer; `None` if there was no request.
    pub status: Option<u16>,
    /// Why.
    pub reason: String,
    /// The scheme of its `Authorization`, never the value.
    pub scheme: Option<String>,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(in crate::store) struct Waiting(Mutex<VecDeque<Refused>>);

impl Waiting {
    /// Takes note of one.
    pub(in crate::store) fn note(&self, refused: Refused) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == NEWEST {
            waiting.pop_front();
        }
        waiting.push_back(refused);
    }

    /// Writes what waits.
    pub(in crate::store) fn write(&self, file: &mut RefusedFile) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match waiting.is_empty() {
            true => Ok(()),
            false => file.write(&waiting),
        }
    }
}

/// The file of refused requests, open for writing.
#[derive(Debug)]
pub(in crate::store) struct RefusedFile {
    path: PathBuf,
    database: Option<Database>,
}

impl RefusedFile {
    pub(in crate::store) fn new(directory: &Directory) -> RefusedFile {
        let path = directory.refused();
        // What fails now is tried again when there is something to write.
        RefusedFile { database: open(&path).ok(), path }
    }

    fn write(&mut self, refused: &VecDeque<Refused>) -> Result<(), StoreError> {
        let RefusedFile { path, database } = self;
        let database = match database {
            Some(database) => database,
            None => database.insert(open(path)?),
        };
        let mut run = || {
            let transaction = database.transaction()?;
            for one in refused {
                transaction
                    .prepare_cached(
                        "INSERT INTO refused (time, peer, status, reason, scheme)
                         VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute((one.time.get(), &one.peer, one.status, &one.reason, &one.scheme))?;
            }
            transaction.execute(
                "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?1",
                [NEWEST],
            )?;
            transaction.commit()
        };
        run().doing("write refused requests", path)
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let database = sqlite::open(path, &SCHEMA)?;
    // A commit does not wait for the disk, a checkpoint does: a power loss takes the last rows, and
    // never the file.
    database.pragma_update(None, "synchronous", "NORMAL").doing("open", path)?;
    Ok(database)
}

/// The newest `limit` in a file that has the table `refused`, newest first.
pub(in crate::store) fn newest(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<Refused>> {
    connection
        .prepare(
            "SELECT time, peer, status, reason, scheme FROM refused ORDER BY id DESC LIMIT ?1",
        )?
        .query_map([limit], refused)?
        .collect()
}

fn refused(row: &Row<'_>) -> rusqlite::Result<Refused> {
    Ok(Refused {
        time: Millis::saturating(row.get(0)?),
        peer: row.get(1)?,
        status: row.get(2)?,
        reason: row.get(3)?,
        scheme: row.get(4)?,
    })
}
