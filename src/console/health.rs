//! The health and readiness checks, and the metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::Console;
use super::api::Json;
use super::problem::Problem;
use crate::keys::KeyRing;
use crate::metrics::exposition;
use crate::source::journal::status::Trouble;
use crate::store::Health;

/// `GET /healthz`
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Readiness {
    store: &'static str,
    keys: &'static str,
    /// Left out if no source reads a journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<&'static str>,
    /// Left out if there is no archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<&'static str>,
    log: &'static str,
}

/// `GET /readyz`: 200 if the last write to the store succeeded, and every input with key sources
/// has a key, and neither the source that reads the journal nor an epoch of it nor the archiver is
/// stopped, if there are such, nor the signer of the transparency log. The process listens only once the store is open for writing.
///
/// After a failed write the store tests by itself whether it can write again. So the check recovers
/// even if a load balancer sends no deliveries meanwhile.
pub(super) async fn readyz(
    State(console): State<Arc<Console>>,
) -> Result<Json<Readiness>, Problem> {
    let journal = console.journal.as_ref().map(|status| status.trouble());
    let archive = console.archive.as_ref().map(|status| status.is_stopped());
    let stopped = Stopped { archive, log: console.log.is_stopped() };
    readiness(&console.health, &console.ring, journal, stopped).map(Json)
}

/// Which threads have stopped for good.
#[derive(Clone, Copy, Default)]
struct Stopped {
    /// The archiver. `None` if there is no archive.
    archive: Option<bool>,
    /// The signer of the transparency log.
    log: bool,
}

/// `journal` is the trouble of the source that reads the journal, if there is such a source.
fn readiness(
    health: &Health,
    ring: &KeyRing,
    journal: Option<Option<Trouble>>,
    stopped: Stopped,
) -> Result<Readiness, Problem> {
    // No token is needed here, so the errors of the store and of the threads are only logged.
    if health.trouble().is_some() {
        let detail = "the last write to the store failed; the log says why";
        return Err(Problem::not_ready(detail));
    }
    let waiting = ring.waiting();
    if !waiting.is_empty() {
        let detail = format!(
            "there are no keys yet for the input {}: its entries get the verdict no_key",
            waiting.join(", ")
        );
        return Err(Problem::not_ready(detail));
    }
    if let Some(Some(trouble)) = &journal {
        return Err(Problem::not_ready(trouble.in_public()));
    }
    if stopped.archive == Some(true) {
        return Err(Problem::not_ready("the store is not archived any more; the log says why"));
    }
    if stopped.log {
        let detail = "no checkpoint of the transparency log is signed any more; the log says why";
        return Err(Problem::not_ready(detail));
    }
    let keys = if ring.has_sources() { "ok" } else { "not needed" };
    Ok(Readiness {
        store: "ok",
        keys,
        journal: journal.map(|_| "ok"),
        archive: stopped.archive.map(|_| "ok"),
        log: "ok",
    })
}

/// `GET /metrics`
pub(super) async fn metrics(State(console): State<Arc<Console>>) -> Result<Response, Problem> {
    let shown = Arc::clone(&console);
    let text = console.read_for_metrics(move |reader| shown.metrics.text(reader)).await?;
    let mut answer = text.into_response();
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::entry::Millis;
    use crate::keys::InputVerification;
    use crate::signature::{Key, KeySet};
    use crate::source::journal::status::StoppedEpoch;
    use crate::store::Retirements;

    #[test]
    fn keys_are_needed_where_sources_are_named() {
        let ring = |inputs: HashMap<String, InputVerification>| {
            KeyRing::new(
                inputs,
                Retirements::always(Duration::from_secs(9)),
                100,
                (vec![], vec![]),
                Millis::MIN,
            )
        };
        let health = Health::default();
        let none = ring(HashMap::from([("a".to_owned(), InputVerification::default())]));
        let works = Stopped::default();
        let ready =
            Readiness { store: "ok", keys: "not needed", journal: None, archive: None, log: "ok" };
        assert_eq!(readiness(&health, &none, None, works), Ok(ready));
        let archive = |archive| Stopped { archive: Some(archive), ..works };
        let reading = readiness(&health, &none, Some(None), archive(false)).unwrap();
        assert_eq!((reading.journal, reading.archive), (Some("ok"), Some("ok")));
        let stopped = readiness(&health, &none, None, archive(true)).unwrap_err();
        assert!(stopped.detail.contains("is not archived any more"), "{}", stopped.detail);
        let stopped = readiness(&health, &none, None, Stopped { log: true, ..works }).unwrap_err();
        assert!(stopped.detail.contains("is signed any more"), "{}", stopped.detail);
        let stopped = Trouble::Stopped("collision".into());
        let stopped = readiness(&health, &none, Some(Some(stopped)), works).unwrap_err();
        assert_eq!(stopped.status, 503);
        assert!(!stopped.detail.contains("collision"), "{}", stopped.detail);
        let epoch = StoppedEpoch { epoch: 3, number: 1, why: "damaged".into() };
        let epoch =
            readiness(&health, &none, Some(Some(Trouble::Epoch(epoch))), works).unwrap_err();
        assert!(epoch.detail.contains("epoch 3 of the journal is stopped"), "{}", epoch.detail);

        let judged =
            InputVerification { sources: vec!["x".to_owned()], ..InputVerification::default() };
        let one = ring(HashMap::from([("a".to_owned(), judged)]));
        let problem = readiness(&health, &one, None, works).unwrap_err();
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("no keys yet for the input a"), "{}", problem.detail);
        one.enter("x", &KeySet::new([Arc::new(Key::new(None, [1; 32]))]), Millis::MIN);
        let ready = Readiness { store: "ok", keys: "ok", journal: None, archive: None, log: "ok" };
        assert_eq!(readiness(&health, &one, None, works), Ok(ready));
    }
}
