//! Records as CSV (RFC 4180): fields of the store, known fields, other fields as JSON, the line; or
//! only some of these columns.
//!
//! Entries are hostile, and spreadsheets run cells that look like a formula. Such a cell gets an
//! apostrophe prefix (OWASP, "CSV Injection").

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::entry::fields::KNOWN;
use crate::entry::record::Origin;
use crate::entry::{Format, Record, Warning};

/// What a column holds of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Id,
    ReceivedAt,
    Input,
    Time,
    Format,
    Kind,
    Verdict,
    Reason,
    Kid,
    Warnings,
    DeliveryCount,
    /// The field with the name of the column.
    Field,
    /// All fields that are not known, as JSON.
    Extensions,
    Raw,
    /// The line in base64, if it is not UTF-8.
    RawBase64,
}

/// The columns before those of the known fields, and after them.
const FIRST: [(&str, Content); 11] = [
    ("id", Content::Id),
    ("received_at", Content::ReceivedAt),
    ("input", Content::Input),
    ("time", Content::Time),
    ("format", Content::Format),
    ("kind", Content::Kind),
    ("verdict", Content::Verdict),
    ("reason", Content::Reason),
    ("kid", Content::Kid),
    ("warnings", Content::Warnings),
    ("delivery_count", Content::DeliveryCount),
];
const LAST: [(&str, Content); 3] = [
    ("extensions", Content::Extensions),
    ("raw", Content::Raw),
    ("raw_base64", Content::RawBase64),
];

/// The maximum number of columns that can be chosen.
const MAX_COLUMNS: usize = 200;

/// A list of columns that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("found {found:?}, expected up to {MAX_COLUMNS} names of fields, with commas between them")]
pub(crate) struct BadColumns {
    found: String,
}

/// The columns of a file.
#[derive(Clone, Debug)]
pub(crate) struct Columns(Vec<(String, Content)>);

impl Columns {
    /// All columns.
    pub(crate) fn all() -> Columns {
        let known = KNOWN.iter().map(|(name, _)| (*name, Content::Field));
        let all = FIRST.into_iter().chain(known).chain(LAST);
        Columns(all.map(|(name, content)| (name.to_owned(), content)).collect())
    }

    /// The columns with these names, which are separated by commas. A name with a comma is in quotes,
    /// as in CSV. `warning` is a name too, as in a query, and so is the name of any extension.
    pub(crate) fn named(names: &str) -> Result<Columns, BadColumns> {
        let bad = |found: &str| BadColumns { found: found.chars().take(40).collect() };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(names.as_bytes());
        let row = reader.records().next().and_then(Result::ok).ok_or_else(|| bad(names))?;
        if row.len() > MAX_COLUMNS || names.contains(['\r', '\n']) {
            return Err(bad(names));
        }
        let column = |name: &str| {
            let known = FIRST.iter().chain(&LAST).find(|(one, _)| *one == name);
            let content = match (known, name) {
                (Some((_, content)), _) => *content,
                (None, "warning") => Content::Warnings,
                // A record does not have it.
                (None, "" | "delivery") => return Err(bad(name)),
                (None, _) => Content::Field,
            };
            Ok((name.to_owned(), content))
        };
        row.iter().map(column).collect::<Result<_, _>>().map(Columns)
    }

    /// The header line.
    pub(crate) fn header(&self) -> Result<Vec<u8>, csv::Error> {
        let names = self.0.iter().map(|(name, _)| escape_formula(name).into_owned());
        write(|writer| writer.write_record(names))
    }

    /// The records as CSV. A record is one line unless a value contains a line break.
    pub(crate) fn rows(&self, records: &[Record]) -> Result<Vec<u8>, csv::Error> {
        write(|writer| {
            records.iter().try_for_each(|record| {
                let cells = self.0.iter().map(|(name, content)| content.cell(name, record));
                writer.write_record(cells.map(|cell| escape_formula(&cell).into_owned()))
            })
        })
    }
}

fn write(
    each: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>) -> Result<(), csv::Error>,
) -> Result<Vec<u8>, csv::Error> {
    let mut bytes = Vec::new();
    let mut writer = csv::Writer::from_writer(&mut bytes);
    each(&mut writer)?;
    writer.flush()?;
    drop(writer);
    Ok(bytes)
}

