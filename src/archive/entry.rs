//! An entry as a row of the archive, and back. The format is defined in docs/archive.md.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::value::RawValue;

use super::rows::{Cell, Rows};
use crate::entry::fields::{FieldType, KNOWN, type_of};
use crate::entry::record::{Origin, WholeLine};
use crate::entry::words::UnknownWord;
use crate::entry::{Fields, Millis, Record, Value, VerdictName, Warning};
use crate::store::WholeEntry;
use crate::tlog::leaf::Salt;

/// The version of an entry in `verdicts`: the number of the change, and when it was archived.
pub(super) type Version = Option<(u64, Millis)>;

/// Calls `push` with an entry as a row. A newer version has no line.
pub(super) fn as_row<T>(
    entry: &WholeEntry,
    stored_at: Millis,
    version: Version,
    push: impl FnOnce(&[Cell<'_>]) -> T,
) -> T {
    let record = &entry.record;
    let (id, input, received_at, delivery_count) = match &record.origin {
        Origin::Stored { id, input, received_at, delivery_count } => {
            (Some(*id), Some(input), Some(*received_at), Some(*delivery_count))
        }
        Origin::File { .. } => (None, None, None, None),
    };
    let warnings = (!record.warnings.is_empty()).then(|| Warning::join(&record.warnings, " "));
    let extensions = extensions(&record.fields);
    let sha256 = record.whole.and_then(|whole| whole.sha256());
    // A newer version of an entry has the same leaf.
    let leaf = entry.leaf.as_ref().filter(|_| version.is_none());
    let mut row: Vec<Cell<'_>> = Vec::with_capacity(KNOWN.len() + 25);
    row.extend::<[Cell<'_>; 16]>([
        id.into(),
        record.time.into(),
        received_at.into(),
        stored_at.into(),
        entry.event_time.into(),
        input.into(),
        record.format.map(|format| format.as_str()).into(),
        record.kind.map(|kind| kind.as_str()).into(),
        record.verdict.as_str().into(),
        record.reason.as_ref().into(),
        entry.key.as_ref().into(),
        record.kid.as_ref().into(),
        entry.covers.as_ref().into(),
        warnings.as_ref().into(),
        entry.delivery.into(),
        delivery_count.into(),
    ]);
    for ((_, wanted), (_, value)) in KNOWN.iter().zip(record.fields.known()) {
        row.push(value.map_or(Cell::Null, |value| known(*wanted, value)));
    }
    row.extend::<[Cell<'_>; 9]>([
        extensions.as_ref().into(),
        entry.hidden_by.into(),
        if version.is_some() { Cell::Null } else { Cell::Bytes(&record.raw) },
        record.whole.and_then(|whole| whole.bytes).into(),
        sha256.as_ref().into(),
        version.map(|(change, _)| change).into(),
        version.map(|(_, changed_at)| changed_at).into(),
        leaf.map(|(leaf, _)| *leaf).into(),
        leaf.map(|(_, salt)| salt.as_slice()).into(),
    ]);
    push(&row)
}

/// The value of a known field, if it fits the type of its column.
fn known(wanted: FieldType, value: &Value) -> Cell<'_> {
    match (wanted, value) {
        (FieldType::Integer, Value::Integer(integer)) => Cell::Integer(*integer),
        (FieldType::Boolean, Value::Boolean(boolean)) => Cell::Boolean(*boolean),
        (FieldType::Text | FieldType::Digits, Value::Text(text)) => Cell::text(text),
        _ => Cell::Null,
    }
}

/// The fields without a column, and those that do not fit theirs, as a JSON object. Values are written
/// as they were sent. `None` if there are none.
fn extensions(fields: &Fields) -> Option<String> {
    let misfits = KNOWN.iter().zip(fields.known()).filter_map(|((name, wanted), (_, value))| {
        let value = value?;
        (known(*wanted, value) == Cell::Null).then_some((*name, value))
    });
    let mut json = String::new();
    for (name, value) in misfits.chain(fields.extensions()) {
        json.push(if json.is_empty() { '{' } else { ',' });
        json += &text(name);
        json.push(':');
        json += &match value {
            Value::Text(value) => text(value),
            Value::Integer(integer) => integer.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Json(json) => match RawValue::from_string(json.clone()) {
                Ok(raw) => raw.get().to_owned(),
                Err(_) => text(json),
            },
        };
    }
    (!json.is_empty()).then(|| json + "}")
}

