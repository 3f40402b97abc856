//! The tables of a segment and of the catalog, in every version that there was.
//!
//! Each version is a file of SQL that makes it from the one before, and never changes once it is
//! released: `segment/0001.sql` and so on. A store outlives the program, so a sealed segment stays
//! in the version that it was written in, and `columns` knows what each version has. The format as a
//! whole is described in docs/store.md.
//!
//! Times are milliseconds since the Unix epoch. Words (format, kind, verdict, …) are stored as text,
//! so that a segment explains itself to anybody with the `sqlite3` shell.

mod columns;

use rusqlite::Connection;

pub(in crate::store) use columns::Columns;

/// What a kind of database looks like.
pub(in crate::store) struct Schema {
    /// SQLite's `application_id`: what tells our files from others.
    pub(in crate::store) application_id: i32,
    /// The number of each version of the schema, and what makes it from the one before it in this list.
    /// Only ever added to.
    pub(in crate::store) versions: &'static [(usize, &'static str)],
    /// The numbers of the versions that can be read and are made in another way.
    pub(in crate::store) made_otherwise: &'static [usize],
    /// Prepares a connection for reading a file of a version.
    pub(in crate::store) prepare: fn(&Connection, usize) -> rusqlite::Result<()>,
    /// The columns that the table `entries` has in a version.
    pub(in crate::store) columns: fn(usize) -> Columns,
    /// Fills in what SQL alone cannot, in the transaction that makes the newest version from this
    /// one.
    pub(in crate::store) fill: fn(&Connection, usize) -> rusqlite::Result<()>,
}

impl Schema {
    /// The version that a file has after it was opened for writing.
    pub(in crate::store) fn newest(&self) -> usize {
        self.versions.last().map_or(0, |(version, _)| *version)
    }

    /// The highest version that can be read.
    pub(in crate::store) fn known(&self) -> usize {
        self.made_otherwise.iter().copied().chain([self.newest()]).max().unwrap_or(0)
    }
}

/// The first version of a segment that has leaves.
pub(in crate::store) const SEGMENT_WITH_LEAVES: usize = 6;
/// The first version of a segment whose deliveries have `stored_at` and an origin.
pub(in crate::store) const SEGMENT_WITH_ORIGINS: usize = 4;
/// The first version of a segment that has `spellings` and `pieces`.
pub(in crate::store) const SEGMENT_WITH_SPELLINGS: usize = 2;
/// The first version of the catalog that knows what the log has.
pub(in crate::store) const CATALOG_WITH_LEAVES: usize = 12;
/// The first version of the catalog that has `uptime` and `reconciles`.
pub(in crate::store) const CATALOG_WITH_COVERAGE: usize = 12;
/// The first version of the catalog that knows in which archive a segment is.
pub(in crate::store) const CATALOG_WITH_PLACES: usize = 11;
/// The first version of the catalog that has an id of the store, `max_stored_at`, and the tables of the
/// journal and of the archive.
pub(in crate::store) const CATALOG_WITH_JOURNAL: usize = 10;
/// The first version of the catalog that has `retirements`.
pub(in crate::store) const CATALOG_WITH_RETIREMENTS: usize = 9;
/// The first version of the catalog that has `spellings`.
pub(in crate::store) const CATALOG_WITH_SPELLINGS: usize = 6;
/// The first version of the catalog that has `removals`, `gaps`, `superseded` and `repairs`.
pub(in crate::store) const CATALOG_WITH_REMOVALS: usize = 4;
/// The first version of the catalog whose outputs have all their columns.
pub(in crate::store) const CATALOG_WITH_OUTPUTS: usize = 3;
