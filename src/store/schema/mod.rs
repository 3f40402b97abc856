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
    /// What makes each version of the schema from the one before it. Only ever added to.
    pub(in crate::store) versions: &'static [&'static str],
    /// How many versions follow that can be read and are made in another way.
    pub(in crate::store) made_otherwise: usize,
    /// Prepares a connection for reading a file of a version.
    pub(in crate::store) prepare: fn(&Connection, usize) -> rusqlite::Result<()>,
    /// The columns that the table `entries` has in a version.
    pub(in crate::store) columns: fn(usize) -> Columns,
    /// Fills in what SQL alone cannot, in the transaction that makes the newest version from this
    /// one.
    pub(in crate::store) fill: fn(&Connection, usize) -> rusqlite::Result<()>,
}

/// The first version of a segment that has `spellings` and `pieces`.
pub(in crate::store) const SEGMENT_WITH_SPELLINGS: usize = 2;
/// The first version of the catalog that has `retirements`.
pub(in crate::store) const CATALOG_WITH_RETIREMENTS: usize = 9;
/// The first version of the catalog that has `spellings`.
pub(in crate::store) const CATALOG_WITH_SPELLINGS: usize = 6;
/// The first version of the catalog that has `removals`, `gaps`, `superseded` and `repairs`.
pub(in crate::store) const CATALOG_WITH_REMOVALS: usize = 4;
/// The first version of the catalog whose outputs have all their columns.
pub(in crate::store) const CATALOG_WITH_OUTPUTS: usize = 3;
