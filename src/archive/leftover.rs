//! Compares a file that an interrupted run left with the file that would be written in its place.

use bytes::Bytes;

use super::decode::Decoder;
use super::encode::Encoded;
use super::layout::Table;
use super::manifest;
use super::rows::Rows;
use super::schema::{self, metadata};

/// What may change of an entry while its line stays the same. What changed since a file was written is
/// archived as a late verdict. An earlier version of the schema lacks the leaf, and an entry may have got
/// its leaf since.
const CHANGING: [&str; 12] = [
    "verdict",
    "reason",
    "key",
    "kid",
    "covers",
    "warnings",
    "delivery_count",
    "hidden_by",
    "change",
    "changed_at",
    "leaf",
    "salt",
];

/// The rows of a file, one after the other.
struct AllRows {
    decoder: Decoder,
    group: usize,
    rows: Option<Rows>,
    at: usize,
}

impl AllRows {
    fn of(key: &str, table: Table, body: &Bytes) -> Option<AllRows> {
        let decoder = Decoder::new(key, table, body.clone()).ok()?;
        Some(AllRows { decoder, group: 0, rows: None, at: 0 })
    }

    /// Goes to the next row. `Some(None)`: there is none. `None`: the file cannot be read.
    fn next(&mut self) -> Option<Option<(&Rows, usize)>> {
        self.at += 1;
        while self.rows.as_ref().is_none_or(|rows| self.at >= rows.len()) {
            if self.group >= self.decoder.groups() {
                return Some(None);
            }
            self.rows = Some(self.decoder.group(self.group, None).ok()?);
            (self.group, self.at) = (self.group + 1, 0);
        }
        Some(self.rows.as_ref().map(|rows| (rows, self.at)))
    }
}

/// Takes the file `body` for `encoded`, if it has the same rows: it may have older verdicts. Returns the
/// number of the last change of a verdict when it was written, too.
pub(super) fn same_rows(
    key: &str,
    table: Table,
    encoded: &Encoded,
    body: &Bytes,
) -> Option<(Encoded, u64)> {
    let (mut found, mut expected) =
        (AllRows::of(key, table, body)?, AllRows::of(key, table, &encoded.body)?);
    let is_same = |name| {
        let fact = found.decoder.fact(name);
        fact.is_some() && fact == expected.decoder.fact(name)
    };
    if ![metadata::SHA256, metadata::TABLE, metadata::STORE].into_iter().all(is_same)
        || found.decoder.rows() != encoded.rows
    {
        return None;
    }
    let change: u64 = found.decoder.fact(metadata::CHANGE)?.parse().ok()?;
    // The facts are claims. The rows are what is archived.
    loop {
        let (one, other) = (found.next()?, expected.next()?);
        let ((one, at), (other, other_at)) = match (one, other) {
            (None, None) => break,
            (one, other) => (one?, other?),
        };
        let fixed = schema::columns(table).iter().filter(|column| !CHANGING.contains(&column.name));
        for column in fixed {
            if one.get(at, column.name) != other.get(other_at, column.name) {
                return None;
            }
        }
    }
    let now: u64 = expected.decoder.fact(metadata::CHANGE)?.parse().ok()?;
    let taken = Encoded { body: body.clone(), sha256: manifest::hash(body), ..encoded.clone() };
    Some((taken, change.min(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::encode::Encoder;
    use crate::archive::rows::Cell;

    /// A file of entries. `value` gives the values of the second one.
    fn file(change: u64, value: impl Fn(&str) -> Option<Cell<'static>>) -> Encoded {
        let mut encoder =
            Encoder::new(Table::Entries, "0123456789abcdef0123456789abcdef", change).unwrap();
        for id in 1..=3u64 {
            let row: Vec<Cell<'_>> = schema::columns(Table::Entries)
                .iter()
                .map(|column| match column.name {
                    "id" => Cell::number(id),
                    "time" | "stored_at" => Cell::Integer(1000),
                    "line" => Cell::text("line"),
                    "principal_id" => Cell::text("someone"),
                    "verdict" => Cell::text("no_key"),
                    _ => Cell::Null,
                })
                .zip(schema::columns(Table::Entries))
                .map(|(cell, column)| match id {
                    2 => value(column.name).unwrap_or(cell),
                    _ => cell,
                })
                .collect();
            encoder.push(&row).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn only_a_file_with_the_same_rows_is_taken() {
        let expected = file(7, |_| None);
        let take = |other: Encoded| same_rows("x", Table::Entries, &expected, &other.body);
        let older = file(3, |name| (name == "verdict").then(|| Cell::text("unsigned")));
        let (taken, change) = take(older.clone()).unwrap();
        assert_eq!((taken.sha256, change), (older.sha256, 3));
        // A claim about later changes is not believed.
        assert_eq!(take(file(u64::MAX, |_| None)).unwrap().1, 7);
        for (name, cell) in [
            ("principal_id", Cell::text("other")),
            ("principal_id", Cell::Null),
            ("time", Cell::Integer(1001)),
            ("line", Cell::text("other")),
            ("id", Cell::number(5)),
            ("input", Cell::text("other")),
        ] {
            let other = file(3, |column| (column == name).then_some(cell));
            assert!(take(other).is_none(), "{name}");
        }
        let short = expected.body.slice(..expected.body.len() / 2);
        assert!(same_rows("x", Table::Entries, &expected, &short).is_none());
    }
}
