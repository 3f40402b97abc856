//! Refused requests and failed TLS handshakes: a line of each is kept, the newest 10,000.
//!
//! They are kept in memory and written at most once a second, without waiting for the disk: whoever
//! is refused must not be able to make the disk work.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Row};

use super::StoreError;
use super::catalog::Catalog;
use super::error::SqliteContext;
use crate::entry::Millis;

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
pub(super) struct Waiting(Mutex<VecDeque<Refused>>);

impl Waiting {
    /// Takes note of one.
    pub(super) fn note(&self, refused: Refused) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == NEWEST {
            waiting.pop_front();
        }
        waiting.push_back(refused);
    }

    /// Writes what waits.
    pub(super) fn write(&self, catalog: &mut Catalog) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return Ok(());
        }
        let Catalog { connection, path } = catalog;
        let mut run = || {
            // Of this connection, until the transaction is done.
            connection.pragma_update(None, "synchronous", "OFF")?;
            let transaction = connection.transaction()?;
            for one in &waiting {
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
        let written = run();
        let restored = connection.pragma_update(None, "synchronous", "FULL");
        written.and(restored).doing("write refused requests", path)
    }
}

/// The newest `limit`, newest first.
pub(super) fn newest(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<Refused>> {
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
