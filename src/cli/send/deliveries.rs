//! Sends batches over several connections. A separate thread creates the batches.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Uri};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::super::exit::Failure;
use super::super::terminal::tell;
use super::lines::Body;
use super::report::Report;
use crate::konnect::deliver::{Attempt, RetryPolicy, deliver};
use crate::net::{Client, ClientError, ClientOptions};

/// The time limit for a response. An overloaded receiver answers within 10 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum size of a response in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// The maximum number of distinct warnings to print.
const MAX_WARNINGS: usize = 20;
/// The maximum length of a printed reason in characters.
const MAX_REASON: usize = 300;

/// The endpoint and how to deliver to it.
pub(super) struct Target {
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) options: ClientOptions,
    pub(super) connections: u16,
    /// The maximum number of entries per second.
    pub(super) rate: Option<u64>,
}

pub(super) struct Deliveries {
    target: Target,
    done: Mutex<Progress>,
}

/// The results so far.
struct Progress {
    report: Report,
    /// The file for acknowledged lines.
    acknowledged: Option<File>,
    /// The warnings already printed.
    printed: BTreeSet<String>,
}

/// The batches that the connections take in turn.
type Queue = tokio::sync::Mutex<mpsc::Receiver<Body>>;

impl Deliveries {
    /// Delivers to `target`, and appends acknowledged lines to `acknowledged`.
    pub(super) fn new(target: Target, acknowledged: Option<File>) -> Deliveries {
        let done = Progress { report: Report::default(), acknowledged, printed: BTreeSet::new() };
        Deliveries { target, done: Mutex::new(done) }
    }

    /// Delivers all batches, or as many as possible until interrupted.
    pub(super) fn run<I>(self, batches: I) -> Result<Report, Failure>
    where
        I: Iterator<Item = Result<Body, Failure>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime?;
        // One client per connection, because clones would share an HTTP/2 connection.
        let client = |_| Client::new(self.target.options.clone());
        let clients: Result<Vec<_>, _> = (0..self.target.connections).map(client).collect();
        let clients = clients.map_err(Failure::usage)?;
        let all = Arc::new(self);
        let (bodies, queue) = mpsc::channel(2 * clients.len());
        // The thread ends when there are no more batches, or when the queue is closed.
        let feeder = thread::spawn(move || feed(batches, &bodies));
        let start = Instant::now();
        let ended = runtime.block_on(async {
            tokio::select! {
                ended = all.clone().deliver(clients, queue, start) => ended.map(|()| false),
                _ = tokio::signal::ctrl_c() => Ok(true),
            }
        });
        let took = start.elapsed();
        let interrupted = ended?;
        // The tasks end with the runtime.
        drop(runtime);
        if !interrupted {
            feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        let mut report = std::mem::take(&mut all.done().report);
        report.interrupted = interrupted;
        report.sum_up(took);
        Ok(report)
    }

    /// Runs a task per client until all batches are sent.
    async fn deliver(
        self: Arc<Self>,
        clients: Vec<Client>,
        queue: mpsc::Receiver<Body>,
        start: Instant,
    ) -> Result<(), Failure> {
        let queue = Arc::new(Queue::new(queue));
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(Arc::clone(&self).connection(client, Arc::clone(&queue), start));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    async fn connection(
        self: Arc<Self>,
        client: Client,
        queue: Arc<Queue>,
        start: Instant,
    ) -> Result<(), Failure> {
        loop {
            let next = queue.lock().await.recv().await;
            let Some(body) = next else { return Ok(()) };
            if let Some(rate) = self.target.rate {
                let due = Duration::from_secs_f64(body.before as f64 / rate as f64);
                tokio::time::sleep_until((start + due).into()).await;
            }
            let attempts =
                deliver(RetryPolicy::KONNECT, || self.post(&client, body.encoded.clone())).await;
            self.done().add(&body, &attempts)?;
        }
    }

    async fn post(&self, client: &Client, body: Bytes) -> Result<u16, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.url.clone();
        *request.headers_mut() = self.target.headers.clone();
        let answer = client.send(request, MAX_ANSWER, TIMEOUT).await?;
        let status = answer.status();
        if !status.is_success() {
            let reason = reason(answer.body());
            let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
            self.done().tell(format!("the endpoint answered {status}{reason}"));
        }
        Ok(status.as_u16())
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    /// Prints a warning once.
    fn tell(&mut self, what: String) {
        // The text of an endpoint may differ each time.
        if self.printed.len() < MAX_WARNINGS && !self.printed.contains(&what) {
            tell(format_args!("warning: {what}"));
            self.printed.insert(what);
        }
    }

    fn add(&mut self, body: &Body, attempts: &[Attempt]) -> Result<(), Failure> {
        for error in attempts.iter().filter_map(|attempt| attempt.answer.as_ref().err()) {
            self.tell(error.to_string());
        }
        self.report.add(body.entries, attempts);
        let acknowledged = attempts.last().is_some_and(Attempt::acknowledged);
        match (&mut self.acknowledged, &body.lines) {
            // One unbuffered write, so that the lines are in the file whatever happens next.
            (Some(file), Some(lines)) if acknowledged => file.write_all(lines).map_err(|error| {
                Failure::failed(format!("cannot write the acknowledged lines: {error}"))
            }),
            _ => Ok(()),
        }
    }
}

/// The reason in a response: the detail of a problem (RFC 9457), the text of Splunk's HTTP Event
/// Collector, or the first line.
fn reason(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let member = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let first_line = || String::from_utf8_lossy(body).lines().next().unwrap_or_default().to_owned();
    let reason =
        ["detail", "title", "text"].into_iter().find_map(member).unwrap_or_else(first_line);
    reason.trim().chars().take(MAX_REASON).collect()
}

/// Sends batches to the queue until there are no more, or until the queue is closed.
fn feed(
    batches: impl Iterator<Item = Result<Body, Failure>>,
    bodies: &mpsc::Sender<Body>,
) -> Result<(), Failure> {
    for body in batches {
        if bodies.blocking_send(body?).is_err() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_its_reason() {
        let check = |body: &str, expected: &str| assert_eq!(reason(body.as_bytes()), expected);
        check(r#"{"title":"Unauthorized","status":401,"detail":"no value"}"#, "no value");
        check(r#"{"title":"Not Found"}"#, "Not Found");
        check(r#"{"text":"Invalid token","code":4}"#, "Invalid token");
        check("<html>\n<body>", "<html>");
        check("{}", "{}");
        check("", "");
        check(&"x".repeat(1000), &"x".repeat(MAX_REASON));
    }
}
