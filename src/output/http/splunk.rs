//! Splunk's HTTP Event Collector: events with their metadata, and its error codes.
//!
//! Defined by: Splunk, "Format events for HTTP Event Collector" (keys of an event, `fields`), "HTTP
//! Event Collector REST API endpoints" and "Troubleshoot HTTP Event Collector" (codes,
//! `invalid-event-number`, the channel).

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::settings::HttpSettings;
use crate::entry::Record;
use crate::net::percent_encoded;
use crate::random::uuid;

/// One event. `line` is JSON.
pub(super) fn event(settings: &HttpSettings, record: &Record, line: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(line.len() + 256);
    event.push(b'{');
    if let Some(time) = time(record) {
        event.extend_from_slice(format!("\"time\":{time},").as_bytes());
    }
    for (name, value) in labels(settings) {
        event.extend_from_slice(format!("\"{name}\":{},", json!(value)).as_bytes());
    }
    event.extend_from_slice(format!("\"fields\":{},\"event\":", fields(record)).as_bytes());
    event.extend_from_slice(line);
    event.push(b'}');
    event
}

/// The labels of every event, as the query of `/raw`.
pub(super) fn query(settings: &HttpSettings) -> String {
    let pair = |(name, value)| format!("{name}={}", percent_encoded(value));
    labels(settings).map(pair).collect::<Vec<_>>().join("&")
}

/// A channel: a random UUID, which stays the same while the output runs.
pub(super) fn channel() -> String {
    uuid(&mut fastrand::Rng::new())
}

/// The cause of a 400.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ErrorCause {
    /// An entry, with its index in the batch if the response names it.
    Entries(Option<usize>),
    /// The index, the channel or the token, or something unknown.
    Settings,
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<i64>,
    #[serde(rename = "invalid-event-number")]
    number: Option<usize>,
}

/// The cause of a 400 with this body.
pub(super) fn error_cause(body: &[u8]) -> ErrorCause {
    match serde_json::from_slice(body) {
        // No data, invalid data format, event field required or blank, error in indexed fields.
        Ok(ErrorBody { code: Some(5 | 6 | 12 | 13 | 15), number }) => ErrorCause::Entries(number),
        // Incorrect index, data channel missing or invalid, acknowledgement disabled, and others.
        Ok(ErrorBody { code: Some(_), .. }) => ErrorCause::Settings,
        // The endpoint is not Splunk, and cannot parse the request.
        _ => ErrorCause::Entries(None),
    }
}

fn labels(settings: &HttpSettings) -> impl Iterator<Item = (&'static str, &str)> {
    let HttpSettings { index, source, sourcetype, host, .. } = settings;
    [("index", index), ("source", source), ("sourcetype", sourcetype), ("host", host)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
}

/// Seconds since the Unix epoch, with milliseconds.
fn time(record: &Record) -> Option<String> {
    let millis = record.time.or(record.received_at())?.get();
    (millis >= 0).then(|| format!("{}.{:03}", millis / 1000, millis % 1000))
}

/// The indexed fields of an event. Their names do not collide with the fields that Splunk extracts
/// from the event. `fields` is a flat object of strings.
fn fields(record: &Record) -> Json {
    let id = record.id().map(|id| id.to_string());
    let fields = [
        ("vidimus_id", id),
        ("vidimus_verdict", Some(record.verdict.to_string())),
        ("vidimus_reason", record.reason.clone()),
        ("vidimus_kid", record.kid.clone()),
        ("vidimus_kind", record.kind.map(|kind| kind.to_string())),
    ];
    let present =
        fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    Json::Object(present.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::http::tests::settings;

    #[test]
    fn a_query_has_the_labels_of_the_settings() {
        let check = |keys: &str, expected: &str| {
            let keys = format!("body = 'hec_raw'\n{keys}");
            assert_eq!(query(&settings("https://a.test/", &keys).0), expected);
        };
        check("", "");
        check("index = 'main'", "index=main");
        check(
            "source = 'a b&c=d'\nsourcetype = 'kong:\u{e9}'\nhost = 'h-1.x'",
            "source=a%20b%26c%3Dd&sourcetype=kong%3A%C3%A9&host=h-1.x",
        );
    }

    #[test]
    fn a_channel_is_a_random_uuid() {
        let (one, other) = (channel(), channel());
        assert_ne!(one, other);
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{one}");
        assert_eq!(one.chars().nth(14), Some('4'), "{one}");
        assert!(one.chars().nth(19).is_some_and(|c| "89ab".contains(c)), "{one}");
    }

    #[test]
    fn a_400_is_about_entries_or_about_settings() {
        let check = |body: &str, expected: ErrorCause| {
            assert_eq!(error_cause(body.as_bytes()), expected, "{body}");
        };
        check(r#"{"text":"No data","code":5}"#, ErrorCause::Entries(None));
        for code in [6, 12, 13, 15] {
            let body = json!({"text": "x", "code": code, "invalid-event-number": 3});
            check(&body.to_string(), ErrorCause::Entries(Some(3)));
        }
        for code in [7, 10, 11, 14, 16, 99] {
            check(&json!({"text": "x", "code": code}).to_string(), ErrorCause::Settings);
        }
        for other in
            ["", "<html>", "{}", r#"{"code":"6"}"#, r#"{"code":6,"invalid-event-number":-1}"#]
        {
            check(other, ErrorCause::Entries(None));
        }
    }
}
