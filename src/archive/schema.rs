//! The columns of the tables of an archive. The format is defined in docs/archive.md, and a test
//! compares the two.
//!
//! Every column may be NULL. Columns are only ever added, at the end of a table, so that a file of any
//! version can be read beside the others. A reader takes a column that a file lacks for NULL.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

use super::layout::Table;
use crate::entry::fields::{FieldType, KNOWN};

/// The version of the schema. A new version only adds columns and tables.
pub(crate) const VERSION: u32 = 2;

/// The keys of a file's key-value metadata.
pub(crate) mod metadata {
    /// The version of the schema, [`super::VERSION`].
    pub(crate) const SCHEMA: &str = "vidimus.schema";
    /// The name of the table.
    pub(crate) const TABLE: &str = "vidimus.table";
    /// The id of the store.
    pub(crate) const STORE: &str = "vidimus.store";
    /// The number of rows.
    pub(crate) const ROWS: &str = "vidimus.rows";
    /// The smallest id in the file (the column [`id`](super::id_column)).
    pub(crate) const MIN_ID: &str = "vidimus.min_id";
    /// The largest id in the file.
    pub(crate) const MAX_ID: &str = "vidimus.max_id";
    /// The SHA-256 of the values of the column with the bytes ([`super::bytes_column`]), in the order
    /// of the rows, each followed by a line feed, in hexadecimal. Only in tables with such a column.
    pub(crate) const SHA256: &str = "vidimus.sha256";
    /// The number of the last change of a verdict that was there before the file was written. Only in
    /// `entries`.
    pub(crate) const CHANGE: &str = "vidimus.change";
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// INT64 as TIMESTAMP(MILLIS, UTC).
    Time,
    /// INT64.
    Integer,
    /// BOOLEAN.
    Boolean,
    /// BYTE_ARRAY as STRING (UTF-8).
    Text,
    /// BYTE_ARRAY.
    Binary,
}

impl Kind {
    /// Its name in the documentation.
    #[cfg(test)]
    fn name(self) -> &'static str {
        match self {
            Kind::Time => "TIMESTAMP",
            Kind::Integer => "INT64",
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Binary => "BINARY",
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// The columns of entries before those of the known fields.
const BEFORE_FIELDS: [Column; 16] = [
    column("id", Kind::Integer),
    column("time", Kind::Time),
    column("received_at", Kind::Time),
    column("stored_at", Kind::Time),
    column("event_time", Kind::Time),
    column("input", Kind::Text),
    column("format", Kind::Text),
    column("kind", Kind::Text),
    column("verdict", Kind::Text),
    column("reason", Kind::Text),
    column("key", Kind::Text),
    column("kid", Kind::Text),
    column("covers", Kind::Text),
    column("warnings", Kind::Text),
    column("delivery", Kind::Integer),
    column("delivery_count", Kind::Integer),
];

/// The columns of entries after those of the known fields.
const AFTER_FIELDS: [Column; 9] = [
    column("extensions", Kind::Text),
    column("hidden_by", Kind::Integer),
    column("line", Kind::Binary),
    column("line_bytes", Kind::Integer),
    column("line_sha256", Kind::Text),
    column("change", Kind::Integer),
    column("changed_at", Kind::Time),
    column("leaf", Kind::Integer),
    column("salt", Kind::Binary),
];

static ENTRIES: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let fields = KNOWN.iter().map(|(name, kind)| {
        let kind = match kind {
            FieldType::Text | FieldType::Digits => Kind::Text,
            FieldType::Integer => Kind::Integer,
            FieldType::Boolean => Kind::Boolean,
        };
        column(name, kind)
    });
    BEFORE_FIELDS.into_iter().chain(fields).chain(AFTER_FIELDS).collect()
});

const PIECES: [Column; 4] = [
    column("entry", Kind::Integer),
    column("number", Kind::Integer),
    column("bytes", Kind::Binary),
    column("stored_at", Kind::Time),
];

const SPELLINGS: [Column; 5] = [
    column("entry", Kind::Integer),
    column("delivery", Kind::Integer),
    column("fingerprint", Kind::Binary),
    column("line", Kind::Binary),
    column("stored_at", Kind::Time),
];

const DELIVERIES: [Column; 20] = [
    column("id", Kind::Integer),
    column("received_at", Kind::Time),
    column("stored_at", Kind::Time),
    column("input", Kind::Text),
    column("peer", Kind::Text),
    column("bytes", Kind::Integer),
    column("decoded_bytes", Kind::Integer),
    column("received", Kind::Integer),
    column("stored", Kind::Integer),
    column("duplicates", Kind::Integer),
    column("malformed", Kind::Integer),
    column("valid", Kind::Integer),
    column("invalid", Kind::Integer),
    column("unsigned", Kind::Integer),
    column("no_key", Kind::Integer),
    column("status", Kind::Integer),
    column("duration_us", Kind::Integer),
    column("epoch", Kind::Integer),
    column("number", Kind::Integer),
    column("position", Kind::Integer),
];

const KEYS: [Column; 6] = [
    column("source", Kind::Text),
    column("thumbprint", Kind::Text),
    column("kid", Kind::Text),
    column("public", Kind::Binary),
    column("first_seen", Kind::Time),
    column("last_seen", Kind::Time),
];

