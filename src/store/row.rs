//! An entry to its rows and back.
//!
//! The same tables stand in a segment and, for entries whose verdict changed, in the catalog.

use std::str::FromStr;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, Type as SqlType, ValueRef};
use rusqlite::{Connection, Error, Row, ToSql};

use super::schema::Columns;
use super::sqlite::Database;
use super::whole;
use crate::entry::fields::{FieldType, KNOWN, Value, type_of};
use crate::entry::record::{Origin, Record, WholeLine};
use crate::entry::words::UnknownWord;
use crate::entry::{Fields, Format, Kind, Millis, Warning};
use crate::ingest::Entry;

/// What the store adds to an entry.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    pub(super) id: u64,
    pub(super) received_at: Millis,
    pub(super) delivery: u64,
    pub(super) input: &'a str,
    pub(super) delivery_count: u64,
}

/// The columns before those of the known fields.
const FIRST: [&str; 18] = [
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

/// What is read of `entries`, in the order in which [`insert`] and [`record`] use it.
fn expressions(columns: Columns) -> String {
    let names = FIRST.into_iter().chain(KNOWN.iter().map(|(name, _)| *name));
    names.map(|name| columns.expression(name)).collect::<Vec<_>>().join(", ")
}

/// What [`record`] reads, for a statement over `entries` in a version that has these columns.
pub(super) fn select(columns: Columns) -> String {
    format!(
        "SELECT {}, (SELECT kid FROM keys WHERE keys.id = entries.key),
                {} FROM entries",
        expressions(columns),
        whole::LINE
    )
}

/// Puts an entry where `connection` is. `false` if its line is there already, or what is signed of it.
pub(super) fn insert(
    connection: &Connection,
    entry: &Entry,
    stored: &Stored<'_>,
) -> rusqlite::Result<bool> {
    let key = match entry.verdict.proof().map(|proof| proof.key()) {
        Some(key) => {
            Some(key_id(connection, &key.thumbprint().to_string(), key.kid(), key.public())?)
        }
        None => None,
    };
    static SQL: LazyLock<String> = LazyLock::new(|| insert_sql("INSERT OR IGNORE"));
    let mut statement = connection.prepare_cached(&SQL)?;
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
    let mut at = 0;
    for value in first {
        at += 1;
        statement.raw_bind_parameter(at, value)?;
    }
    for (_, value) in entry.fields.known() {
        at += 1;
        if let Some(value) = value {
            statement.raw_bind_parameter(at, Column(value))?;
        }
    }
    if statement.raw_execute()? == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached("INSERT INTO raw (id, line) VALUES (?1, ?2)")?
        .execute((stored.id, entry.kept()))?;
    if whole.is_some() {
        whole::insert(connection, stored.id, &entry.raw)?;
    }
    for (name, value) in entry.fields.extensions() {
        let kind = match value {
            Value::Text(_) => "text",
            Value::Boolean(_) => "boolean",
            Value::Integer(_) | Value::Json(_) => "json",
        };
        connection
            .prepare_cached(
                "INSERT INTO extensions (entry, name, type, value) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((stored.id, name, kind, value.as_text()))?;
    }
    Ok(true)
}

fn insert_sql(insert: &str) -> String {
    let marks = vec!["?"; FIRST.len() + KNOWN.len()].join(", ");
    format!("{insert} INTO entries ({}) VALUES ({marks})", expressions(Columns::NEWEST))
}

/// Copies the entry `id` of `from`, as it stands there, to where `to` is, which has the newest columns.
/// Returns whether there is one.
pub(super) fn copy(from: &Database, to: &Connection, id: u64) -> rusqlite::Result<bool> {
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
    let mut write = to.prepare_cached(&insert_sql("INSERT"))?;
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

/// Puts the entries `first` to `last` of `from`, as they stand there, in the place of those that
/// `to` has, of which they are the same lines. Both are of the newest version.
pub(super) fn merge(
    from: &Database,
    to: &Connection,
    first: u64,
    last: u64,
) -> rusqlite::Result<()> {
    // What is signed of a hidden entry is that of the one that is shown in its place.
    let mut hidden = from.prepare("SELECT hidden FROM spellings WHERE hidden BETWEEN ?1 AND ?2")?;
    let mut rows = hidden.query([first, last])?;
    while let Some(row) = rows.next()? {
        to.prepare_cached("UPDATE entries SET signed = NULL WHERE id = ?1")?
            .execute([row.get::<_, u64>(0)?])?;
    }
    let mut ids = from.prepare("SELECT id FROM entries WHERE id BETWEEN ?1 AND ?2")?;
    let ids: Vec<u64> =
        ids.query_map([first, last], |row| row.get(0))?.collect::<Result<_, _>>()?;
    for id in ids {
        // Deliveries go on being counted where the entry stood first.
        let find = "SELECT delivery_count FROM entries WHERE id = ?1";
        let count: u64 = to.prepare_cached(find)?.query_row([id], |row| row.get(0))?;
        to.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id])?;
        to.prepare_cached("DELETE FROM extensions WHERE entry = ?1")?.execute([id])?;
        copy(from, to, id)?;
        to.prepare_cached("UPDATE entries SET delivery_count = ?2 WHERE id = ?1")?
            .execute([id, count])?;
    }
    Ok(())
}

/// The number that a key has where `connection` is.
fn key_id(
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

/// Reads what [`select`] gives. The extensions are read by a statement of their own.
pub(super) fn record(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Record> {
    let id: u64 = row.get(0)?;
    let mut fields = Fields::default();
    for (at, (name, wanted)) in (FIRST.len()..).zip(KNOWN) {
        if let Some(value) = value(wanted, row.get_ref(at)?) {
            fields.restore(name, value);
        }
    }
    let mut extensions =
        connection.prepare_cached("SELECT name, type, value FROM extensions WHERE entry = ?1")?;
    let mut rows = extensions.query([id])?;
    while let Some(row) = rows.next()? {
        let text: String = row.get(2)?;
        let name = row.get_ref(0)?.as_str()?;
        let value = match (type_of(name), row.get_ref(1)?.as_str()?) {
            // It became a known field after this segment was written.
            (Some(known), _) => retyped(known, text),
            (None, "boolean") => Value::Boolean(text == "true"),
            (None, "json") => Value::Json(text),
            (None, _) => Value::Text(text),
        };
        fields.restore(name, value);
    }
    let line = match row.get_ref(FIRST.len() + KNOWN.len() + 1)? {
        // Text, if somebody edited it by hand.
        ValueRef::Blob(line) | ValueRef::Text(line) => Some(line),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    };
    let recorded = WholeLine { bytes: row.get(LINE_BYTES)?, sha256: row.get(LINE_SHA256)? };
    let (raw, whole) = whole::line(connection, id, line, recorded)?;
    let warnings: Option<String> = row.get(13)?;
    Ok(Record {
        origin: Origin::Stored {
            id,
            received_at: Millis::saturating(row.get(1)?),
            input: row.get(6)?,
            delivery_count: row.get(14)?,
        },
        time: Some(Millis::saturating(row.get(2)?)),
        format: format(row.get_ref(7)?)?,
        kind: word(row.get_ref(8)?)?,
        verdict: required_word(row.get_ref(9)?)?,
        reason: row.get(10)?,
        warnings: warnings
            .unwrap_or_default()
            .split_whitespace()
            .map(parsed)
            .collect::<Result<_, _>>()?,
        fields,
        kid: row.get(FIRST.len() + KNOWN.len())?,
        raw,
        whole,
    })
}

/// A word of an enum, from its column.
///
/// # Errors
/// A word that is none of them: the file is not as this program, or an older one, wrote it.
pub(super) fn word<T: FromStr<Err = UnknownWord>>(
    value: ValueRef<'_>,
) -> rusqlite::Result<Option<T>> {
    value.as_str_or_null()?.map(parsed).transpose()
}

/// The same, of a column that is never null.
pub(super) fn required_word<T: FromStr<Err = UnknownWord>>(
    value: ValueRef<'_>,
) -> rusqlite::Result<T> {
    parsed(value.as_str()?)
}

/// A format, from its column.
fn format(value: ValueRef<'_>) -> rusqlite::Result<Option<Format>> {
    match value.as_str()? {
        Format::UNKNOWN => Ok(None),
        word => parsed(word).map(Some),
    }
}

fn parsed<T: FromStr<Err = UnknownWord>>(word: &str) -> rusqlite::Result<T> {
    word.parse().map_err(|error| Error::FromSqlConversionFailure(0, SqlType::Text, Box::new(error)))
}

/// The value of a known field of type `wanted`, from its column.
fn value(wanted: FieldType, column: ValueRef<'_>) -> Option<Value> {
    match column {
        ValueRef::Integer(0) if wanted == FieldType::Boolean => Some(Value::Boolean(false)),
        ValueRef::Integer(1) if wanted == FieldType::Boolean => Some(Value::Boolean(true)),
        ValueRef::Integer(number) => Some(Value::Integer(number)),
        ValueRef::Text(text) => Some(Value::Text(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => None,
    }
}

/// The value of a known field, from the text that stands among the extensions.
fn retyped(wanted: FieldType, text: String) -> Value {
    match wanted {
        FieldType::Integer => text.parse().map_or(Value::Text(text), Value::Integer),
        FieldType::Boolean => text.parse().map_or(Value::Text(text), Value::Boolean),
        FieldType::Text | FieldType::Digits => Value::Text(text),
    }
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
