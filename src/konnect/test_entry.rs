//! Delivers one made-up entry, to see whether a receiver takes deliveries.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, Uri};

use super::batch::Encoding;
use super::deliver::headers;
use super::generate::Generator;
use super::sign::place;
use crate::entry::{Format, Millis, Value};
use crate::net::{Client, ClientError};

/// The time limit for the answer. An overloaded receiver answers within 10 s.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The maximum size of the answer in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The `user_agent` of the entry, which says what it is.
const USER_AGENT: &str = "vidimus test entry";

/// A made-up entry in CEF, without a signature: like one of Konnect, but for its `user_agent`, which
/// says that it is a test. Without an `org_id`, one is made up.
pub(crate) fn test_entry(at: Millis, org_id: Option<String>) -> String {
    let mut generator = Generator::new(Rng::new().u64(..), org_id);
    // One of a Dev Portal would be of a made-up portal.
    let mut event = loop {
        let event = generator.event(at);
        if event.get("portal_id").is_none() {
            break event;
        }
    };
    event.extensions.retain(|(name, _)| *name != "user_agent");
    event.extensions.push(("user_agent", Value::Text(USER_AGENT.to_owned())));
    place(Format::Cef, &event.text(Format::Cef), None)
}

/// Delivers a line once, as Konnect does. Returns the answer and the time that it took.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn deliver_once(
    client: &Client,
    url: Uri,
    authorization: HeaderValue,
    line: String,
) -> (Result<Response<Bytes>, ClientError>, Duration) {
    let mut request = Request::new(Full::new(Bytes::from(line)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url;
    *request.headers_mut() = headers(Encoding::Identity, Some(authorization));
    send_once(client, request).await
}

/// Sends a request once. Returns the answer and the time that it took.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn send_once(
    client: &Client,
    request: Request<Full<Bytes>>,
) -> (Result<Response<Bytes>, ClientError>, Duration) {
    let start = Instant::now();
    let answer = client.send(request, MAX_ANSWER, TIMEOUT).await;
    (answer, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;

    #[test]
    fn a_test_entry_is_unsigned_and_says_what_it_is() {
        let org_id = "768dba25-8d63-48fe-9a1e-53b28dfb0f46".to_owned();
        let expected = ExpectedIds { org_ids: vec![org_id.clone()], ..ExpectedIds::default() };
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let line = Bytes::from(test_entry(
                Millis::saturating(1_760_000_000_000),
                Some(org_id.clone()),
            ));
            let entry = CheckedLine::new(&line, &KeySet::default(), 1 << 20).read(
                line.clone(),
                &expected,
                Millis::saturating(1_760_000_000_000),
            );
            let record = entry.into_record(
                crate::entry::record::Origin::Stored {
                    id: 1,
                    input: "default".into(),
                    received_at: Millis::MIN,
                    delivery_count: 1,
                },
                None,
            );
            assert_eq!(record.verdict.as_str(), "unsigned", "{line:?}");
            assert!(record.warnings.is_empty(), "{:?}", record.warnings);
            assert_eq!(record.fields.get("user_agent"), Some(&Value::Text(USER_AGENT.to_owned())));
            seen.insert(line);
        }
        // None is a duplicate of another.
        assert_eq!(seen.len(), 50);
    }
}
