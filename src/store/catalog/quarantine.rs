//! The quarantine: complete bodies of authorized requests that could not be decoded.
//!
//! Its size is limited. When it is full, nothing is deleted and the next body is refused. When an
//! operator drops a body, that is recorded.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use ring::digest;
use rusqlite::{Connection, OptionalExtension, Row};

use super::Catalog;
use crate::entry::Millis;
use crate::store::error::StoreError;
use crate::store::origin::Origin;
use crate::store::schema::CATALOG_WITH_JOURNAL;
use crate::store::segment::origins::{self, has_in};
use crate::store::sqlite;

/// A body in quarantine, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// Its number.
    pub id: u64,
    /// When it was received.
    pub received_at: Millis,
    /// The input that received it.
    pub input: String,
    /// Who sent it.
    pub peer: String,
    /// The status of the answer.
    pub status: u16,
    /// Why it could not be decoded.
    pub reason: String,
    /// The `Content-Encoding` as sent.
    pub content_encoding: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Where it stood in a journal. `None` if it came directly.
    #[serde(rename = "journal", skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// The columns of a body, in a version of the catalog.
fn columns(version: usize) -> String {
    let origin = if version < CATALOG_WITH_JOURNAL { "" } else { ", epoch, number, position" };
    format!(
        "id, received_at, input, peer, status, reason, content_encoding, length(body) AS bytes{origin}"
    )
}

/// Stores a body and returns its number. `limit` is the maximum size of the quarantine in bytes. The
/// number and the size in `what` are ignored.
///
/// # Errors
/// [`StoreError::AlreadyStored`] if a body from its place in a journal is in quarantine or was dropped.
pub(in crate::store) fn put(
    catalog: &Catalog,
    what: &Quarantined,
    body: &[u8],
    limit: u64,
) -> Result<u64, StoreError> {
    let wanted = body.len() as u64;
    catalog.transaction("write the quarantine", |catalog| {
        if let Some(origin) = what.origin
            && catalog.read("read the quarantine", |database| {
                Ok(has_in(database, "quarantine", &origin)?
                    || has_in(database, "dropped", &origin)?)
            })?
        {
            return Err(StoreError::AlreadyStored(origin));
        }
        // The metadata takes space too: many small bodies can also fill a disk.
        let sql = "SELECT coalesce(sum(length(body) + 1024), 0) FROM quarantine";
        let used: u64 = catalog.read("read the quarantine", |database| {
            database.query_row(sql, [], |row| row.get(0))
        })?;
        if used.saturating_add(wanted) > limit {
            return Err(StoreError::QuarantineFull { used, limit, wanted });
        }
        catalog.read("write the quarantine", |database| {
            insert(database, None, what, body)?;
            Ok(database.last_insert_rowid().unsigned_abs())
        })
    })
}

/// Writes a body. Without an `id` it gets the next one.
fn insert(
    database: &Connection,
    id: Option<u64>,
    what: &Quarantined,
    body: &[u8],
) -> rusqlite::Result<()> {
    let (epoch, number, position) = origins::values(what.origin);
    database
        .execute(
            "INSERT INTO quarantine
                 (id, received_at, input, peer, status, reason, content_encoding, body,
                  epoch, number, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                id,
                what.received_at.get(),
                &what.input,
                &what.peer,
                what.status,
                &what.reason,
                &what.content_encoding,
                body,
                epoch,
                number,
                position,
            ),
        )
        .map(drop)
}

/// Gives later bodies numbers above this one.
pub(in crate::store) fn number_after(catalog: &Catalog, id: u64) -> Result<(), StoreError> {
    catalog
        .write("number the quarantine", |database| sqlite::number_after(database, "quarantine", id))
}

/// The number of the last body that was put in quarantine.
pub(in crate::store) fn last(catalog: &Catalog) -> Result<u64, StoreError> {
    catalog.read("read the quarantine", |database| sqlite::last_number(database, "quarantine"))
}

/// The numbers of the bodies that were dropped.
pub(in crate::store) fn dropped(catalog: &Catalog) -> Result<BTreeSet<u64>, StoreError> {
    catalog.read("read the quarantine", |database| {
        database.prepare("SELECT id FROM dropped")?.query_map([], |row| row.get(0))?.collect()
    })
}

/// Stores a body under the number that it had.
pub(in crate::store) fn restore(
    catalog: &Catalog,
    what: &Quarantined,
    body: &[u8],
) -> Result<(), StoreError> {
    catalog.read("write the quarantine", |database| insert(database, Some(what.id), what, body))
}

/// All that is in quarantine, oldest first.
pub(in crate::store) fn list(catalog: &Catalog) -> Result<Vec<Quarantined>, StoreError> {
    let sql = format!("SELECT {} FROM quarantine ORDER BY id", columns(catalog.version()));
    catalog.read("read the quarantine", |database| {
        database.prepare(&sql)?.query_map([], quarantined)?.collect()
    })
}

/// A body and its bytes.
///
/// # Errors
/// [`StoreError::NoSuch`] if there is no such body.
pub(in crate::store) fn get(
    catalog: &Catalog,
    id: u64,
) -> Result<(Quarantined, Vec<u8>), StoreError> {
    catalog
        .read("read the quarantine", |database| find(database, catalog.version(), id))?
        .ok_or(StoreError::NoSuch { what: "body in quarantine", id })
}

fn find(
    database: &Connection,
    version: usize,
    id: u64,
) -> rusqlite::Result<Option<(Quarantined, Vec<u8>)>> {
    let sql = format!("SELECT {}, body FROM quarantine WHERE id = ?1", columns(version));
    database.query_row(&sql, [id], |row| Ok((quarantined(row)?, row.get("body")?))).optional()
}

/// A body that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Its metadata.
    pub what: Quarantined,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// Drops a body, and records that in the same transaction. `None` if there is no such body.
pub(in crate::store) fn drop_body(
    catalog: &Catalog,
    id: u64,
    now: Millis,
) -> Result<Option<Dropped>, StoreError> {
    catalog.write("write the quarantine", |database| {
        let Some((what, body)) = find(database, catalog.version(), id)? else { return Ok(None) };
        let origin = origins::values(what.origin);
        let digest = digest::digest(&digest::SHA256, &body);
        let sha256 = HEXLOWER.encode(digest.as_ref());
        database.execute(
            "INSERT INTO dropped (id, dropped_at, received_at, input, peer, reason, bytes, sha256,
                 epoch, number, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            (
                id,
                now.get(),
                what.received_at.get(),
                &what.input,
                &what.peer,
                &what.reason,
                what.bytes,
                &sha256,
                origin.0,
                origin.1,
                origin.2,
            ),
        )?;
        delete(database, id)?;
        Ok(Some(Dropped { what, sha256 }))
    })
}

/// Removes a body whose entries are stored.
pub(in crate::store) fn remove(catalog: &Catalog, id: u64) -> Result<(), StoreError> {
    catalog.read("write the quarantine", |database| delete(database, id))
}

fn delete(database: &Connection, id: u64) -> rusqlite::Result<()> {
    database.execute("DELETE FROM quarantine WHERE id = ?1", [id]).map(drop)
}

fn quarantined(row: &Row<'_>) -> rusqlite::Result<Quarantined> {
    Ok(Quarantined {
        id: row.get(0)?,
        received_at: Millis::saturating(row.get(1)?),
        input: row.get(2)?,
        peer: row.get(3)?,
        status: row.get(4)?,
        reason: row.get(5)?,
        content_encoding: row.get(6)?,
        bytes: row.get(7)?,
        origin: origins::origin(row)?,
    })
}
