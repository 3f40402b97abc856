//! The console: a web page and a JSON API on an address of their own. It only reads.
//!
//! - [`guard`]: who may params: the `Host` header, the token, the headers of every answer.
//! - `compress`: answers as gzip.
//! - [`params`]: what is asked: the query, the range, the limit. [`problem`]: what is said if it is wrong.
//! - [`health`]: whether the program is alive and ready, and what it counts.
//! - [`api`]: entries, counts, the stream, deliveries, all as JSON. [`pages`]: the same to look at.
//! - [`raw`]: a line as it was received, to download.
//! - [`receiver_info`]: what the pages tell of the receiver.
//!
//! Every look at the store goes through [`Console::read`] (`look`), on a thread that may wait; only a
//! few are at work at once, so that whoever looks does not slow the receiver, and none for longer than
//! somebody waits. Metrics have a turn of their own.

mod api;
mod compress;
pub(crate) mod guard;
mod health;
mod pages;
mod params;
mod problem;
mod raw;
mod read_pool;
pub(crate) mod receiver_info;
mod throttle;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;
use tower_service::Service;

use self::guard::Guard;
use self::pages::HtmlProblem;
use self::problem::Problem;
use self::read_pool::{READ_TIMEOUT, ReadPool};
use self::receiver_info::ReceiverInfo;
use crate::keys::KeyRing;
use crate::metrics::Exposition;
use crate::net::{CloseConnection, Peer, RequestBody, Shutdown};
use crate::store::{Health, Reader, StoreError};

/// How many looks at the store are at work at once, to answer questions and for metrics.
const QUERY_READS: usize = 2;
const METRICS_READS: usize = 1;

/// What the console shows, and to whom.
#[derive(Debug)]
pub(crate) struct Console {
    reader: Arc<Reader>,
    /// The keys at hand.
    ring: Arc<KeyRing>,
    health: Arc<Health>,
    metrics: Exposition,
    receiver: ReceiverInfo,
    guard: Guard,
    /// Ends what goes on for ever.
    shutdown: Shutdown,
    query_pool: ReadPool,
    metrics_pool: ReadPool,
    /// Held by the one stream that looks at the store.
    streaming: Arc<Semaphore>,
}

impl Console {
    /// A console over a store.
    pub(crate) fn new(
        reader: Reader,
        ring: Arc<KeyRing>,
        health: Arc<Health>,
        metrics: Exposition,
        receiver: ReceiverInfo,
        guard: Guard,
        shutdown: Shutdown,
    ) -> Arc<Console> {
        let reader = Arc::new(reader);
        Arc::new(Console {
            query_pool: ReadPool::new(Arc::clone(&reader), QUERY_READS, READ_TIMEOUT),
            metrics_pool: ReadPool::new(Arc::clone(&reader), METRICS_READS, READ_TIMEOUT),
            reader,
            ring,
            health,
            metrics,
            receiver,
            guard,
            shutdown,
            streaming: Arc::new(Semaphore::new(1)),
        })
    }

    /// Everything that it answers.
    pub(crate) fn router(self: &Arc<Console>) -> Router {
        let guard = axum::middleware::from_fn_with_state(Arc::clone(self), guard::check);
        Router::new()
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .route("/api/openapi.json", get(api::description))
            .nest("/api/v1", api::router())
            .merge(pages::router())
            .fallback(missing)
            .method_not_allowed_fallback(wrong_method)
            .layer(guard)
            .layer(axum::middleware::from_fn(compress::compress))
            .with_state(Arc::clone(self))
    }

    /// Does `work` with the store, on a thread that may wait. It ends with whoever asked.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.query_pool.run(work).await
    }

    /// The same for what is small and must not wait behind questions.
    async fn read_for_metrics<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.metrics_pool.run(work).await
    }
}

/// Answers one request of `peer`.
pub(crate) async fn handle(
    mut router: Router,
    mut request: Request<RequestBody>,
    peer: Peer,
) -> Result<Response<Body>, CloseConnection> {
    request.extensions_mut().insert(peer);
    let answered: Result<_, Infallible> = router.call(request.map(Body::new)).await;
    answered.map_err(|never| match never {})
}

async fn missing(headers: HeaderMap) -> Response<Body> {
    problem_response(Problem::not_found("there is nothing at this path"), &headers)
}

async fn wrong_method(headers: HeaderMap) -> Response<Body> {
    problem_response(Problem::method_not_allowed(), &headers)
}

/// A problem as whoever asks reads it: a person a page, and a program JSON.
fn problem_response(problem: Problem, headers: &HeaderMap) -> Response<Body> {
    match guard::accepts_html(headers) {
        true => HtmlProblem(problem).into_response(),
        false => problem.into_response(),
    }
}
