//! What is found in an archive is compared with a list in memory.

use std::collections::BTreeMap;

use parquet::errors::ParquetError;
use tokio::runtime::Runtime;

use super::row::{OwnedCell, Search};
use super::*;
use crate::archive::decode::tests::repeated;
use crate::archive::encode::{Encoded, Encoder};
use crate::archive::entry::{Cells, record};
use crate::archive::footer::guarded;
use crate::archive::layout::{self, Day};
use crate::archive::manifest::{self, Manifest};
use crate::archive::rows::Cell;
use crate::entry::{Record, VerdictName};
use crate::search::parse;

const STORE: &str = "0123456789abcdef0123456789abcdef";

/// The ids of a segment, and of a file of it.
const SEGMENT: u64 = 60;
const FILE: u64 = 30;

/// Two segments in two files each, with newer versions of some entries.
struct Made {
    _folder: tempfile::TempDir,
    runtime: Runtime,
    url: BucketUrl,
    place: Place,
    /// The values of each entry as it is now, by its id.
    now: BTreeMap<u64, super::row::Row>,
}

type Row = Vec<(&'static str, String, i64)>;

/// The values of an entry. Numbers are in the last member, texts in the one before.
fn entry(id: u64) -> Row {
    // Times are not in the order of the ids, and many are the same.
    let time = 1_000_000 + (id * 37 % 200 / 2) as i64 * 1000 + (id / SEGMENT) as i64 * 50_000;
    let mut row = vec![
        ("id", String::new(), id as i64),
        ("time", String::new(), time),
        ("received_at", String::new(), time + 5),
        ("stored_at", String::new(), time + 6),
        ("input", "default".into(), 0),
        ("delivery", String::new(), (id / 10) as i64),
        ("delivery_count", String::new(), 1),
        ("verdict", if id.is_multiple_of(5) { "no_key".into() } else { "valid".into() }, 0),
        ("line", format!("line {id} of {}", if id.is_multiple_of(9) { "Nine" } else { "many" }), 0),
    ];
    if id.is_multiple_of(3) {
        row.push(("principal_id", format!("principal-{}", id % 4), 0));
    }
    if id.is_multiple_of(2) {
        row.push(("status", String::new(), 200 + (id % 7) as i64));
    } else if id.is_multiple_of(11) {
        row.push(("extensions", r#"{"status":"odd","cs1":"17"}"#.into(), 0));
    }
    if id.is_multiple_of(13) {
        row.push(("hidden_by", String::new(), 1));
    }
    row
}

/// The newer version of an entry, if it has one: another verdict, and in some another time or line
/// that is hidden.
fn version(id: u64, change: i64) -> Option<Row> {
    let mut row = entry(id);
    row.retain(|(name, ..)| !matches!(*name, "verdict" | "line"));
    row.push(("verdict", if change > 100 { "invalid".into() } else { "valid".into() }, 0));
    row.push(("change", String::new(), change));
    match id % 20 {
        5 => Some(row),
        10 => {
            row.retain(|(name, ..)| *name != "time");
            row.push(("time", String::new(), 5_000_000 + id as i64));
            Some(row)
        }
        15 => {
            row.push(("hidden_by", String::new(), 2));
            Some(row)
        }
        _ => None,
    }
}

fn push(encoder: &mut Encoder, row: &Row) {
    let cells: Vec<Cell<'_>> = schema::columns(Table::Entries)
        .iter()
        .map(|column| match row.iter().find(|(name, ..)| *name == column.name) {
            None => Cell::Null,
            Some((_, text, number)) => match column.kind {
                schema::Kind::Text | schema::Kind::Binary => Cell::text(text),
                _ => Cell::Integer(*number),
            },
        })
        .collect();
    encoder.push(&cells).unwrap();
}

fn at(name: &str) -> usize {
    schema::place(Table::Entries, name).unwrap()
}

fn owned(row: &Row) -> super::row::Row {
    let mut cells = vec![None; schema::columns(Table::Entries).len()];
    for (name, text, number) in row {
        let kind = schema::columns(Table::Entries)[at(name)].kind;
        cells[at(name)] = Some(match kind {
            schema::Kind::Text | schema::Kind::Binary => OwnedCell::Bytes(text.clone().into()),
            _ => OwnedCell::Integer(*number),
        });
    }
    cells
}

impl Made {
    /// Two segments.
    fn new() -> Made {
        Made::with(2 * SEGMENT, &[1000, 50])
    }

    /// The first entries, and their versions with numbers of changes from these on.
    fn with(last: u64, changes: &[i64]) -> Made {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let url: BucketUrl = format!("file://{}", folder.path().display()).parse().unwrap();
        let place = Place::open(&url, runtime.handle().clone()).unwrap();
        let mut made = Made { _folder: folder, runtime, url, place, now: BTreeMap::new() };
        let mut manifest = Manifest::new(STORE);
        for first in (1..=last).step_by(FILE as usize) {
            let mut rows: Vec<Row> = (first..first + FILE).map(entry).collect();
            for row in &rows {
                made.now.insert(row[0].2 as u64, owned(row));
            }
            rows.sort_by_key(|row| (row[1].2, row[0].2));
            made.write(&mut manifest, Table::Entries, first, &rows);
        }
        for change in changes.iter().copied() {
            let rows: Vec<Row> = (1..=last)
                .filter(|id| change > 100 || id % 2 == 1)
                .filter_map(|id| version(id, change + id as i64))
                .collect();
            let number = manifest.next;
            made.write(&mut manifest, Table::Verdicts, number, &rows);
        }
        for (id, old) in made.now.iter_mut().filter(|_| !changes.is_empty()) {
            if let Some(new) = version(*id, 1000 + *id as i64) {
                let line = old[at("line")].take();
                *old = owned(&new);
                old[at("line")] = line;
            }
        }
        made
    }

    fn write(&self, manifest: &mut Manifest, table: Table, number: u64, rows: &[Row]) {
        let mut encoder = Encoder::new(table, STORE, 0).unwrap();
        rows.iter().for_each(|row| push(&mut encoder, row));
        self.add(manifest, table, number, &encoder.finish().unwrap());
    }

    /// Adds a file to the archive.
    fn add(&self, manifest: &mut Manifest, table: Table, number: u64, encoded: &Encoded) {
        let day = Day::of(0);
        let name = |generation| match table {
            Table::Verdicts => layout::of_delta(STORE, table, number, generation, 0),
            _ => layout::of_segment(STORE, table, day, number, generation, 0),
        };
        let written = self.place.write(table, None, encoded, 0, name).unwrap();
        let mut delta = manifest.begin(0);
        delta.files = vec![written.file];
        self.place.add(manifest, &delta).unwrap();
    }

    fn open(&self) -> Archive {
        Archive::open(&self.url, None, self.runtime.handle().clone()).unwrap()
    }

    /// The records that should be found, in their order.
    fn expected(&self, query: &str, order: Order) -> Vec<Record> {
        let search = Search::new(parse(query, 0).unwrap()).unwrap();
        let matching = self.now.values().filter(|cells| {
            let line = cells.cell("line").bytes();
            cells[at("hidden_by")].is_none() && search.matches(*cells, line) == Some(true)
        });
        let mut records: Vec<_> = matching.map(record).collect();
        match order {
            Order::Stored => records.sort_by_key(Record::id),
            Order::Newest => records.sort_by_key(|one| std::cmp::Reverse((one.time, one.id()))),
        }
        records
    }
}

const QUERIES: [&str; 20] = [
    "*",
    "verdict:invalid",
    "NOT verdict:valid",
    "verdict:no_key",
    "nine",
    "nine NOT line",
    "nine OR status:203",
    "nine verdict:invalid",
    "principal_id:principal-3",
    "principal_id:nobody",
    "NOT principal_id:principal-3 id:<20",
    "status:*",
    "status:>=205",
    "cs1:17",
    "cs1:>16 id:>50",
    "id:17",
    "delivery:3",
    "time:>=1970-01-01T00:20:00Z",
    "time:[1970-01-01T00:16:41Z TO 1970-01-01T00:16:50Z}",
    "received_at:<1970-01-01T00:16:45Z OR id:100",
];

#[test]
fn what_matches_is_found_in_its_order() {
    let made = Made::new();
    let archive = made.open();
    for query in QUERIES {
        for order in [Order::Newest, Order::Stored] {
            // One is smaller than a window.
            for most in
                [40, 1000].into_iter().filter(|most| (*most < 50) == (order == Order::Newest))
            {
                let mut scan = archive.scan(&parse(query, 0).unwrap(), order, most).unwrap();
                let mut found = Vec::new();
                loop {
                    let slice = scan.next_slice(most).unwrap();
                    assert!(slice.len() <= most);
                    if slice.is_empty() {
                        break;
                    }
                    found.extend(slice);
                }
                assert_eq!(found, made.expected(query, order), "{query} {order:?} {most}");
            }
        }
    }
    assert!(made.expected("verdict:invalid", Order::Newest).len() > 5);
    let late = made.expected("time:>=1970-01-01T00:20:00Z", Order::Newest);
    assert!(late.iter().all(|one| one.verdict == VerdictName::Invalid) && late.len() > 3);
}

#[test]
fn row_groups_that_cannot_match_are_not_read() {
    let made = Made::new();
    let archive = made.open();
    let excluded = |query: &str| {
        let search = Search::new(parse(query, 0).unwrap()).unwrap();
        let mut excluded = (0, 0);
        for file in archive.all(Table::Entries) {
            let opened = archive.read(file).unwrap();
            for group in 0..opened.footer.groups() {
                excluded.0 += usize::from(opened.excludes(group, &search).unwrap());
                excluded.1 += 1;
            }
        }
        excluded
    };
    let (_, all) = excluded("*");
    assert!(all > 4, "{all}");
    assert_eq!(excluded("*").0, 0);
    assert_eq!(excluded("verdict:invalid").0, all);
    // Within the bounds, but not in the Bloom filter.
    assert_eq!(excluded("principal_id:principal-21").0, all);
    assert!(excluded("principal_id:principal-0").0 < all);
    let some = excluded("time:>=1970-01-01T00:18:00Z").0;
    assert!(some > 0 && some < all, "{some} of {all}");
}

#[test]
fn values_that_a_dictionary_repeats_are_counted_over_all_columns() {
    let made = Made::with(0, &[]);
    let columns = ["principal_id", "name", "org_id", "request", "user_agent"];
    let find = |rows: usize| {
        let (body, id) = (repeated(rows, &columns), Some((1, rows as i64)));
        let (sha256, time) = (manifest::hash(&body), None);
        let file = Encoded { body, sha256, rows: rows as u64, id, time, stored_at: None };
        made.add(&mut made.place.manifest(STORE).unwrap(), Table::Entries, 1, &file);
        let query = columns.map(|name| format!("{name}:x*")).join(" ");
        let archive = made.open();
        let found = archive.scan(&parse(&query, 0).unwrap(), Order::Stored, 1000)?.next_slice(1000);
        found.map(|found| found.len())
    };
    assert!(find(10).unwrap() > 0);
    let error = find(100).unwrap_err().to_string();
    assert!(error.contains("larger than Vidimus writes"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    let made = Made::with(FILE, &[]);
    let archive = made.open();
    let key = archive.all(Table::Entries)[0].key.clone();
    let path = made._folder.path().join(key);
    let whole = std::fs::read(&path).unwrap();
    let read = || -> Result<usize, ArchiveError> {
        let archive = made.open();
        let mut scan = archive.scan(&parse("*", 0).unwrap(), Order::Stored, 1000)?;
        let mut count = 0;
        loop {
            match scan.next_slice(1000)?.len() {
                0 => return Ok(count),
                more => count += more,
            }
        }
    };
    let all = read().unwrap();
    for step in 0..60 {
        let mut damaged = whole.clone();
        let at = (step * 7919) % damaged.len();
        damaged[at] ^= 0x55;
        std::fs::write(&path, &damaged).unwrap();
        // A byte that nothing depends on may change.
        if let Ok(count) = read() {
            assert!(count <= all);
        }
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(read().is_err());
    std::fs::remove_file(&path).unwrap();
    assert!(read().is_err());
}

#[test]
fn a_panic_of_the_reader_is_a_damaged_file() {
    let read = || -> Result<(), ParquetError> { panic!("as the crate may") };
    assert!(matches!(guarded("x", read), Err(ArchiveError::Damaged { .. })));
}