const QUARANTINE: [Column; 11] = [
    column("id", Kind::Integer),
    column("received_at", Kind::Time),
    column("input", Kind::Text),
    column("peer", Kind::Text),
    column("status", Kind::Integer),
    column("reason", Kind::Text),
    column("content_encoding", Kind::Text),
    column("body", Kind::Binary),
    column("epoch", Kind::Integer),
    column("number", Kind::Integer),
    column("position", Kind::Integer),
];

/// The columns of a table, in their order.
pub(crate) fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Entries | Table::Verdicts => &ENTRIES,
        Table::Pieces => &PIECES,
        Table::Spellings => &SPELLINGS,
        Table::Deliveries => &DELIVERIES,
        Table::Keys => &KEYS,
        Table::Quarantine => &QUARANTINE,
    }
}

/// The places of the columns of entries: there are many, and they are looked up for each row.
static ENTRIES_PLACES: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| (0..).zip(ENTRIES.iter()).map(|(at, column)| (column.name, at)).collect());

/// The place of a column in a table.
pub(crate) fn place(table: Table, name: &str) -> Option<usize> {
    match table {
        Table::Entries | Table::Verdicts => ENTRIES_PLACES.get(name).copied(),
        _ => columns(table).iter().position(|column| column.name == name),
    }
}

/// The places of several columns in a table.
pub(crate) fn places(table: Table, names: &[&str]) -> Vec<usize> {
    names.iter().filter_map(|name| place(table, name)).collect()
}

/// The column with the ids that a file is described by, if the table has one.
pub(crate) fn id_column(table: Table) -> Option<&'static str> {
    match table {
        Table::Entries | Table::Verdicts | Table::Deliveries | Table::Quarantine => Some("id"),
        Table::Pieces | Table::Spellings => Some("entry"),
        Table::Keys => None,
    }
}

/// The column with bytes as they were received, if the table has one. It has no dictionary and no
/// statistics.
pub(crate) fn bytes_column(table: Table) -> Option<&'static str> {
    match table {
        Table::Entries | Table::Spellings => Some("line"),
        Table::Pieces => Some("bytes"),
        Table::Quarantine => Some("body"),
        Table::Verdicts | Table::Deliveries | Table::Keys => None,
    }
}

/// The columns of [`Table::Entries`] that have a Bloom filter.
pub(crate) const BLOOM: [&str; 3] = ["principal_id", "trace_id", "src"];

/// The columns whose values are seldom twice in a file: a dictionary of them is of no use.
pub(crate) const UNIQUE: [&str; 12] = [
    "id",
    "time",
    "event_time",
    "rt",
    "event_ts",
    "trace_id",
    "line",
    "bytes",
    "body",
    "change",
    "leaf",
    "salt",
];

/// The schema of a table, as Parquet has it.
pub(crate) fn parquet(table: Table) -> Result<TypePtr, parquet::errors::ParquetError> {
    let fields = columns(table).iter().map(|column| {
        let (physical, logical) = match column.kind {
            Kind::Time => {
                let logical = LogicalType::timestamp(true, TimeUnit::MILLIS);
                (Physical::INT64, Some(logical))
            }
            Kind::Integer => (Physical::INT64, None),
            Kind::Boolean => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Binary => (Physical::BYTE_ARRAY, None),
        };
        Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Type::group_type_builder("vidimus").with_fields(fields).build().map(Arc::new)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_documentation_has_every_column_with_its_type() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/archive.md");
        let text = std::fs::read_to_string(path).unwrap();
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Verdicts) {
            let heading = format!("### `{}`", table.name());
            let section = text.split(&heading).nth(1).unwrap_or_else(|| panic!("{heading}"));
            let section = section.split("\n#").next().unwrap();
            let documented: Vec<(&str, &str)> = section
                .lines()
                .filter_map(|line| line.strip_prefix("| `"))
                .flat_map(|row| {
                    let mut cells = row.split('|').map(str::trim);
                    let (names, kind) = (cells.next().unwrap(), cells.next().unwrap());
                    names.split(',').map(move |name| (name.trim().trim_matches('`'), kind))
                })
                .collect();
            let expected: Vec<(&str, &str)> =
                columns(table).iter().map(|column| (column.name, column.kind.name())).collect();
            assert_eq!(documented, expected, "{heading}");
        }
    }

    #[test]
    fn names_are_unique_and_lists_name_columns() {
        for table in Table::ALL {
            let names: BTreeSet<_> = columns(table).iter().map(|column| column.name).collect();
            assert_eq!(names.len(), columns(table).len(), "{table:?}");
            for name in [id_column(table), bytes_column(table)].into_iter().flatten() {
                assert!(place(table, name).is_some(), "{table:?} {name}");
            }
            assert_eq!(parquet(table).unwrap().get_fields().len(), names.len());
        }
        for name in BLOOM {
            assert!(place(Table::Entries, name).is_some(), "{name}");
        }
        for name in UNIQUE {
            assert!(Table::ALL.into_iter().any(|one| place(one, name).is_some()), "{name}");
        }
    }
}
