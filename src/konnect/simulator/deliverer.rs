//! Delivers batches: signs, compresses, posts and retries them.
//!
//! The [`webhook`](super::webhook) decides what is sent and when.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};
use serde::Serialize;

use super::core::Core;
use super::webhook::{AttemptResult, BatchOutcome, DueBatch, DueLimits, QueueName};
use crate::entry::Format;
use crate::konnect::api::WebhookScope;
use crate::konnect::batch::Encoding;
use crate::konnect::deliver::{Attempt, headers};
use crate::net::ClientError;

/// The maximum size of a response in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The maximum length of the message in the webhook's status, in characters.
const MAX_MESSAGE: usize = 256;

/// An attempt in the response to `/simulate/deliver`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AttemptReport {
    /// `organization`, or the id of the Dev Portal.
    pub(super) webhook: String,
    /// Whether the batch belongs to a replay.
    pub(super) replay: bool,
    /// The number of entries.
    pub(super) entries: usize,
    /// The number of the attempt, from 1.
    pub(super) attempt: usize,
    /// The status of the response, if there was one.
    pub(super) status: Option<u16>,
    /// The text of the response, or the error.
    pub(super) message: String,
    /// The outcome; `None` if the webhook was changed meanwhile.
    pub(super) outcome: Option<BatchOutcome>,
    /// The wait before the next attempt, in milliseconds.
    pub(super) wait_ms: Option<u64>,
}

struct DeliveryTarget {
    endpoint: String,
    authorization: Option<HeaderValue>,
    insecure: bool,
    format: Format,
}

impl Core {
    /// Delivers everything that is due for a webhook, and returns the attempts. `at_once` retries without
    /// waiting. Entries that are added meanwhile are not delivered.
    pub(super) async fn deliver(&self, scope: &WebhookScope, at_once: bool) -> Vec<AttemptReport> {
        let Some(turn) = self.turns.get(scope) else { return Vec::new() };
        let _turn = turn.lock().await;
        let until = self.organization().log.end();
        let mut reports = Vec::new();
        while let Some((work, target)) = self.next(scope, until, at_once) {
            let result = match self.body(scope, &work, target.format).await {
                Ok(body) => self.post(target, body).await,
                Err(message) => {
                    AttemptResult { status: None, message, acknowledged: false, temporary: false }
                }
            };
            let (status, message) = (result.status, result.message.clone());
            let settled = {
                let (mut organization, now) = (self.organization(), self.clock.now());
                let webhook = organization.webhook_mut(scope).ok();
                webhook.and_then(|(webhook, log)| {
                    webhook.settle(&work, result, self.delivery.retry, now, log.end())
                })
            };
            tracing::debug!(webhook = %scope, entries = work.entries.len(), ?status, ?settled);
            reports.push(AttemptReport {
                webhook: scope.to_string(),
                replay: work.queue == QueueName::Replay,
                entries: work.entries.len(),
                attempt: settled.map_or(1, |settled| settled.attempt),
                status,
                message,
                outcome: settled.map(|settled| settled.outcome),
                wait_ms: settled.and_then(|settled| settled.wait).map(millis),
            });
        }
        reports
    }

    /// Delivers everything that is due for every webhook, one after the other.
    pub(super) async fn deliver_all(&self, at_once: bool) -> Vec<AttemptReport> {
        let mut reports = Vec::new();
        for scope in self.turns.keys() {
            reports.extend(self.deliver(scope, at_once).await);
        }
        reports
    }

    fn next(
        &self,
        scope: &WebhookScope,
        until: u64,
        at_once: bool,
    ) -> Option<(DueBatch, DeliveryTarget)> {
        let mut organization = self.organization();
        let due = DueLimits { now: self.clock.now(), at_once, until, batch: self.delivery.batch };
        let (webhook, log) = organization.webhook_mut(scope).ok()?;
        let work = webhook.take(log, scope, due)?;
        let id = webhook.destination()?.to_owned();
        let stored = organization.destinations.get(&id)?;
        let authorization = stored.authorization.as_ref();
        let target = DeliveryTarget {
            endpoint: stored.shown.endpoint.clone(),
            authorization: authorization.and_then(|one| HeaderValue::from_str(one.expose()).ok()),
            insecure: stored.shown.skip_ssl_verification,
            format: stored.shown.log_format,
        };
        Some((work, target))
    }

    /// The body of a batch, which is the same in all attempts.
    async fn body(
        &self,
        scope: &WebhookScope,
        work: &DueBatch,
        format: Format,
    ) -> Result<Bytes, String> {
        if let Some(body) = &work.body {
            return Ok(body.clone());
        }
        let (entries, encoding) = (work.entries.clone(), self.delivery.encoding);
        // Signing hundreds of entries takes long.
        let made = tokio::task::spawn_blocking(move || {
            let mut lines = Vec::with_capacity(entries.len());
            entries.iter().for_each(|entry| entry.write(format, &mut lines));
            encode(encoding, &lines)
        });
        let body =
            made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if let Ok((webhook, _)) = self.organization().webhook_mut(scope) {
            webhook.keep(work, &body);
        }
        Ok(body)
    }

    async fn post(&self, target: DeliveryTarget, body: Bytes) -> AttemptResult {
        let start = Instant::now();
        let client = if target.insecure { &self.insecure } else { &self.verifying };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        *request.headers_mut() = headers(self.delivery.encoding, target.authorization);
        let sent = match target.endpoint.parse::<Uri>() {
            Ok(uri) => {
                *request.uri_mut() = uri;
                client.send(request, MAX_ANSWER, self.delivery.timeout).await
            }
            Err(_) => {
                Err(ClientError::Url { url: target.endpoint, why: "expected an absolute URL" })
            }
        };
        let message = match &sent {
            Ok(answer) => message(answer.status(), answer.body()),
            Err(error) => error.without_advice().chars().take(MAX_MESSAGE).collect(),
        };
        let answer = sent.map(|answer| answer.status().as_u16());
        let attempt = Attempt { answer, took: start.elapsed() };
        AttemptResult {
            acknowledged: attempt.acknowledged(),
            temporary: attempt.is_temporary(),
            status: attempt.answer.ok(),
            message,
        }
    }
}

fn encode(encoding: Encoding, lines: &[String]) -> std::io::Result<Bytes> {
    encoding.encode(lines.join("\n").into_bytes())
}

/// The body of the response, or the reason phrase of its status.
fn message(status: StatusCode, body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    match body.trim() {
        "" => status.canonical_reason().unwrap_or_default().to_owned(),
        text => text.chars().take(MAX_MESSAGE).collect(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
