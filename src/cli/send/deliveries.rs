//! The deliveries: several connections side by side, fed with batches by a thread of its own.

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
use crate::konnect::deliver::{Attempt, Retry, deliver};
use crate::net::{Client, ClientError, ClientOptions};

/// How long an answer may take. A receiver that is overloaded answers within 10 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Where and how to deliver.
pub(super) struct Target {
    pub(super) url: Uri,
    pub(super) headers: HeaderMap,
    pub(super) options: ClientOptions,
    pub(super) connections: u16,
    /// At most so many entries a second.
    pub(super) rate: Option<u64>,
}

/// The deliveries under way.
pub(super) struct Deliveries {
    target: Target,
    done: Mutex<Done>,
}

/// What became of them so far.
struct Done {
    report: Report,
    /// To which the lines are appended that were acknowledged.
    acknowledged: Option<File>,
    /// What went wrong, each told once.
    told: BTreeSet<String>,
}

/// The batches to come, which the connections take in turn.
type Queue = tokio::sync::Mutex<mpsc::Receiver<Body>>;

impl Deliveries {
    /// Deliveries to `target`; to `acknowledged` the lines are appended that were.
    pub(super) fn new(target: Target, acknowledged: Option<File>) -> Deliveries {
        let done = Done { report: Report::default(), acknowledged, told: BTreeSet::new() };
        Deliveries { target, done: Mutex::new(done) }
    }

    /// Delivers all batches, or those that there is time for until it is interrupted.
    pub(super) fn run<I>(self, batches: I) -> Result<Report, Failure>
    where
        I: Iterator<Item = Result<Body, Failure>> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::failed)?;
        // A client of its own for each: clones would share one connection of HTTP/2.
        let client = |_| Client::new(self.target.options.clone());
        let clients: Result<Vec<_>, _> = (0..self.target.connections).map(client).collect();
        let clients = clients.map_err(Failure::usage)?;
        let all = Arc::new(self);
        let (bodies, queue) = mpsc::channel(2 * clients.len());
        // It ends when it has no more batches, or nobody takes them.
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
        // The tasks end with their runtime.
        drop(runtime);
        if !interrupted {
            feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        let mut report = std::mem::take(&mut all.done().report);
        report.interrupted = interrupted;
        report.sum_up(took);
        Ok(report)
    }

    /// A task for each client, until the batches are through.
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
            ended.map_err(Failure::failed)??;
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
                deliver(Retry::KONNECT, || self.post(&client, body.encoded.clone())).await;
            self.done().add(&body, &attempts)?;
        }
    }

    async fn post(&self, client: &Client, body: Bytes) -> Result<u16, ClientError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.target.url.clone();
        *request.headers_mut() = self.target.headers.clone();
        Ok(client.send(request, MAX_ANSWER, TIMEOUT).await?.status().as_u16())
    }

    fn done(&self) -> std::sync::MutexGuard<'_, Done> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Done {
    fn add(&mut self, body: &Body, attempts: &[Attempt]) -> Result<(), Failure> {
        for error in attempts.iter().filter_map(|attempt| attempt.answer.as_ref().err()) {
            if self.told.insert(error.to_string()) {
                tell(format_args!("warning: {error}"));
            }
        }
        self.report.add(body.entries, attempts);
        let acknowledged = attempts.last().is_some_and(Attempt::acknowledged);
        match (&mut self.acknowledged, &body.lines) {
            // One write, not buffered: it is there whatever happens next.
            (Some(file), Some(lines)) if acknowledged => file.write_all(lines).map_err(|error| {
                Failure::failed(format!("cannot write down what was acknowledged: {error}"))
            }),
            _ => Ok(()),
        }
    }
}

/// Hands batches on until there are no more, or nobody takes them.
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
