//! The meaning of a response: accepted, rejected for good, or to be retried.
//!
//! Only responses about entries reject for good: 400, 413 and 422 (RFC 9110, section 15.5). A
//! response that may be about the endpoint, the settings or the credentials does not: an expired
//! token must not turn the whole store into dead letters. Then the output waits, and its error says
//! what to check.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap, LOCATION};

use super::settings::{Body, HttpSettings};
use super::splunk::{self, ErrorCause};
use crate::sanitise::sanitise;

/// A complete response.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The pause that it asks for.
    pub(super) retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// From the first byte of the request to the last of the response.
    pub(super) took: Duration,
    pub(super) redactor: Redactor,
}

/// The meaning of a response to a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    /// The batch is accepted. A `_bulk` has a result for each document besides.
    Accepted,
    /// One of its entries is rejected for good.
    Rejected {
        /// The reason, as the endpoint gave it.
        why: String,
        /// The index of the entry, if the response names it.
        first: Option<usize>,
    },
    /// The batch has to be sent again later.
    Retry {
        /// The reason, as the endpoint gave it, and what to check.
        why: String,
    },
}

/// The maximum length of an excerpt of a response, and of a whole message, in characters.
const MOST_SAID: usize = 200;
const MOST: usize = 600;

/// How many bytes of a response an excerpt is made of.
const LOOKED_AT: usize = 16 << 10;

/// The minimum length of a secret that is hidden. A shorter one may be an ordinary word.
const SHORTEST: usize = 8;

/// Makes the text of an endpoint safe to show: hides our secrets, which it may repeat, and control
/// characters.
#[derive(Clone)]
pub(super) struct Redactor(Arc<[String]>);

impl Redactor {
    /// Hides `secrets`.
    pub(super) fn hiding(mut secrets: Vec<String>) -> Redactor {
        secrets.retain(|secret| secret.len() >= SHORTEST);
        // One may be a part of another, so the longest comes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Redactor(secrets.into())
    }

    /// An excerpt of a text.
    pub(super) fn of(&self, text: &str) -> String {
        self.first(text, MOST_SAID)
    }

    /// A whole message with such excerpts.
    pub(super) fn all(&self, text: &str) -> String {
        self.first(text, MOST)
    }

    fn first(&self, text: &str, most: usize) -> String {
        let hidden = self
            .0
            .iter()
            .fold(text.trim().to_owned(), |text, secret| text.replace(secret, "(hidden)"));
        let safe = sanitise(&hidden);
        match safe.char_indices().nth(most) {
            Some((end, _)) => format!("{}…", safe.get(..end).unwrap_or_default()),
            None => safe.into_owned(),
        }
    }
}

impl Answer {
    /// An excerpt of the body.
    pub(super) fn said(&self) -> String {
        match self.headers.get(CONTENT_ENCODING) {
            Some(encoding) if encoding != "identity" => {
                // The request did not accept any encoding.
                self.redactor
                    .of(&format!("(encoded as {})", encoding.to_str().unwrap_or("something")))
            }
            _ => {
                let start = self.body.get(..LOOKED_AT).unwrap_or(&self.body);
                self.redactor.of(&String::from_utf8_lossy(start))
            }
        }
    }

    /// The status and an excerpt of the body.
    pub(super) fn shown(&self) -> String {
        let code = self.status.as_u16();
        let mut shown = match self.status.canonical_reason() {
            Some(reason) => format!("{code} {reason}"),
            None => code.to_string(),
        };
        let said = self.said();
        if !said.is_empty() {
            shown = format!("{shown}: {said}");
        }
        shown
    }
}

/// The meaning of a response to a batch.
pub(super) fn classify(settings: &HttpSettings, answer: &Answer) -> BatchOutcome {
    let refused = |first| BatchOutcome::Rejected { why: answer.shown(), first };
    let waits = |advice: &str| BatchOutcome::Retry {
        why: match advice.is_empty() {
            true => format!("it answered {}", answer.shown()),
            false => format!("it answered {}; {advice}", answer.shown()),
        },
    };
    match (answer.status.as_u16(), settings.body) {
        (200..300, _) => BatchOutcome::Accepted,
        (413, _) => refused(None),
        // An error of a document is in its item.
        (400 | 422, Body::Bulk) => waits("that is about the URL, the index or the action"),
        // The body is always an array of objects, so it is not an entry that is at fault.
        (400 | 422, Body::LogsIngestion) => waits(
            "that is about the stream in url, its columns, or api-version: look at the data \
             collection rule",
        ),
        (403, Body::LogsIngestion) => waits(
            "the application needs the role Monitoring Metrics Publisher on the data collection \
             rule; a new assignment takes a while",
        ),
        (400, Body::HecEvent | Body::HecRaw) => match splunk::error_cause(&answer.body) {
            ErrorCause::Entries(first) => refused(first),
            ErrorCause::Settings => waits("that is about the index, the token or its settings"),
        },
        (400 | 422, _) => refused(None),
        (300..400, _) => waits(&redirected(answer)),
        (401 | 403 | 407, _) => waits(
            "look at what the credentials are (authorization, authorization_file, token_file, \
             username, client_id, headers, cert_file) and at what they may do",
        ),
        (404 | 405 | 410, body) => waits(&path_hint(settings, body)),
        (406 | 415, _) => waits("it takes other requests: look at body, format and compress"),
        _ => waits(""),
    }
}

