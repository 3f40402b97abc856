//! Refused requests and failed TLS handshakes. The newest 10,000 are kept.
//!
//! They are collected in memory and written at most once a second, without a sync, so that refused
//! clients cannot keep the disk busy. They have a file of their own, so that no problem with it
//! affects entries.

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
    versions: &[(1, include_str!("schema/refused/0001.sql"))],
    made_otherwise: &[],
    prepare: |_, _| Ok(()),
    columns: Columns::of_segment,
    fill: |_, _| Ok(()),
};

/// The number that is kept.
const NEWEST: usize = 10_000;

/// A request that was refused, or a connection that failed before a request.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub time: Millis,
    /// The address and port of the client.
    pub peer: String,
    /// The HTTP status of the response. `None` if there was no request.
    pub status: Option<u16>,
    pub reason: String,
    /// The scheme of its `Authorization`, never the value.
    pub scheme: Option<String>,
}

/// Refused requests that are not written yet.
#[derive(Debug, Default)]
pub(in crate::store) struct Waiting(Mutex<VecDeque<Refused>>);

impl Waiting {
    /// Adds one.
    pub(in crate::store) fn note(&self, refused: Refused) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == NEWEST {
            waiting.pop_front();
        }
        waiting.push_back(refused);
    }

    /// Writes them.
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
        // If this fails, it is retried at the next write.
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
    // A commit is not synced, a checkpoint is: a power loss may lose the last rows, but never the
    // file.
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
