//! The names of the objects of an archive. The format is defined in docs/archive.md.
//!
//! Names are relative to the URL of the archive. They are only made and read here. The archive of a
//! store is below a prefix with its id, so many stores can share one place.

use std::fmt;

use crate::entry::Millis;

/// What all names begin with.
pub(crate) const ROOT: &str = "archive";

/// The tables. Each has files of its own, and a schema in `schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    /// Entries as they were when they were archived.
    Entries,
    /// Newer versions of entries: late verdicts.
    Verdicts,
    /// The whole lines of entries that are longer than the receiver parses, in pieces.
    Pieces,
    /// Other lines with the signed identity of an entry.
    Spellings,
    /// Deliveries.
    Deliveries,
    /// Keys and where they were seen.
    Keys,
    /// Bodies that could not be decoded.
    Quarantine,
}

impl Table {
    /// Every table.
    pub(crate) const ALL: [Table; 7] = [
        Table::Entries,
        Table::Verdicts,
        Table::Pieces,
        Table::Spellings,
        Table::Deliveries,
        Table::Keys,
        Table::Quarantine,
    ];

    /// Its name, as in the names of its files and in the manifest.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Entries => "entries",
            Table::Verdicts => "verdicts",
            Table::Pieces => "pieces",
            Table::Spellings => "spellings",
            Table::Deliveries => "deliveries",
            Table::Keys => "keys",
            Table::Quarantine => "quarantine",
        }
    }

    /// The table with this name.
    pub(crate) fn named(name: &str) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.name() == name)
    }
}

/// A UTC day, shown as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(i64);

impl Day {
    /// The day of a time in milliseconds since the epoch.
    pub(crate) fn of(millis: i64) -> Day {
        Day(Millis::saturating(millis).get().div_euclid(crate::entry::time::DAY))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = Millis::saturating(self.0.saturating_mul(crate::entry::time::DAY)).to_string();
        f.write_str(start.get(.."YYYY-MM-DD".len()).unwrap_or(&start))
    }
}

/// The id of a store as the archive has it: 32 hexadecimal digits.
pub(crate) fn is_store_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What the names of a store's objects begin with.
pub(crate) fn store(id: &str) -> String {
    format!("{ROOT}/store={id}")
}

/// The id of the store in a name.
pub(crate) fn store_of(key: &str) -> Option<&str> {
    let (id, _) = key.strip_prefix(ROOT)?.strip_prefix("/store=")?.split_once('/')?;
    is_store_id(id).then_some(id)
}

/// A data file of a segment: `archive/store=ID/TABLE/date=DAY/FIRST-GENERATION-PART.parquet`. `first_id`
/// is the id of the first entry of the segment. `generation` is 1, or more if the name was taken by
/// another file. `part` counts from 0.
pub(crate) fn of_segment(
    id: &str,
    table: Table,
    day: Day,
    first_id: u64,
    generation: u32,
    part: u32,
) -> String {
    let (store, table) = (store(id), table.name());
    format!("{store}/{table}/date={day}/{first_id:016}-{generation}-{part}.parquet")
}

/// The id of the first entry of the segment whose data file has this name.
pub(crate) fn segment_of(id: &str, key: &str) -> Option<u64> {
    let (_, rest) = key.strip_prefix(&store(id))?.split_once("/date=")?;
    rest.split_once('/')?.1.split_once('-')?.0.parse().ok()
}

/// A data file of what is learned outside of segments, such as late verdicts:
/// `archive/store=ID/TABLE/DELTA-GENERATION-PART.parquet`. `delta` is the number of the delta of the
/// manifest that lists it.
pub(crate) fn of_delta(id: &str, table: Table, delta: u64, generation: u32, part: u32) -> String {
    let (store, table) = (store(id), table.name());
    format!("{store}/{table}/{delta:020}-{generation}-{part}.parquet")
}

/// The prefix of the manifest.
pub(crate) fn manifest(id: &str) -> String {
    format!("{}/manifest", store(id))
}

/// A delta of the manifest. Numbers begin at 0 and have no gaps.
pub(crate) fn delta(id: &str, number: u64) -> String {
    format!("{}/delta-{number:020}.json", manifest(id))
}

/// The number of the delta with this name.
pub(crate) fn delta_number(id: &str, key: &str) -> Option<u64> {
    let name = key.strip_prefix(&manifest(id))?.strip_prefix("/delta-")?;
    name.strip_suffix(".json")?.parse().ok()
}

/// A snapshot of the manifest. Numbers begin at 0 and have no gaps.
pub(crate) fn snapshot(id: &str, number: u64) -> String {
    format!("{}/snapshot-{number:020}.json.zst", manifest(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_as_documented() {
        let file = of_segment(ID, Table::Entries, Day::of(1_767_225_599_999), 50_001, 1, 0);
        let expected =
            format!("archive/store={ID}/entries/date=2025-12-31/0000000000050001-1-0.parquet");
        assert_eq!(file, expected);
        assert_eq!((store_of(&file), segment_of(ID, &file)), (Some(ID), Some(50_001)));
        assert_eq!(segment_of(ID, &of_delta(ID, Table::Keys, 7, 1, 0)), None);
        assert_eq!(delta_number(ID, &delta(ID, 7)), Some(7));
        for bad in ["", "archive/store=x/entries/a", "archive/store=", "other/store=1/x"] {
            assert_eq!(store_of(bad), None, "{bad}");
        }
        assert_eq!(delta_number(ID, &snapshot(ID, 7)), None);
    }

    #[test]
    fn a_day_is_that_of_utc() {
        for (millis, expected) in [
            (0, "1970-01-01"),
            (86_399_999, "1970-01-01"),
            (86_400_000, "1970-01-02"),
            (-1, "1970-01-01"),
            (i64::MAX, "9999-12-31"),
        ] {
            assert_eq!(Day::of(millis).to_string(), expected);
        }
    }

    #[test]
    fn each_table_has_its_own_name() {
        for table in Table::ALL {
            assert_eq!(Table::named(table.name()), Some(table));
        }
        assert_eq!(Table::named("other"), None);
    }
}
