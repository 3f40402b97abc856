//! Writes entries to rows, and reads rows as records.
//!
//! Segments have these tables, and the overlay for changed entries.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};

use crate::entry::fields::{FieldType, KNOWN, Value, type_of};
use crate::entry::record::{Origin, Record, WholeLine};
use crate::entry::words::UnknownWord;
use crate::entry::{Fields, Format, Kind, Millis, VerdictName, Warning};
use crate::ingest::Entry;
use crate::store::schema::Columns;
use crate::store::segment::blocks::with_raw;
use crate::store::segment::condition::{Sql, line};
use crate::store::segment::long_lines;
use crate::store::sqlite::Database;

/// What the store adds to an entry.
#[derive(Clone, Debug)]
pub(in crate::store) struct EntryMetadata<'a> {
    pub(in crate::store) id: u64,
    pub(in crate::store) received_at: Millis,
    pub(in crate::store) delivery: u64,
    pub(in crate::store) input: &'a str,
    pub(in crate::store) delivery_count: u64,
}

/// The columns before those of the known fields.
pub(super) const FIRST: [&str; 18] = [
    "id",
    "received_at",
    "time",
    "event_time",
    "fingerprint",
    "delivery",
    "input",
    "format",
    "kind",
    "verdict",
    "reason",
    "key",
    "covers",
    "warnings",
    "delivery_count",
    "signed",
    "line_bytes",
    "line_sha256",
];
const KEY: usize = 11;
const LINE_BYTES: usize = 16;
const LINE_SHA256: usize = 17;

/// The columns of `entries`, in the order in which [`insert`] and [`record`] use them.
pub(super) fn expressions(columns: Columns) -> String {
    let names = FIRST.into_iter().chain(KNOWN.iter().map(|(name, _)| *name));
    names.map(|name| columns.expression(name)).collect::<Vec<_>>().join(", ")
}

/// The number of values that [`record`] reads: the columns, the `kid` and the line.
const RECORD_VALUES: usize = FIRST.len() + KNOWN.len() + 2;

/// The values that [`record`] reads, for a table `entries` with these columns.
fn record_values(columns: Columns) -> Sql {
    let mut sql = Sql::default();
    sql.push(&expressions(columns));
    sql.push(", (SELECT kid FROM keys WHERE keys.id = entries.key), ").push(line(columns));
    sql
}

/// Ids of entries.
#[derive(Clone, Debug)]
pub(in crate::store) enum Ids<'a> {
    /// A range, in order.
    Range(RangeInclusive<u64>),
    /// A list, in its order.
    List(&'a [u64]),
}