impl Content {
    /// The cell of the column `name`.
    fn cell<'a>(self, name: &str, record: &'a Record) -> Cow<'a, str> {
        let optional = |text: &'a Option<String>| text.as_deref().unwrap_or_default().into();
        let stored = match &record.origin {
            Origin::Stored { input, received_at, delivery_count, .. } => {
                Some((input.as_str(), received_at, delivery_count))
            }
            Origin::File { .. } => None,
        };
        let raw = || std::str::from_utf8(&record.raw);
        match self {
            Content::Id => match &record.origin {
                Origin::Stored { id, .. } => id.to_string().into(),
                Origin::File { source } => source.into(),
            },
            Content::ReceivedAt => stored
                .map_or_else(String::new, |(_, received_at, _)| received_at.to_string())
                .into(),
            Content::Input => stored.map_or("", |(input, _, _)| input).into(),
            Content::Time => record.time.map_or_else(String::new, |time| time.to_string()).into(),
            Content::Format => Format::word(record.format).into(),
            Content::Kind => record.kind.map_or("", |kind| kind.as_str()).into(),
            Content::Verdict => record.verdict.as_str().into(),
            Content::Reason => optional(&record.reason),
            Content::Kid => optional(&record.kid),
            Content::Warnings => Warning::join(&record.warnings, " ").into(),
            Content::DeliveryCount => {
                stored.map_or_else(String::new, |(_, _, count)| count.to_string()).into()
            }
            Content::Field => record.fields.get(name).map_or("".into(), |value| value.as_text()),
            Content::Extensions => {
                let extensions: BTreeMap<_, _> = record.fields.extensions().collect();
                match extensions.is_empty() {
                    true => "".into(),
                    false => serde_json::to_string(&extensions).unwrap_or_default().into(),
                }
            }
            Content::Raw => raw().unwrap_or_default().into(),
            Content::RawBase64 => match raw() {
                Ok(_) => "".into(),
                Err(_) => STANDARD.encode(&record.raw).into(),
            },
        }
    }
}

/// Escapes a cell that a spreadsheet would read as a formula.
fn escape_formula(cell: &str) -> Cow<'_, str> {
    match cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{cell}").into(),
        false => cell.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;

    fn record(line: &[u8]) -> Record {
        let received_at = Millis::saturating(7);
        let line = bytes::Bytes::copy_from_slice(line);
        let entry = CheckedLine::new(&line, &KeySet::default(), 1000).read(
            line,
            &ExpectedIds::default(),
            received_at,
        );
        let time = entry.time;
        let origin = Origin::Stored { id: 1, input: "in".into(), received_at, delivery_count: 2 };
        entry.into_record(origin, Some(time))
    }

    /// Reads `line` back and compares the cells of `columns`.
    fn check(line: &[u8], columns: &[&str], expected: &[&str]) {
        let all = Columns::all();
        let csv = [all.header().unwrap(), all.rows(&[record(line)]).unwrap()].concat();
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let header = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let cell = |name: &&str| &row[header.iter().position(|one| one == *name).unwrap()];
        assert_eq!(columns.iter().map(cell).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_value_has_its_column() {
        check(
            br#"{"name":"a,\"b\"\nc","status":200,"granted":true,"x":[1]}"#,
            &["id", "name", "status", "granted", "src", "extensions", "kind", "delivery_count"],
            &["1", "a,\"b\"\nc", "200", "true", "", "{\"x\":[1]}", "other", "2"],
        );
        check(b"\xff", &["raw", "raw_base64", "verdict"], &["", "/w==", "malformed"]);
    }

    #[test]
    fn formulas_are_neutralised() {
        check(
            br#"{"name":"=1+1","src":"+1","action":"-1","act":"@x","request":"\t=1","query":"a=1"}"#,
            &["name", "src", "action", "act", "request", "query"],
            &["'=1+1", "'+1", "'-1", "'@x", "'\t=1", "a=1"],
        );
        check(b"=cmd()", &["raw"], &["'=cmd()"]);
    }

    #[test]
    fn columns_are_chosen() {
        let line = br#"{"name":"a","status":200,"a,b":"=x","cs1":[1]}"#;
        let check = |names: &str, expected: &str| {
            let columns = Columns::named(names).unwrap();
            let csv = [columns.header().unwrap(), columns.rows(&[record(line)]).unwrap()].concat();
            assert_eq!(String::from_utf8(csv).unwrap(), expected, "{names}");
        };
        check("status,id,name", "status,id,name\n200,1,a\n");
        check("cs1,none,warning,input", "cs1,none,warning,input\n[1],,,in\n");
        check("\"a,b\"", "\"a,b\"\n'=x\n");
        // The names are hostile too.
        check("=cmd()", "'=cmd()\n\"\"\n");
    }

    #[test]
    fn columns_that_there_are_not_are_refused() {
        let check = |names: &str, found: &str| {
            let refused = Columns::named(names).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("found {found:?}, expected up to")), "{refused}");
        };
        check("", "");
        check("id,,time", "");
        check("id,", "");
        check("id,delivery", "delivery");
        check("id\ntime", "id\ntime");
        check(&"id,".repeat(300), &"id,".repeat(300)[..40]);
    }
}
