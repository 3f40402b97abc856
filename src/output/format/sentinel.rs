//! An entry as a record of the custom table in `integrations/sentinel`, for Microsoft Sentinel.
//!
//! A record is flat: one column for each known field, and columns that begin with `Vidimus` for what
//! Vidimus adds. A name that the sender chose never becomes the name of a column. Such fields are in
//! the column `AdditionalFields`, whose type is `dynamic`.
//!
//! Defined by: Microsoft, "Structure of a data collection rule (DCR) in Azure Monitor" (types of
//! columns) and "Logs Ingestion API in Azure Monitor" (names of columns).

use serde_json::{Map, Value as Json};

use super::mapping::{self, Mapping, Outcome};
use crate::entry::Record;
use crate::entry::fields::{FieldType, KNOWN};
use crate::ingest::Fingerprint;

/// Appends the entry to `out` as one JSON object, without a line end within it or after it.
pub(super) fn write(record: &Record, out: &mut Vec<u8>) {
    // Every key is text, so this cannot fail, and JSON escapes line ends.
    drop(serde_json::to_writer(out, &columns(record)));
}

fn columns(record: &Record) -> Map<String, Json> {
    let mut fields = Mapping::of(record);
    let mut columns = Map::new();
    let mut put = |name: String, value: Option<Json>| {
        if let Some(value) = value {
            columns.insert(name, value);
        }
    };
    let outcome = match fields.outcome(record.kind) {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unknown => "unknown",
    };
    put("Outcome".to_owned(), Some(outcome.into()));
    put("EventTime".to_owned(), Some(mapping::time(record).to_string().into()));
    put("RawData".to_owned(), Some(mapping::raw(record).into()));
    for (name, kind) in KNOWN {
        let value = match kind {
            FieldType::Text | FieldType::Digits => fields.text(name).map(Json::from),
            FieldType::Integer => fields.integer(name).map(Json::from),
            FieldType::Boolean => fields.boolean(name).map(Json::from),
        };
        put(column(name), value);
    }
    for (name, value) in mapping::provenance(record) {
        // Entries of the store have no source.
        if name != "source" {
            put(format!("Vidimus{}", column(name)), value);
        }
    }
    let received_at = record.received_at().map(|at| at.to_string().into());
    put("VidimusReceivedAt".to_owned(), received_at);
    let fingerprint = Fingerprint::of(&record.raw).to_string();
    put("VidimusFingerprint".to_owned(), Some(fingerprint.into()));
    let rest = fields.rest().map(|(name, value)| (name.to_owned(), value.as_text().into()));
    let rest: Map<String, Json> = rest.collect();
    put("AdditionalFields".to_owned(), Some(rest).filter(|rest| !rest.is_empty()).map(Json::from));
    columns
}

/// The name of a column: `org_id` is `OrgId`.
fn column(name: &str) -> String {
    let mut column = String::with_capacity(name.len());
    for word in name.split('_') {
        let (first, rest) = word.split_at(word.len().min(1));
        column.push_str(&first.to_ascii_uppercase());
        column.push_str(rest);
    }
    column
}