/// A text as JSON.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An entry that was read from the archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchivedEntry {
    pub(crate) entry: WholeEntry,
    pub(crate) stored_at: Millis,
    /// The number of the change that made this version. `None` in `entries`.
    pub(crate) change: Option<u64>,
}

/// The values of a row of `entries` or `verdicts`, by the names of the columns.
pub(super) trait Cells {
    /// The value of a column. NULL also if it was not read.
    fn cell(&self, column: &str) -> Cell<'_>;

    fn integer(&self, column: &str) -> Option<i64> {
        self.cell(column).integer()
    }

    /// A text. What is not UTF-8 is replaced.
    fn text(&self, column: &str) -> Option<Cow<'_, str>> {
        self.cell(column).bytes().map(String::from_utf8_lossy)
    }

    /// A word of a list; `None` if it is none of them.
    fn word<T: FromStr<Err = UnknownWord>>(&self, column: &str) -> Option<T> {
        self.text(column)?.parse().ok()
    }
}

/// A row of some rows.
pub(super) struct RowOf<'a>(pub(super) &'a Rows, pub(super) usize);

impl Cells for RowOf<'_> {
    fn cell(&self, column: &str) -> Cell<'_> {
        self.0.get(self.1, column)
    }
}

/// Reads a row of `entries` or `verdicts`. `None` if it lacks a value that every entry has, or has
/// something that is not what it should be.
pub(crate) fn of_row(rows: &Rows, row: usize) -> Option<ArchivedEntry> {
    let cells = RowOf(rows, row);
    let get = |name: &str| cells.cell(name);
    let owned = |name: &str| get(name).as_text().map(str::to_owned);
    let time = |name: &str| get(name).integer().map(Millis::saturating);
    (get("id").unsigned().is_some() && time("received_at").is_some() && time("time").is_some())
        .then_some(())?;
    cells.word::<VerdictName>("verdict")?;
    let is_text = |name: &str| get(name).bytes().is_none_or(|it| std::str::from_utf8(it).is_ok());
    KNOWN.iter().all(|(name, _)| is_text(name)).then_some(())?;
    if let Some(json) = get("extensions").as_text() {
        members(json.as_bytes())?;
    }
    Some(ArchivedEntry {
        entry: WholeEntry {
            record: record(&cells),
            event_time: time("event_time"),
            delivery: get("delivery").unsigned()?,
            key: owned("key"),
            covers: owned("covers"),
            hidden_by: get("hidden_by").unsigned(),
            leaf: leaf(&cells),
        },
        stored_at: time("stored_at")?,
        change: get("change").unsigned(),
    })
}

/// The leaf of a row, and the salt.
fn leaf(cells: &impl Cells) -> Option<(u64, Salt)> {
    let salt = cells.cell("salt").bytes()?.try_into().ok()?;
    Some((cells.cell("leaf").unsigned()?, salt))
}

/// The record of a row. What is missing or makes no sense is left out.
pub(super) fn record(cells: &impl Cells) -> Record {
    let mut fields = Fields::default();
    for (name, value) in extensions_of(cells) {
        fields.restore(&name, value);
    }
    for (name, _) in KNOWN {
        let value = match cells.cell(name) {
            Cell::Null => continue,
            Cell::Integer(integer) => Value::Integer(integer),
            Cell::Boolean(boolean) => Value::Boolean(boolean),
            Cell::Bytes(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        };
        fields.restore(name, value);
    }
    let time = |name: &str| cells.cell(name).integer().map(Millis::saturating);
    let owned = |name: &str| cells.text(name).map(Cow::into_owned);
    let whole = cells.cell("line_bytes").unsigned().map(|bytes| WholeLine {
        bytes: Some(bytes),
        sha256: cells
            .cell("line_sha256")
            .bytes()
            .and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex).ok()?.try_into().ok()),
    });
    let warnings = cells.text("warnings").unwrap_or_default();
    Record {
        origin: Origin::Stored {
            id: cells.cell("id").unsigned().unwrap_or(0),
            input: owned("input").unwrap_or_default(),
            received_at: time("received_at").unwrap_or(Millis::MIN),
            delivery_count: cells.cell("delivery_count").unsigned().unwrap_or(1),
        },
        time: time("time"),
        format: cells.word("format"),
        kind: cells.word("kind"),
        // A word that no version wrote counts as malformed, and never as valid.
        verdict: cells.word("verdict").unwrap_or(VerdictName::Malformed),
        reason: owned("reason"),
        kid: owned("kid"),
        warnings: warnings.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        fields,
        raw: cells.cell("line").bytes().unwrap_or_default().to_vec(),
        whole,
    }
}

