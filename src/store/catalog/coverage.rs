//! When `serve` ran, and which ranges were compared with Konnect.
//!
//! A row of a comparison says where its leaf is, and of which region or Dev Portal and of which range it
//! is. What was found is in the leaf alone, so that there is one place that says it.

use std::fmt;

use ring::digest;
use rusqlite::Row;
use serde::{Deserialize, Serialize};

use super::Catalog;
use crate::entry::Millis;
use crate::ingest::sha256;
use crate::store::error::StoreError;
use crate::store::schema::CATALOG_WITH_COVERAGE;
use crate::tlog::leaf::{Leaf, Sha256};

/// A run of `serve`, or the part of one in which its clock was not set and it did not stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uptime {
    /// When it began.
    pub started_at: Millis,
    /// Its last sign of life.
    pub last_seen_at: Millis,
    /// Whether it received deliveries itself.
    pub has_receiver: bool,
    /// Whether it read a journal, into which other receivers put deliveries.
    pub has_journal: bool,
    /// Whether it goes on with the run before, whose clock was set.
    pub is_clock_set: bool,
}

/// What Konnect delivers by one webhook: the entries of an organization in a region, or of a Dev Portal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// The region, such as `eu`, or the URL of an API that is not Konnect's.
    pub region: String,
    /// The id of the Dev Portal. `None`: the organization.
    pub portal: Option<String>,
}

/// The result of a comparison with Konnect. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciled {
    /// What was compared.
    pub scope: Scope,
    /// The beginning of the range.
    pub since: i64,
    /// The first millisecond after it. If it is before `since`, the range is empty.
    pub until: i64,
    /// The number of entries that were compared.
    pub compared: u64,
    /// The number of entries that were missing.
    pub missing: u64,
    /// The number of missing entries that a replay brought.
    pub fetched: u64,
}

/// A range that was compared with Konnect, by the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconciledRange {
    /// The leaf that has the result.
    pub leaf: u64,
    /// What was compared.
    pub scope: Scope,
    /// The beginning of the range.
    pub since: Millis,
    /// The first millisecond after it.
    pub until: Millis,
}

impl Scope {
    /// The hash of its name in leaves.
    pub fn sha256(&self) -> Sha256 {
        sha256(&digest::digest(&digest::SHA256, self.to_string().as_bytes()))
    }
}

/// The name: that of the region, and for a Dev Portal a slash and its id.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        self.portal.as_ref().map_or(Ok(()), |portal| write!(f, "/{portal}"))
    }
}

impl Reconciled {
    /// What the log says of it.
    pub(in crate::store) fn leaf(&self) -> Leaf {
        Leaf::Reconcile {
            since: Millis::saturating(self.since),
            until: Millis::saturating(self.until.max(self.since)),
            compared: self.compared,
            missing: self.missing,
            fetched: self.fetched,
            name: self.scope.sha256(),
        }
    }
}

impl Catalog {
    /// Records a comparison, whose result is in this leaf.
    pub(in crate::store) fn record_reconciled(
        &self,
        leaf: u64,
        reconciled: &Reconciled,
    ) -> Result<(), StoreError> {
        let Reconciled { scope, since, until, .. } = reconciled;
        self.write("record a comparison with Konnect", |catalog| {
            catalog
                .execute(
                    "INSERT OR REPLACE INTO reconciles (leaf, region, portal, since, until)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    (leaf, &scope.region, &scope.portal, since, until.max(since)),
                )
                .map(drop)
        })
    }

    /// Records a run of `serve`, and returns the number of the record.
    pub(in crate::store) fn begin_uptime(&self, uptime: &Uptime) -> Result<i64, StoreError> {
        let Uptime { started_at, last_seen_at, has_receiver, has_journal, is_clock_set } = uptime;
        self.write("record that serve runs", |catalog| {
            catalog.execute(
                "INSERT INTO uptime
                     (started_at, last_seen_at, has_receiver, has_journal, is_clock_set)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (started_at.get(), last_seen_at.get(), has_receiver, has_journal, is_clock_set),
            )?;
            Ok(catalog.last_insert_rowid())
        })
    }

    /// Records a sign of life of a run of `serve`.
    pub(in crate::store) fn extend_uptime(
        &self,
        number: i64,
        last_seen_at: Millis,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE uptime SET last_seen_at = ?2 WHERE number = ?1";
        self.write("record that serve runs", |catalog| {
            catalog.execute(sql, (number, last_seen_at.get())).map(drop)
        })
    }

    /// The runs of `serve`, in the order in which they began.
    pub(in crate::store) fn uptimes(&self) -> Result<Vec<Uptime>, StoreError> {
        if self.version() < CATALOG_WITH_COVERAGE {
            return Ok(Vec::new());
        }
        let sql = "SELECT started_at, last_seen_at, has_receiver, has_journal, is_clock_set
                   FROM uptime ORDER BY number";
        self.read("read when serve ran", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], uptime)?.collect()
        })
    }

    /// The ranges that were compared with Konnect, in the order of their leaves.
    pub(in crate::store) fn reconciled(&self) -> Result<Vec<ReconciledRange>, StoreError> {
        if self.version() < CATALOG_WITH_COVERAGE {
            return Ok(Vec::new());
        }
        let sql = "SELECT leaf, region, portal, since, until FROM reconciles ORDER BY leaf";
        self.read("read what was compared with Konnect", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], range)?.collect()
        })
    }
}

fn uptime(row: &Row<'_>) -> rusqlite::Result<Uptime> {
    Ok(Uptime {
        started_at: Millis::saturating(row.get(0)?),
        last_seen_at: Millis::saturating(row.get(1)?),
        has_receiver: row.get(2)?,
        has_journal: row.get(3)?,
        is_clock_set: row.get(4)?,
    })
}

fn range(row: &Row<'_>) -> rusqlite::Result<ReconciledRange> {
    Ok(ReconciledRange {
        leaf: row.get(0)?,
        scope: Scope { region: row.get(1)?, portal: row.get(2)? },
        since: Millis::saturating(row.get(3)?),
        until: Millis::saturating(row.get(4)?),
    })
}
