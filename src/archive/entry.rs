//! An entry as a row of the archive, and back. The format is defined in docs/archive.md.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::value::RawValue;

use super::rows::{Cell, Rows};
use crate::entry::fields::{FieldType, KNOWN, type_of};
use crate::entry::record::{Origin, WholeLine};
use crate::entry::{Fields, Millis, Record, Value, VerdictName, Warning};
use crate::store::WholeEntry;

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
    let mut row: Vec<Cell<'_>> = Vec::with_capacity(KNOWN.len() + 23);
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
    row.extend::<[Cell<'_>; 7]>([
        extensions.as_ref().into(),
        entry.hidden_by.into(),
        if version.is_some() { Cell::Null } else { Cell::Bytes(&record.raw) },
        record.whole.and_then(|whole| whole.bytes).into(),
        sha256.as_ref().into(),
        version.map(|(change, _)| change).into(),
        version.map(|(_, changed_at)| changed_at).into(),
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

/// Reads a row of `entries` or `verdicts`. `None` if it has no id, or a word that is none.
pub(crate) fn of_row(rows: &Rows, row: usize) -> Option<ArchivedEntry> {
    let get = |name: &str| rows.get(row, name);
    let owned = |name: &str| get(name).as_text().map(str::to_owned);
    let time = |name: &str| get(name).integer().map(Millis::saturating);
    let mut fields = Fields::default();
    for (name, _) in KNOWN {
        let value = match get(name) {
            Cell::Null => continue,
            Cell::Integer(integer) => Value::Integer(integer),
            Cell::Boolean(boolean) => Value::Boolean(boolean),
            Cell::Bytes(bytes) => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        };
        fields.restore(name, value);
    }
    if let Some(json) = get("extensions").as_text() {
        let all: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).ok()?;
        for (name, value) in all {
            fields.restore(&name, extension(&name, value.get())?);
        }
    }
    let whole = get("line_bytes").unsigned().map(|bytes| WholeLine {
        bytes: Some(bytes),
        sha256: get("line_sha256")
            .as_text()
            .and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok()?.try_into().ok()),
    });
    let warnings = get("warnings").as_text().unwrap_or_default().split_whitespace();
    let word = |name: &str| get(name).as_text();
    let record = Record {
        origin: Origin::Stored {
            id: get("id").unsigned()?,
            input: owned("input").unwrap_or_default(),
            received_at: time("received_at")?,
            delivery_count: get("delivery_count").unsigned().unwrap_or(1),
        },
        time: Some(time("time")?),
        format: word("format").and_then(|word| word.parse().ok()),
        kind: word("kind").and_then(|word| word.parse().ok()),
        verdict: word("verdict")?.parse::<VerdictName>().ok()?,
        reason: owned("reason"),
        kid: owned("kid"),
        warnings: warnings.filter_map(|word| word.parse().ok()).collect(),
        fields,
        raw: get("line").bytes().unwrap_or_default().to_vec(),
        whole,
    };
    Some(ArchivedEntry {
        entry: WholeEntry {
            record,
            event_time: time("event_time"),
            delivery: get("delivery").unsigned()?,
            key: owned("key"),
            covers: owned("covers"),
            hidden_by: get("hidden_by").unsigned(),
        },
        stored_at: time("stored_at")?,
        change: get("change").unsigned(),
    })
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
