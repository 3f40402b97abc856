//! Reads the fields of a payload.
//!
//! The payload of a valid entry is the text that was verified. The payload of any other entry is
//! the line without its last `sig`. A `sig` that remains in a payload is not a field.

use super::fields::{Fields, SentValue, Value};
use super::time::{self, ParsedTime};
use super::{Format, Kind, Millis, Warning, cef, json, pulled};

/// The contents of a payload.
#[derive(Clone, Debug)]
pub struct ParsedPayload {
    /// The fields.
    pub fields: Fields,
    /// Warnings about the fields.
    pub warnings: Vec<Warning>,
    /// The time of the event: `rt`, or else a full time in `event_ts`.
    pub event_time: Option<Millis>,
    /// The time in `event_ts` if it has no year.
    without_year: Option<jiff::civil::DateTime>,
}

impl ParsedPayload {
    /// Reads the fields of a payload. A payload that is not in `format` has no fields.
    pub fn new(payload: &str, format: Format) -> ParsedPayload {
        let (mut fields, mut warnings) = (Fields::default(), Vec::new());
        match format {
            Format::Cef => cef_fields(payload, &mut fields, &mut warnings),
            Format::Json => json_fields(json::object(payload), &mut fields, &mut warnings),
            Format::Cps => {
                let outer = json::object(payload).unwrap_or_default();
                let event = outer.first().and_then(|event| json::object(event.value.get()));
                json_fields(event, &mut fields, &mut warnings);
            }
            Format::Pulled => pulled::fields(payload, &mut fields, &mut warnings),
        }
        let (own, without_year) = own_time(&fields, &mut warnings);
        let event_time = rt(&fields, &mut warnings).or(own);
        ParsedPayload { fields, warnings, event_time, without_year }
    }

    /// The kind of event.
    pub fn kind(&self) -> Kind {
        Kind::of(self.fields.text("name"))
    }

    /// The time to sort the entry by: the time of the event, or else the time in `event_ts` with
    /// the year guessed, or else `received_at`.
    pub fn time(&self, received_at: Millis) -> Millis {
        let newest = || time::guess_year(self.without_year?, received_at);
        self.event_time.or_else(newest).unwrap_or(received_at)
    }
}

/// The names of the header fields, in order.
const CEF_HEADER: [&str; 7] = [
    "cef_version",
    "event_vendor",
    "event_product",
    "event_version",
    "event_class_id",
    "name",
    "severity",
];

fn cef_fields(payload: &str, fields: &mut Fields, warnings: &mut Vec<Warning>) {
    let Some(line) = cef::split(payload) else { return };
    if let Some(timestamp) = cef::timestamp(line.prefix) {
        fields.add("event_ts", SentValue::Text(timestamp.into()), warnings);
    }
    for (name, value) in CEF_HEADER.into_iter().zip(line.header) {
        fields.add(name, SentValue::Text(cef::unescape_header(value)), warnings);
    }
    for extension in cef::extensions(line.extensions).filter(|e| e.key != "sig") {
        let value = SentValue::Text(cef::unescape_value(extension.value));
        // An extension may have the name of a header field.
        if CEF_HEADER.contains(&extension.key) {
            fields.add(&format!("extension.{}", extension.key), value, warnings);
        } else {
            fields.add(extension.key, value, warnings);
        }
    }
}

fn json_fields(
    members: Option<Vec<json::Member<'_>>>,
    fields: &mut Fields,
    warnings: &mut Vec<Warning>,
) {
    for member in members.into_iter().flatten().filter(|member| member.key != "sig") {
        let value = member.string().map_or(SentValue::Json(member.value), SentValue::Text);
        fields.add(&member.key, value, warnings);
    }
}

/// The time in `rt`, in milliseconds since the epoch.
fn rt(fields: &Fields, warnings: &mut Vec<Warning>) -> Option<Millis> {
    let time = match fields.get("rt")? {
        Value::Integer(millis) => Millis::new(*millis),
        _ => None,
    };
    if time.is_none() {
        Warning::BadTime.note(warnings);
    }
    time
}

/// The time in `event_ts`: a full time, or a time without a year.
fn own_time(
    fields: &Fields,
    warnings: &mut Vec<Warning>,
) -> (Option<Millis>, Option<jiff::civil::DateTime>) {
    match fields.text("event_ts").map(time::parse) {
        Some(ParsedTime::Full(time)) => (Some(time), None),
        Some(ParsedTime::NoYear(time)) => (None, Some(time)),
        Some(ParsedTime::OutOfRange) => {
            Warning::BadTime.note(warnings);
            (None, None)
        }
        Some(ParsedTime::NotATime) | None => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, format: Format, expected: &str, warnings: &[Warning]) {
        let read = ParsedPayload::new(payload, format);
        assert_eq!(serde_json::to_string(&read.fields).unwrap(), expected, "{payload}");
        assert_eq!(read.warnings, warnings, "{payload}");
    }

    #[test]
    fn fields_of_each_format() {
        check(
            "<5>Apr 14 05:39:08 h CEF:1|v|p|2|c|n|7|name=x rt=5 sig=a b src=1 src=2",
            Format::Cef,
            r#"{"event_ts":"Apr 14 05:39:08","cef_version":"1","event_vendor":"v","event_product":"p","event_version":"2","event_class_id":"c","name":"n","severity":7,"rt":5,"src":"1","extension.name":"x"}"#,
            &[Warning::DuplicateField],
        );
        check(
            r#"{"rt":"5","granted":"true","x":[1e400],"portal_id":null,"sig":1}"#,
            Format::Json,
            r#"{"rt":5,"granted":true,"x":[1e400]}"#,
            &[],
        );
        check(r#"{"event":{"name":"Ingress"}}"#, Format::Cps, r#"{"name":"Ingress"}"#, &[]);
        check("nothing", Format::Cef, "{}", &[]);
    }

    #[test]
    fn a_time_that_is_none_is_reported_and_the_next_one_counts() {
        for (rt, event_ts, event_time) in [
            ("5", "2025-01-01T00:00:00Z", Some(5)),
            ("-62135596800000", "1970-01-01T00:00:01Z", Some(1000)),
            ("9224318015999000000000", "1970-01-01T00:00:01Z", Some(1000)),
            ("7", "-000001-01-02T00:00:00Z", Some(7)),
            ("-1", "9999-13-01T00:00:00Z", None),
        ] {
            let read = ParsedPayload::new(
                &format!(r#"{{"rt":{rt},"event_ts":"{event_ts}"}}"#),
                Format::Json,
            );
            assert_eq!(read.event_time.map(Millis::get), event_time, "{rt} {event_ts}");
            assert_eq!(read.warnings.contains(&Warning::BadTime), rt != "5", "{rt} {event_ts}");
            let received = Millis::saturating(77);
            assert_eq!(read.time(received).get(), event_time.unwrap_or(77), "{rt} {event_ts}");
        }
    }
}