/// The fields without a column, and values of known fields that do not fit the type.
pub(super) fn extensions_of(cells: &impl Cells) -> BTreeMap<String, Value> {
    let json = cells.cell("extensions").bytes();
    json.and_then(members).unwrap_or_default()
}

/// The members of `extensions`. `None` if it is not a JSON object.
fn members(json: &[u8]) -> Option<BTreeMap<String, Value>> {
    let all: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(json).ok()?;
    let value = |(name, json): (String, Box<RawValue>)| {
        let value = extension(&name, json.get())?;
        Some((name, value))
    };
    all.into_iter().map(value).collect()
}

/// The value of a member of `extensions`.
fn extension(name: &str, json: &str) -> Option<Value> {
    Some(match json {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        _ if json.starts_with('"') => Value::Text(serde_json::from_str(json).ok()?),
        _ => match type_of(name).and_then(|_| json.parse().ok()) {
            Some(integer) => Value::Integer(integer),
            None => Value::Json(json.to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::decode::Decoder;
    use crate::archive::encode::Encoder;
    use crate::archive::layout::Table;
    use crate::entry::{Format, Kind};

    fn entry(fields: &[(&str, Value)]) -> WholeEntry {
        let mut all = Fields::default();
        fields.iter().for_each(|(name, value)| all.restore(name, value.clone()));
        WholeEntry {
            record: Record {
                origin: Origin::Stored {
                    id: 7,
                    input: "default".into(),
                    received_at: Millis::saturating(5),
                    delivery_count: 3,
                },
                time: Some(Millis::saturating(4)),
                format: Some(Format::Json),
                kind: Some(Kind::of(None)),
                verdict: VerdictName::Invalid,
                reason: Some("no_matching_key".into()),
                kid: Some("kid".into()),
                warnings: vec![Warning::DuplicateField, Warning::TooManyFields],
                fields: all,
                raw: b"{\"a\":\xff\n".to_vec(),
                whole: Some(WholeLine { bytes: Some(2_000_000), sha256: Some([9; 32]) }),
            },
            event_time: None,
            delivery: 2,
            key: Some("thumbprint".into()),
            covers: Some("entry".into()),
            hidden_by: Some(8),
            leaf: Some((9, [3; 16])),
        }
    }

    fn read_back(entry: &WholeEntry, version: Version) -> ArchivedEntry {
        let mut encoder = Encoder::new(Table::Entries, "x", 0).unwrap();
        let stored_at = Millis::saturating(6);
        as_row(entry, stored_at, version, |row| encoder.push(row)).unwrap();
        let body = encoder.finish().unwrap().body;
        let decoder = Decoder::new("x", Table::Entries, body).unwrap();
        of_row(&decoder.group(0, None).unwrap(), 0).unwrap()
    }

    fn check(fields: &[(&str, Value)]) {
        let before = entry(fields);
        let after = read_back(&before, None);
        assert_eq!(after.entry.record, before.record);
        assert_eq!(format!("{:?}", after.entry), format!("{before:?}"));
        assert_eq!((after.stored_at, after.change), (Millis::saturating(6), None));
    }

    #[test]
    fn an_entry_comes_back_as_it_was() {
        check(&[]);
        check(&[
            ("status", Value::Integer(403)),
            ("granted", Value::Boolean(false)),
            ("trace_id", Value::Text("18446744073709551615".into())),
            ("name", Value::Text(String::new())),
        ]);
    }

    #[test]
    fn values_that_do_not_fit_a_column_and_unknown_fields_come_back_too() {
        check(&[
            ("severity", Value::Text("High".into())),
            ("granted", Value::Text("true".into())),
            ("a \"quoted\" name\u{1}", Value::Text("\u{0}\"\\ü".into())),
            ("text", Value::Text("123".into())),
            ("boolean", Value::Boolean(true)),
            ("number", Value::Json("123456789012345678901234567890.50".into())),
            ("null", Value::Json("null".into())),
            ("array", Value::Json("[1,\r\n{\"a\": 1e400}]".into())),
        ]);
    }

    #[test]
    fn a_newer_version_has_no_line() {
        let version = Some((12, Millis::saturating(9)));
        let after = read_back(&entry(&[]), version);
        assert_eq!((after.change, after.entry.record.raw.len()), (Some(12), 0));
        assert_eq!(after.entry.record.verdict, VerdictName::Invalid);
    }
}