fn redirected(answer: &Answer) -> String {
    let location = answer.headers.get(LOCATION).and_then(|location| location.to_str().ok());
    // The query may contain a secret.
    match location.and_then(|location| location.split(['?', '#']).next()) {
        Some(to) => {
            format!("redirections are not followed, this one is to {}", answer.redactor.of(to))
        }
        None => "redirections are not followed".to_owned(),
    }
}

/// A hint about the path of the URL.
fn path_hint(settings: &HttpSettings, body: Body) -> String {
    let path = settings.url.uri().path().trim_end_matches('/');
    let usual = match body {
        Body::Lines | Body::Array => return "is the path of url right?".to_owned(),
        Body::HecEvent => "/services/collector/event",
        Body::HecRaw => "/services/collector/raw",
        Body::Bulk => "/_bulk",
        Body::LogsIngestion => {
            return "is url the logs ingestion endpoint of the rule, with its immutable id?"
                .to_owned();
        }
    };
    match path.ends_with(usual) {
        true => "is this the endpoint?".to_owned(),
        false => format!("with body = \"{body}\" the path of url usually ends in {usual}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::http::tests::settings;

    fn answered(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
            took: Duration::ZERO,
            redactor: Redactor::hiding(vec![]),
        }
    }

    /// Checks the meaning of a response: `taken`, `refused`, or why it is retried.
    fn check(url: &str, keys: &str, status: u16, body: &str, expected: &str) {
        let (settings, _) = settings(&format!("https://a.test{url}"), keys);
        let found = match classify(&settings, &answered(status, body)) {
            BatchOutcome::Accepted => "taken".to_owned(),
            BatchOutcome::Rejected { first, .. } => format!("refused {first:?}"),
            BatchOutcome::Retry { why } => why,
        };
        assert!(found.contains(expected), "{keys} {status} {body}: {found}");
    }

    #[test]
    fn only_responses_about_entries_reject_for_good() {
        let lines = |status, expected: &str| check("/in", "", status, "", expected);
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "taken"),
            (&[400, 413, 422], "refused None"),
            (&[401, 403, 407], "look at what the credentials are"),
            (&[404, 405, 410], "is the path of url right?"),
            (&[406, 415], "look at body, format and compress"),
            (&[301, 302, 307, 308], "redirections are not followed"),
        ] {
            statuses.iter().for_each(|status| lines(*status, expected));
        }
        for status in [402, 408, 409, 411, 414, 418, 425, 429, 431, 499, 500, 502, 503, 504, 599] {
            lines(status, &format!("it answered {status}"));
        }
    }

    #[test]
    fn splunk_and_bulk_have_answers_of_their_own() {
        let event = |status, body: &str, expected: &str| {
            check("/services/collector/event", "body = 'hec_event'", status, body, expected);
        };
        event(
            400,
            r#"{"text":"Invalid data format","code":6,"invalid-event-number":2}"#,
            "refused Some(2)",
        );
        event(400, r#"{"text":"Incorrect index","code":7}"#, "that is about the index");
        event(
            403,
            r#"{"text":"Invalid token","code":4}"#,
            "403 Forbidden: {\"text\":\"Invalid token\"",
        );
        event(
            503,
            r#"{"text":"Server is busy","code":9}"#,
            "it answered 503 Service Unavailable: ",
        );
        event(404, "", "is this the endpoint?");
        check("/in", "body = 'hec_event'", 404, "", "usually ends in /services/collector/event");
        check("/in", "body = 'hec_raw'", 405, "", "usually ends in /services/collector/raw");
        let bulk = "body = 'bulk'\nindex = 'a'";
        check("/in", bulk, 404, "", "usually ends in /_bulk");
        check("/_bulk", bulk, 400, "", "that is about the URL, the index or the action");
        check("/_bulk", bulk, 413, "", "refused None");
        check("/_bulk", bulk, 200, "", "taken");
        let stream = "/dataCollectionRules/dcr-1/streams/Custom-A?api-version=2023-01-01";
        let ingestion = |status, expected| {
            let error = r#"{"error":{"code":"x","message":"because"}}"#;
            check(stream, "body = 'logs_ingestion'", status, error, expected);
        };
        ingestion(204, "taken");
        ingestion(413, "refused None");
        ingestion(400, "that is about the stream in url, its columns, or api-version");
        ingestion(401, "look at what the credentials are");
        ingestion(403, "because\"}}; the application needs the role Monitoring Metrics Publisher");
        ingestion(404, "is url the logs ingestion endpoint of the rule");
        ingestion(429, "it answered 429 Too Many Requests: ");
    }

    #[test]
    fn words_are_few_and_safe() {
        let words =
            Redactor::hiding(vec!["short".into(), "Bearer 12345678".into(), "12345678".into()]);
        let check = |text: &str, expected: &str| assert_eq!(words.of(text), expected);
        check(" a\tshort \u{202e}b\n", "a short \u{fffd}b");
        check("x Bearer 12345678 12345678 1234567", "x (hidden) (hidden) 1234567");
        check(&"é".repeat(300), &format!("{}…", "é".repeat(200)));
    }
}
