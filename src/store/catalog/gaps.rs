//! Gaps: ids that no segment has. Their entries were lost, or the ids were skipped because a client
//! may have seen them. Each gap is recorded, reported, and skipped by readers.

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::Catalog;
use crate::entry::Millis;
use crate::store::error::StoreError;
use crate::store::schema::CATALOG_WITH_REMOVALS;

/// A range of ids that no segment has and that was not removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first of them.
    pub first_id: u64,
    /// The last of them.
    pub last_id: u64,
    /// When the gap was detected.
    pub found_at: Millis,
    /// The reason, as far as it is known.
    pub reason: String,
}

impl Gap {
    /// Records the gap in the catalog.
    pub(super) fn enter(&self, catalog: &Connection) -> rusqlite::Result<()> {
        catalog
            .execute(
                "INSERT OR REPLACE INTO gaps (first_id, last_id, found_at, reason)
                 VALUES (?1, ?2, ?3, ?4)",
                (self.first_id, self.last_id, self.found_at.get(), &self.reason),
            )
            .map(drop)
    }
}

impl Catalog {
    /// The gaps, oldest first.
    pub(in crate::store) fn gaps(&self) -> Result<Vec<Gap>, StoreError> {
        if self.version() < CATALOG_WITH_REMOVALS {
            return Ok(Vec::new());
        }
        let sql = "SELECT first_id, last_id, found_at, reason FROM gaps ORDER BY first_id";
        self.read("read the gaps", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], gap)?.collect()
        })
    }
}

fn gap(row: &Row<'_>) -> rusqlite::Result<Gap> {
    Ok(Gap {
        first_id: row.get(0)?,
        last_id: row.get(1)?,
        found_at: Millis::saturating(row.get(2)?),
        reason: row.get(3)?,
    })
}
