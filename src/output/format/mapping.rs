//! The parts that every mapping of an entry to a published schema shares: which fields were mapped,
//! the outcome, and what Vidimus adds.
//!
//! A field that has no place in the schema, or a value that does not fit, is kept under its own
//! name. Only empty text is dropped, and the line as received has that too.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::entry::record::Origin;
use crate::entry::{Fields, Format, Kind, Millis, Record, Value};

/// The fields of an entry, and which of them were mapped.
pub(super) struct Mapping<'a> {
    fields: &'a Fields,
    placed: Vec<&'static str>,
}

impl<'a> Mapping<'a> {
    /// Starts a mapping.
    pub(super) fn of(record: &'a Record) -> Mapping<'a> {
        Mapping { fields: &record.fields, placed: Vec::new() }
    }

    /// Maps the text of the field `name`. `None` if it is empty.
    pub(super) fn text(&mut self, name: &'static str) -> Option<&'a str> {
        let text = self.fields.text(name)?;
        self.placed.push(name);
        Some(text).filter(|text| !text.is_empty())
    }

    /// Maps the number in the field `name`.
    pub(super) fn integer(&mut self, name: &'static str) -> Option<i64> {
        let number = self.fields.integer(name)?;
        self.placed.push(name);
        Some(number)
    }

    /// Maps the boolean in the field `name`.
    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let Value::Boolean(boolean) = self.fields.get(name)? else { return None };
        self.placed.push(name);
        Some(*boolean)
    }

    /// The outcome of the event. Its field depends on the kind. For kind `other` it is the first of
    /// these fields that is there.
    pub(super) fn outcome(&mut self, kind: Option<Kind>) -> Outcome {
        // The status of an API call has a place of its own in both schemas.
        let status = self.fields.integer("status").and_then(succeeded);
        let success = match kind {
            None => None,
            Some(Kind::Authentication) => self.boolean("success"),
            Some(Kind::Authorization) => self.boolean("granted"),
            Some(Kind::Access) => status,
            Some(Kind::Other) => {
                self.boolean("success").or_else(|| self.boolean("granted")).or(status)
            }
        };
        match success {
            Some(true) => Outcome::Success,
            Some(false) => Outcome::Failure,
            None => Outcome::Unknown,
        }
    }

    /// The fields that were not mapped and are not empty.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let fields = self.fields.iter();
        fields.filter(|(name, value)| !self.placed.contains(name) && !value.as_text().is_empty())
    }
}

/// Whether an HTTP status means success. `None` if it is not a status.
fn succeeded(status: i64) -> Option<bool> {
    match status {
        100..=399 => Some(true),
        400..=599 => Some(false),
        _ => None,
    }
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Failure,
    Unknown,
}

/// The time of an entry. Every entry in the store has one.
pub(super) fn time(record: &Record) -> Millis {
    record.time.or(record.received_at()).unwrap_or(Millis::MIN)
}

/// The line as received, or base64 (RFC 4648, section 4) if it is not UTF-8.
pub(super) fn raw(record: &Record) -> Cow<'_, str> {
    match std::str::from_utf8(&record.raw) {
        Ok(raw) => raw.into(),
        Err(_) => STANDARD.encode(&record.raw).into(),
    }
}

/// What Vidimus adds to an entry, under its own names.
pub(super) fn provenance(record: &Record) -> Vec<(&'static str, Option<Json>)> {
    let utf8 = std::str::from_utf8(&record.raw).is_ok();
    let mut members = vec![
        ("verdict", some(record.verdict.as_str())),
        ("reason", record.reason.as_deref().map(Json::from)),
        ("kid", record.kid.as_deref().map(Json::from)),
        ("warnings", some(record.warnings.iter().map(|one| one.as_str()).collect::<Vec<_>>())),
        ("format", some(Format::word(record.format))),
        ("kind", record.kind.map(|kind| kind.as_str().into())),
        ("raw_encoding", some(if utf8 { "utf-8" } else { "base64" })),
    ];
    match &record.origin {
        Origin::Stored { id, input, delivery_count, .. } => members.extend([
            ("id", some(*id)),
            ("input", some(input.as_str())),
            ("delivery_count", some(*delivery_count)),
        ]),
        Origin::File { source } => members.push(("source", some(source.as_str()))),
    }
    members
}

/// An object of the members that are there. `None` if there are none.
pub(super) fn object<'m>(
    members: impl IntoIterator<Item = (&'m str, Option<Json>)>,
) -> Option<Json> {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let object: serde_json::Map<_, _> = there.collect();
    if object.is_empty() { None } else { Some(object.into()) }
}

/// A member with a value.
pub(super) fn some(value: impl Into<Json>) -> Option<Json> {
    Some(value.into())
}

/// A list. `None` if it is empty.
pub(super) fn list<'t>(texts: impl IntoIterator<Item = Option<&'t str>>) -> Option<Json> {
    let texts: Vec<&str> = texts.into_iter().flatten().collect();
    if texts.is_empty() { None } else { some(texts) }
}

/// The path and the query of the target of a request.
pub(super) fn path_and_query(request: Option<&str>) -> (Option<&str>, Option<&str>) {
    match request.map(|request| request.split_once('?').ok_or(request)) {
        None => (None, None),
        Some(Ok((path, query))) => (Some(path), Some(query)),
        Some(Err(path)) => (Some(path), None),
    }
}