impl<'a> Ids<'a> {
    /// These ids, as a range if they follow one another.
    pub(in crate::store) fn of(ids: &'a [u64]) -> Ids<'a> {
        match ids {
            [first, .., last]
                if ids.is_sorted_by(|one, next| one.checked_add(1) == Some(*next)) =>
            {
                Ids::Range(*first..=*last)
            }
            _ => Ids::List(ids),
        }
    }

    /// Adds the condition that `column` is one of the ids.
    pub(in crate::store) fn among(&self, column: &str, sql: &mut Sql) {
        match self {
            Ids::Range(ids) => {
                sql.push(column).push(" BETWEEN ").bind(as_integer(*ids.start()));
                sql.push(" AND ").bind(as_integer(*ids.end()));
            }
            Ids::List(ids) => {
                sql.push(column).push(" IN (SELECT value FROM json_each(").bind(json(ids));
                sql.push("))");
            }
        }
    }
}

/// Ids as SQLite's `json_each` takes them.
fn json(ids: &[u64]) -> String {
    let ids: Vec<_> = ids.iter().map(u64::to_string).collect();
    format!("[{}]", ids.join(","))
}

/// An id as SQLite holds it.
pub(in crate::store) fn as_integer(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

/// A source of entries: a segment, or the overlay with its changed entries.
pub(in crate::store) trait Entries {
    /// The columns of its table `entries`.
    fn columns(&self) -> Columns;

    /// Calls `row` with the values of each of these entries that meets the condition.
    fn each(
        &self,
        values: &Sql,
        condition: &Sql,
        ids: &Ids<'_>,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// The lengths of the lines of these entries, in bytes, by their ids.
    fn lengths(&self, ids: &Ids<'_>) -> rusqlite::Result<HashMap<u64, u64>>;

    /// The records of these entries that meet a condition, each with what `more` reads of `values`.
    /// These begin at the column whose number `more` is given. All are held at once.
    fn records_with<T>(
        &self,
        values: &str,
        condition: &Sql,
        ids: &Ids<'_>,
        more: impl FnMut(&Record, &Row<'_>, usize) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<(Record, T)>>;

    /// The records of these entries that meet a condition. They are held all at once.
    fn records(&self, condition: &Sql, ids: &Ids<'_>) -> rusqlite::Result<Vec<Record>> {
        let records = self.records_with("", condition, ids, |_, _, _| Ok(()))?;
        Ok(records.into_iter().map(|(record, ())| record).collect())
    }

    /// Calls `row` with the entry, the name, the type and the value of each extension of these
    /// entries.
    fn each_extension(
        &self,
        ids: &Ids<'_>,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()>;

    /// The keys that verified entries.
    fn keys(&self) -> rusqlite::Result<Vec<VerifyingKey>>;
}

/// A key that verified entries.
pub(in crate::store) struct VerifyingKey {
    /// Its number in the file.
    pub(in crate::store) id: i64,
    pub(in crate::store) thumbprint: String,
    pub(in crate::store) kid: String,
    pub(in crate::store) public: Vec<u8>,
}

impl Entries for Database {
    fn columns(&self) -> Columns {
        self.columns()
    }

    fn each(
        &self,
        values: &Sql,
        condition: &Sql,
        ids: &Ids<'_>,
        mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut sql = Sql::default();
        sql.push("SELECT ").add(values);
        match ids {
            Ids::Range(_) => {
                ids.among("entries.id", sql.push(" FROM entries WHERE "));
                sql.push(" AND (").add(condition).push(") ORDER BY entries.id");
            }
            Ids::List([]) => return Ok(()),
            // SQLite does not reorder a cross join, so each id is looked up, whatever the condition.
            Ids::List(ids) => {
                sql.push(" FROM (SELECT value AS wanted FROM json_each(").bind(json(ids));
                sql.push(")) CROSS JOIN entries WHERE entries.id = wanted");
                sql.push(" AND (").add(condition).push(")");
            }
        }
        let mut statement = self.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(found) = rows.next()? {
            row(found)?;
        }
        Ok(())
    }

    fn lengths(&self, ids: &Ids<'_>) -> rusqlite::Result<HashMap<u64, u64>> {
        let mut sql = Sql::default();
        ids.among("id", sql.push("SELECT id, octet_length(line) FROM raw WHERE "));
        let mut statement = self.prepare_cached(&with_raw(self.columns(), &sql.text))?;
        statement
            .query_map(params_from_iter(&sql.parameters), |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    fn records_with<T>(
        &self,
        values: &str,
        condition: &Sql,
        ids: &Ids<'_>,
        mut more: impl FnMut(&Record, &Row<'_>, usize) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<(Record, T)>> {
        let mut all = record_values(self.columns());
        if !values.is_empty() {
            all.push(", ").push(values);
        }
        let mut records = Vec::new();
        self.each(&all, condition, ids, |row| {
            let record = record(self, row)?;
            let more = more(&record, row, RECORD_VALUES)?;
            records.push((record, more));
            Ok(())
        })?;
        add_extensions(self, records.iter_mut().map(|(record, _)| record))?;
        Ok(records)
    }

    fn each_extension(
        &self,
        ids: &Ids<'_>,
        mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut sql = Sql::from("SELECT entry, name, type, value FROM extensions WHERE ");
        ids.among("entry", &mut sql);
        let mut statement = self.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(found) = rows.next()? {
            row(found)?;
        }
        Ok(())
    }

    fn keys(&self) -> rusqlite::Result<Vec<VerifyingKey>> {
        let sql = "SELECT id, thumbprint, kid, public FROM keys ORDER BY id";
        self.prepare_cached(sql)?
            .query_map([], |row| {
                Ok(VerifyingKey {
                    id: row.get(0)?,
                    thumbprint: row.get(1)?,
                    kid: row.get(2)?,
                    public: row.get(3)?,
                })
            })?
            .collect()
    }
}

/// Inserts an entry. Returns `false` if its line or its signed identity exists already.
pub(in crate::store) fn insert(
    connection: &Connection,
    entry: &Entry,
    stored: &EntryMetadata<'_>,
) -> rusqlite::Result<bool> {
    static SQL: LazyLock<String> = LazyLock::new(|| insert_sql("INSERT OR IGNORE", false));
    insert_with(connection, &SQL, entry, stored, None)
}

/// Inserts an entry like [`insert`], with its leaf. Only an unsealed segment has the column.
pub(in crate::store) fn insert_with_leaf(
    connection: &Connection,
    entry: &Entry,
    stored: &EntryMetadata<'_>,
    leaf: u64,
) -> rusqlite::Result<bool> {
    static SQL: LazyLock<String> = LazyLock::new(|| insert_sql("INSERT OR IGNORE", true));
    insert_with(connection, &SQL, entry, stored, Some(leaf))
}

fn insert_with(
    connection: &Connection,
    sql: &str,
    entry: &Entry,
    stored: &EntryMetadata<'_>,
    leaf: Option<u64>,
) -> rusqlite::Result<bool> {
    let key = match entry.verdict.proof().map(|proof| proof.key()) {
        Some(key) => {
            Some(key_id(connection, &key.thumbprint().to_string(), key.kid(), key.public())?)
        }
        None => None,
    };
    let warnings = (!entry.warnings.is_empty()).then(|| Warning::join(&entry.warnings, " "));
    let whole = entry.whole();
    let first: [&dyn ToSql; FIRST.len()] = [
        &stored.id,
        &stored.received_at.get(),
        &entry.time.get(),
        &entry.event_time.map_or(0, Millis::get),
        &entry.fingerprint.0.as_slice(),
        &stored.delivery,
        &stored.input,
        &Format::word(entry.format),
        &entry.kind.map(Kind::as_str),
        &entry.verdict.name().as_str(),
        &entry.verdict.reason(),
        &key,
        &entry.verdict.proof().map(|proof| proof.coverage().as_str()),
        &warnings,
        &stored.delivery_count,
        &entry.signed.as_ref().map(|signed| signed.0.as_slice()),
        &whole.and_then(|whole| whole.bytes),
        &entry.too_long.as_ref().map(|too_long| too_long.sha256.as_slice()),
    ];
    if !put(connection, sql, &first, &entry.fields, leaf)? {
        return Ok(false);
    }
    connection
        .prepare_cached("INSERT INTO raw (id, line) VALUES (?1, ?2)")?
        .execute((stored.id, entry.kept()))?;
    if whole.is_some() {
        long_lines::insert(connection, stored.id, &entry.raw)?;
    }
    for (name, value) in entry.fields.extensions() {
        put_extension(connection, stored.id, name, value)?;
    }
    Ok(true)
}

/// Inserts the values of [`FIRST`], the known fields and the leaf, by this statement. Returns whether there
/// is a row now.
fn put(
    connection: &Connection,
    sql: &str,
    first: &[&dyn ToSql; FIRST.len()],
    fields: &Fields,
    leaf: Option<u64>,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut at = 0;
    for value in first {
        at += 1;
        statement.raw_bind_parameter(at, value)?;
    }
    for (_, value) in fields.known() {
        at += 1;
        if let Some(value) = value {
            statement.raw_bind_parameter(at, Column(value))?;
        }
    }
    if let Some(leaf) = leaf {
        statement.raw_bind_parameter(at + 1, leaf)?;
    }
    Ok(statement.raw_execute()? > 0)
}

/// Inserts the values of [`FIRST`] and the known fields of an entry that must not be there yet.
pub(super) fn put_known(
    connection: &Connection,
    first: &[&dyn ToSql; FIRST.len()],
    fields: &Fields,
) -> rusqlite::Result<()> {
    static SQL: LazyLock<String> = LazyLock::new(|| insert_sql("INSERT", false));
    put(connection, &SQL, first, fields, None).map(drop)
}

/// Inserts a field that has no column.
pub(super) fn put_extension(
    connection: &Connection,
    entry: u64,
    name: &str,
    value: &Value,
) -> rusqlite::Result<()> {
    let kind = match value {
        Value::Text(_) => "text",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Json(_) => "json",
    };
    connection
        .prepare_cached(
            "INSERT INTO extensions (entry, name, type, value) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((entry, name, kind, value.as_text()))
        .map(drop)
}

fn insert_sql(insert: &str, with_leaf: bool) -> String {
    let marks = vec!["?"; FIRST.len() + KNOWN.len()].join(", ");
    let (leaf, mark) = if with_leaf { (", leaf", ", ?") } else { ("", "") };
    let columns = expressions(Columns::NEWEST);
    format!("{insert} INTO entries ({columns}{leaf}) VALUES ({marks}{mark})")
}

/// Copies the entry `id`, without its line. `to` has the newest columns. Returns `false` if there
/// is no such entry.
pub(in crate::store) fn copy(from: &Database, to: &Connection, id: u64) -> rusqlite::Result<bool> {
    let mut read = from.prepare_cached(&format!(
        "SELECT {}, (SELECT thumbprint FROM keys WHERE keys.id = key),
                (SELECT kid FROM keys WHERE keys.id = key),
                (SELECT public FROM keys WHERE keys.id = key)
         FROM entries WHERE id = ?1",
        expressions(from.columns())
    ))?;
    let mut rows = read.query([id])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    let width = FIRST.len() + KNOWN.len();
    let key = match row.get::<_, Option<String>>(width)? {
        Some(thumbprint) => {
            let (kid, public): (String, Vec<u8>) = (row.get(width + 1)?, row.get(width + 2)?);
            Some(key_id(to, &thumbprint, &kid, &public)?)
        }
        None => None,
    };
    let mut write = to.prepare_cached(&insert_sql("INSERT", false))?;
    for at in 0..width {
        match at {
            KEY => write.raw_bind_parameter(at + 1, key)?,
            _ => write.raw_bind_parameter(at + 1, ToSqlOutput::Borrowed(row.get_ref(at)?))?,
        }
    }
    write.raw_execute()?;
    let mut extensions =
        from.prepare_cached("SELECT name, type, value FROM extensions WHERE entry = ?1")?;
    let mut rows = extensions.query([id])?;
    while let Some(row) = rows.next()? {
        let (name, kind, value): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        to.prepare_cached("INSERT INTO extensions VALUES (?1, ?2, ?3, ?4)")?
            .execute((id, name, kind, value))?;
    }
    Ok(true)
}

/// The number of a key in this file. The key is added if it is new.
pub(super) fn key_id(
    connection: &Connection,
    thumbprint: &str,
    kid: &str,
    public: &[u8],
) -> rusqlite::Result<i64> {
    let mut find = connection.prepare_cached("SELECT id FROM keys WHERE thumbprint = ?1")?;
    match find.query_row([thumbprint], |row| row.get(0)) {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            connection
                .prepare_cached("INSERT INTO keys (thumbprint, kid, public) VALUES (?1, ?2, ?3)")?
                .execute((thumbprint, kid, public))?;
            Ok(connection.last_insert_rowid())
        }
        found => found,
    }
}

/// Reads the [`record_values`] of an entry. The extensions are added later.
fn record(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Record> {
    let id: u64 = row.get(0)?;
    let mut fields = Fields::default();
    for (at, (name, wanted)) in (FIRST.len()..).zip(KNOWN) {
        if let Some(value) = value(wanted, row.get_ref(at)?) {
            fields.restore(name, value);
        }
    }
    let line = match row.get_ref(FIRST.len() + KNOWN.len() + 1)? {
        // Text, if somebody edited it by hand.
        ValueRef::Blob(line) | ValueRef::Text(line) => Some(line),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    };
    let recorded = WholeLine { bytes: row.get(LINE_BYTES)?, sha256: row.get(LINE_SHA256)? };
    let (raw, whole) = long_lines::line(connection, id, line, recorded)?;
    Ok(Record {
        origin: Origin::Stored {
            id,
            received_at: Millis::saturating(row.get(1)?),
            input: row.get(6)?,
            delivery_count: row.get(14)?,
        },
        time: Some(Millis::saturating(row.get(2)?)),
        format: word(row.get_ref(7)?)?,
        kind: word(row.get_ref(8)?)?,
        verdict: verdict(row.get_ref(9)?)?,
        reason: row.get(10)?,
        warnings: warnings(row.get_ref(13)?)?,
        fields,
        kid: row.get(FIRST.len() + KNOWN.len())?,
        raw,
        whole,
    })
}

/// Adds the extensions to records.
fn add_extensions<'a>(
    connection: &Connection,
    records: impl Iterator<Item = &'a mut Record>,
) -> rusqlite::Result<()> {
    let mut by_id: HashMap<u64, &mut Record> =
        records.filter_map(|record| Some((record.id()?, record))).collect();
    let mut ids: Vec<u64> = by_id.keys().copied().collect();
    ids.sort_unstable();
    let mut sql = Sql::default();
    sql.push("SELECT entry, name, type, value FROM extensions WHERE ");
    Ids::of(&ids).among("entry", &mut sql);
    let mut statement = connection.prepare_cached(&sql.text)?;
    let mut rows = statement.query(params_from_iter(&sql.parameters))?;
    while let Some(row) = rows.next()? {
        let Some(record) = by_id.get_mut(&row.get(0)?) else { continue };
        let (name, text): (&str, String) = (row.get_ref(1)?.as_str()?, row.get(3)?);
        let value = match (type_of(name), row.get_ref(2)?.as_str()?) {
            // It became a known field after this segment was written.
            (Some(known), _) => retyped(known, text),
            (None, "boolean") => Value::Boolean(text == "true"),
            (None, "json") => Value::Json(text),
            (None, _) => Value::Text(text),
        };
        record.fields.restore(name, value);
    }
    Ok(())
}

/// Reads a word of an enum from its column. A word that no version wrote counts as none: somebody
/// edited the file. It must not stop deliveries or hide other entries. `store check` reports it.
pub(in crate::store) fn word<T: FromStr<Err = UnknownWord>>(
    value: ValueRef<'_>,
) -> rusqlite::Result<Option<T>> {
    Ok(value.as_str_or_null()?.and_then(|word| word.parse().ok()))
}

/// Reads a verdict from its column. A word that no version wrote counts as malformed, and never as
/// valid.
pub(in crate::store) fn verdict(value: ValueRef<'_>) -> rusqlite::Result<VerdictName> {
    Ok(word(value)?.unwrap_or(VerdictName::Malformed))
}

/// Reads warnings from their column, without the words that no version wrote.
pub(in crate::store) fn warnings(value: ValueRef<'_>) -> rusqlite::Result<Vec<Warning>> {
    let words = value.as_str_or_null()?.unwrap_or_default().split_whitespace();
    Ok(words.filter_map(|word| word.parse().ok()).collect())
}

/// Reads the value of a known field of the type `wanted` from its column.
fn value(wanted: FieldType, column: ValueRef<'_>) -> Option<Value> {
    match column {
        ValueRef::Integer(0) if wanted == FieldType::Boolean => Some(Value::Boolean(false)),
        ValueRef::Integer(1) if wanted == FieldType::Boolean => Some(Value::Boolean(true)),
        ValueRef::Integer(number) => Some(Value::Integer(number)),
        ValueRef::Text(text) => Some(Value::Text(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    }
}

/// Parses the value of a known field from the text of an extension.
fn retyped(wanted: FieldType, text: String) -> Value {
    match wanted {
        FieldType::Integer => text.parse().map_or(Value::Text(text), Value::Integer),
        FieldType::Boolean => text.parse().map_or(Value::Text(text), Value::Boolean),
        FieldType::Text | FieldType::Digits => Value::Text(text),
    }
}

/// At most `most` names of the extensions in a file, of the entries after the id `after`.
pub(in crate::store) fn extension_names(
    file: &Connection,
    after: u64,
    most: usize,
) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT DISTINCT name FROM extensions WHERE entry > ?1 LIMIT ?2";
    file.prepare_cached(sql)?.query_map((after, most), |row| row.get(0))?.collect()
}

/// Whether an entry in a file has the extension `name`.
pub(in crate::store) fn has_extension(file: &Connection, name: &str) -> rusqlite::Result<bool> {
    file.prepare_cached("SELECT 1 FROM extensions WHERE name = ?1 LIMIT 1")?.exists([name])
}

/// A value as it stands in the column of a known field.
struct Column<'a>(&'a Value);

impl ToSql for Column<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Text(text) | Value::Json(text) => ToSqlOutput::from(text.as_str()),
            Value::Integer(number) => ToSqlOutput::from(*number),
            Value::Boolean(boolean) => ToSqlOutput::from(*boolean),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::segment::{SCHEMA, condition};
    use crate::store::sqlite;

    const LATER: &[&str] = &["user_agent", "granted", "status"];

    #[test]
    fn a_field_that_became_a_column_later_is_found_among_the_extensions() {
        let temporary = tempfile::tempdir().unwrap();
        let segment = sqlite::open(&temporary.path().join("x.db"), &SCHEMA).unwrap();
        condition::register(&segment).unwrap();
        let line = r#"{"name":"Ingress","status":403,"granted":true,"user_agent":"curl/8"}"#;
        let now = Millis::saturating(5);
        let entry = CheckedLine::new(line.as_bytes(), &KeySet::default(), 1000).read(
            line.into(),
            &ExpectedIds::default(),
            now,
        );
        let stored = EntryMetadata {
            id: 1,
            received_at: now,
            delivery: 1,
            input: "default",
            delivery_count: 1,
        };
        insert(&segment, &entry, &stored).unwrap();
        // As a version that did not know them would have written it.
        segment
            .execute_batch(
                "INSERT INTO extensions SELECT id, 'user_agent', 'text', user_agent FROM entries;
                 INSERT INTO extensions VALUES (1, 'granted', 'boolean', 'true'),
                                               (1, 'status', 'json', '403');
                 ALTER TABLE entries DROP COLUMN user_agent;
                 ALTER TABLE entries DROP COLUMN granted;
                 ALTER TABLE entries DROP COLUMN status;",
            )
            .unwrap();
        let columns = Columns::without(LATER);
        for (query, expected) in [
            ("user_agent:curl*", true),
            ("user_agent:wget*", false),
            ("granted:true", true),
            ("NOT granted:false", true),
            ("granted:false OR NOT status:*", false),
            ("status:>=400 AND name:Ingress", true),
            ("status:200", false),
        ] {
            let filter = crate::search::parse(query, 0).unwrap();
            let condition = Sql::condition(&filter, columns);
            let sql = format!("SELECT count(*) FROM entries WHERE {}", condition.text);
            let found: usize = segment
                .query_row(&sql, params_from_iter(condition.parameters), |row| row.get(0))
                .unwrap();
            assert_eq!(found == 1, expected, "{query}");
        }
        let sql = format!("SELECT {} FROM entries", record_values(columns).text);
        let mut records = [segment.query_row(&sql, [], |row| record(&segment, row)).unwrap()];
        add_extensions(&segment, records.iter_mut()).unwrap();
        assert_eq!(records[0].fields, entry.fields);
    }
}
