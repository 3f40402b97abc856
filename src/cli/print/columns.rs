//! Records as CSV (RFC 4180): fields of the store, known fields, other fields as JSON, the line.
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

const FIRST: [&str; 11] = [
    "id",
    "received_at",
    "input",
    "time",
    "format",
    "kind",
    "verdict",
    "reason",
    "kid",
    "warnings",
    "delivery_count",
];
const LAST: [&str; 3] = ["extensions", "raw", "raw_base64"];

/// The header line.
pub(super) fn header() -> Result<Vec<u8>, csv::Error> {
    let known = KNOWN.iter().map(|(name, _)| *name);
    write(|writer| writer.write_record(FIRST.into_iter().chain(known).chain(LAST)))
}

/// The records as CSV. A record is one line unless a value contains a line break.
pub(super) fn rows(records: &[Record]) -> Result<Vec<u8>, csv::Error> {
    write(|writer| {
        records.iter().try_for_each(|record| {
            let cells = cells(record);
            writer.write_record(cells.iter().map(|cell| escape_formula(cell).into_owned()))
        })
    })
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

fn cells(record: &Record) -> Vec<Cow<'_, str>> {
    let (id, received_at, input, delivery_count) = match &record.origin {
        Origin::Stored { id, input, received_at, delivery_count } => {
            (id.to_string(), received_at.to_string(), input.as_str(), delivery_count.to_string())
        }
        Origin::File { source } => (source.clone(), String::new(), "", String::new()),
    };
    let optional = |text: &Option<String>| text.clone().unwrap_or_default().into();
    let mut cells: Vec<Cow<'_, str>> = vec![
        id.into(),
        received_at.into(),
        input.into(),
        record.time.map_or_else(String::new, |time| time.to_string()).into(),
        Format::word(record.format).into(),
        record.kind.map_or("", |kind| kind.as_str()).into(),
        record.verdict.as_str().into(),
        optional(&record.reason),
        optional(&record.kid),
        Warning::join(&record.warnings, " ").into(),
        delivery_count.into(),
    ];
    let known = record.fields.known();
    cells.extend(known.map(|(_, value)| value.map_or("".into(), |value| value.as_text())));
    let extensions: BTreeMap<_, _> = record.fields.extensions().collect();
    cells.push(match extensions.is_empty() {
        true => "".into(),
        false => serde_json::to_string(&extensions).unwrap_or_default().into(),
    });
    match std::str::from_utf8(&record.raw) {
        Ok(raw) => cells.extend([raw.into(), "".into()]),
        Err(_) => cells.extend(["".into(), STANDARD.encode(&record.raw).into()]),
    }
    cells
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
        let csv = [header().unwrap(), rows(&[record(line)]).unwrap()].concat();
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
}
