//! The file of a segment: its rows, its lines, and SQL conditions for them.
//!
//! The overlay has tables of the same form, so all of this works on them too.

#[cfg(test)]
mod agreement;
pub(in crate::store) mod blocks;
pub(in crate::store) mod condition;
pub(in crate::store) mod contents;
pub(in crate::store) mod identity;
pub(in crate::store) mod leaves;
pub(in crate::store) mod long_lines;
pub(in crate::store) mod origins;
pub(in crate::store) mod packed;
pub(in crate::store) mod restored;
pub(in crate::store) mod row;
pub(in crate::store) mod text;

use rusqlite::{Connection, Row};

use crate::store::schema::{Columns, Schema};

/// A segment. `application_id` is "Vidi" in ASCII. Those that are not sealed have version 6, the
/// sealed ones have version 7 or the one that they were sealed with.
pub(in crate::store) const SCHEMA: Schema = Schema {
    application_id: 0x5669_6469,
    versions: &[
        (1, include_str!("../schema/segment/0001.sql")),
        (2, include_str!("../schema/segment/0002.sql")),
        (4, include_str!("../schema/segment/0004.sql")),
        (6, include_str!("../schema/segment/0006.sql")),
    ],
    made_otherwise: &packed::VERSIONS,
    prepare: |segment, version| match packed::VERSIONS.contains(&version) {
        true => blocks::register(segment),
        false => Ok(()),
    },
    columns: Columns::of_segment,
    fill: |segment, from| match from {
        1 => identity::record_signed(segment).and_then(|()| long_lines::cut(segment)),
        _ => Ok(()),
    },
};

/// The tables and indexes that sealing added to version 2.
#[cfg(test)]
pub(in crate::store) const SEALED: &str =
    concat!(include_str!("../schema/sealed/0001.sql"), include_str!("../schema/sealed/0002.sql"));

/// The summary of a closed segment. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Closed {
    /// The id of its last entry; `first_id - 1` if it has none.
    pub last_id: u64,
    /// The id of its last delivery; `first_delivery - 1` if it has none.
    pub last_delivery: u64,
    /// The smallest and the largest `event_time` of the entries that have one.
    pub event_time: Option<(i64, i64)>,
    /// The number of entries without an `event_time`.
    pub without_time: u64,
    /// The smallest and the largest `time`.
    pub time: Option<(i64, i64)>,
    /// The smallest and the largest `received_at`.
    pub received_at: Option<(i64, i64)>,
    /// When the first and the last of its deliveries were stored. In a segment of an earlier version,
    /// the smallest and the largest `received_at`.
    pub stored_at: Option<(i64, i64)>,
    /// The number of entries that a new key may make valid.
    pub awaiting_key: u64,
}

impl Closed {
    /// Reads the summary from the file of a segment.
    pub(in crate::store) fn of(
        connection: &Connection,
        version: usize,
    ) -> rusqlite::Result<Closed> {
        let deliveries = "SELECT coalesce(max(id), (SELECT first_delivery - 1 FROM segment))
                          FROM deliveries";
        let last_delivery = connection.query_row(deliveries, [], |row| row.get(0))?;
        let sql = format!(
            "SELECT coalesce(max(id), (SELECT first_id - 1 FROM segment)),
                    min(nullif(event_time, 0)), max(nullif(event_time, 0)),
                    count(*) FILTER (WHERE event_time = 0), min(time), max(time),
                    min(received_at), max(received_at), count(*) FILTER (WHERE {AWAITING_KEY})
             FROM entries"
        );
        let stored_at = origins::stored_at(connection, version)?;
        connection.query_row(&sql, [], |row| {
            let received_at = range(row, 6)?;
            Ok(Closed {
                last_id: row.get(0)?,
                last_delivery,
                event_time: range(row, 1)?,
                without_time: row.get(3)?,
                time: range(row, 4)?,
                received_at,
                stored_at: stored_at.or(received_at),
                awaiting_key: row.get(8)?,
            })
        })
    }
}

/// The SQL condition for entries that a new key may make valid.
pub(in crate::store) const AWAITING_KEY: &str = "(verdict = 'no_key' OR (verdict = 'invalid'
     AND reason IN ('no_matching_key', 'not_tried')))";

/// The SQL condition for entries that were not tried with the available keys.
pub(in crate::store) const NOT_TRIED: &str = "(verdict = 'invalid' AND reason = 'not_tried')";

/// Two columns as a range; `None` if they are NULL.
pub(in crate::store) fn range(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<(i64, i64)>> {
    let (least, greatest): (Option<i64>, Option<i64>) = (row.get(at)?, row.get(at + 1)?);
    Ok(least.zip(greatest))
}

/// The range that covers both.
pub(in crate::store) fn union(
    one: Option<(i64, i64)>,
    other: Option<(i64, i64)>,
) -> Option<(i64, i64)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}

/// The names of a segment's files. A rewritten segment gets the next generation: a file never
/// replaces another.
pub(in crate::store) mod file_name {
    /// The name of a live segment.
    pub(in crate::store) fn live(first_id: u64) -> String {
        format!("{first_id:016}.live.db")
    }

    /// The name of a sealed segment, in its first, second, … generation.
    pub(in crate::store) fn sealed(first_id: u64, generation: u32) -> String {
        match generation {
            0 | 1 => format!("{first_id:016}.db"),
            _ => format!("{first_id:016}.{generation}.db"),
        }
    }

    /// The generation that follows the file `before`.
    pub(in crate::store) fn generation_after(before: &str) -> u32 {
        let generation = |name: &str| name.split('.').nth(1)?.parse::<u32>().ok();
        match before.ends_with(".live.db") {
            true => 1,
            false => generation(before).unwrap_or(1).saturating_add(1),
        }
    }

    /// The name of a sealed segment while it is written.
    pub(in crate::store) fn temporary(first_id: u64) -> String {
        format!("{first_id:016}.tmp.db")
    }

    /// The name of the copy of a segment of version 1 that is brought to the newest version.
    pub(in crate::store) fn migrated(first_id: u64) -> String {
        format!("{first_id:016}.v2.tmp.db")
    }

    /// Whether a name is one of [`temporary`] or [`migrated`].
    pub(in crate::store) fn is_temporary(name: &str) -> bool {
        name.ends_with(".tmp.db")
    }

    /// The first id of the segment of a file, by its name.
    pub(in crate::store) fn first_id(name: &str) -> Option<u64> {
        name.split('.').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::file_name::*;

    #[test]
    fn a_file_never_takes_the_name_of_another() {
        let first = sealed(1, generation_after(&live(1)));
        assert_eq!(first, "0000000000000001.db");
        let second = sealed(1, generation_after(&first));
        assert_eq!(second, "0000000000000001.2.db");
        assert_eq!(sealed(1, generation_after(&second)), "0000000000000001.3.db");
        assert_eq!(first_id(&second), Some(1));
    }
}
