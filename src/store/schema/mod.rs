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

pub(super) use columns::Columns;

use super::{signed, whole};

/// What a kind of database looks like.
pub(super) struct Schema {
    /// SQLite's `application_id`: what tells our files from others.
    pub(super) application_id: i32,
    /// What makes each version of the schema from the one before it. Only ever added to.
    pub(super) versions: &'static [&'static str],
    /// The columns that the table `entries` has in a version.
    pub(super) columns: fn(usize) -> Columns,
    /// Fills in what SQL alone cannot, in the transaction that makes the newest version from this one.
    pub(super) fill: fn(&Connection, usize) -> rusqlite::Result<()>,
}

/// A segment. `application_id` is "Vidi" in ASCII.
pub(super) const SEGMENT: Schema = Schema {
    application_id: 0x5669_6469,
    versions: &[include_str!("segment/0001.sql"), include_str!("segment/0002.sql")],
    columns: Columns::of_segment,
    fill: |segment, from| match from {
        1 => signed::record(segment).and_then(|()| whole::cut(segment)),
        _ => Ok(()),
    },
};

/// What sealing adds to a segment of the newest version; it may have been sealed before.
pub(super) const SEALED: &str =
    concat!(include_str!("sealed/0001.sql"), include_str!("sealed/0002.sql"));

/// The catalog. `application_id` is "Vidc" in ASCII.
pub(super) const CATALOG: Schema = Schema {
    application_id: 0x5669_6463,
    versions: &[
        include_str!("catalog/0001.sql"),
        include_str!("catalog/0002.sql"),
        include_str!("catalog/0003.sql"),
        include_str!("catalog/0004.sql"),
        include_str!("catalog/0005.sql"),
        include_str!("catalog/0006.sql"),
        include_str!("catalog/0007.sql"),
    ],
    columns: Columns::of_catalog,
    fill: |catalog, from| match from {
        1..CATALOG_WITH_SPELLINGS => signed::record(catalog),
        _ => Ok(()),
    },
};

/// Refused requests and failed handshakes. `application_id` is "Vidr" in ASCII.
pub(super) const REFUSED: Schema = Schema {
    application_id: 0x5669_6472,
    versions: &[include_str!("refused/0001.sql")],
    columns: Columns::of_segment,
    fill: |_, _| Ok(()),
};

/// The first version of a segment that has `spellings` and `pieces`.
pub(super) const SEGMENT_WITH_SPELLINGS: usize = 2;
/// The first version of the catalog that has `spellings`.
pub(super) const CATALOG_WITH_SPELLINGS: usize = 6;
/// The first version of the catalog that has `removals`, `gaps`, `superseded` and `repairs`.
pub(super) const CATALOG_WITH_REMOVALS: usize = 4;
/// The first version of the catalog whose outputs have all their columns.
pub(super) const CATALOG_WITH_OUTPUTS: usize = 3;
