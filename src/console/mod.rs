//! The console: web pages and a JSON API on an address of their own. It writes nothing itself. If
//! actions are allowed, it asks other modules to.
//!
//! - [`guard`]: access control: the `Host` header, the token, the security headers. `throttle`:
//!   limits wrong tokens.
//! - [`actions`]: the check of a request that acts, and its record.
//! - `compress`: gzip.
//! - [`params`]: the query parameters. [`problem`]: errors.
//! - [`health`]: health, readiness and metrics. [`bare`]: the same, of a process without a store.
//! - [`api`]: the JSON API. [`pages`]: the web pages.
//! - `log`: the transparency log.
//! - [`raw`]: downloads of raw lines. `download`: downloads of files. `evidence`: downloads of evidence
//!   bundles.
//! - [`lag`]: samples of the outputs' lag.
//! - [`receiver_info`]: what the pages show about the receiver.
//!
//! Every read of the store goes through [`Console::read`] (`read_pool`), on a blocking thread. Only
//! a few reads run at once, so that the console does not slow the receiver. A read ends when its
//! client disconnects. Metrics have a pool of their own.

pub(crate) mod actions;
mod api;
pub(crate) mod bare;
mod compress;
mod download;
mod evidence;
pub(crate) mod guard;
mod health;
mod lag;
mod log;
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

use self::actions::Actions;
use self::guard::Guard;
use self::lag::LagSamples;
use self::log::LogPages;
use self::pages::{HtmlProblem, KeptHealth};
use self::problem::Problem;
use self::read_pool::{READ_TIMEOUT, ReadPool};
use self::receiver_info::ReceiverInfo;
use crate::archive::archiver::status::ArchiveStatus;
use crate::evidence::signed::SignedLog;
use crate::keys::KeyRing;
use crate::log::checkpoints::Checkpoints;
use crate::log::status::LogStatus;
use crate::metrics::Exposition;
use crate::net::{CloseConnection, Peer, RequestBody, ServerTls, Shutdown};
use crate::output::Outputs;
use crate::receiver::InputEndpoint;
use crate::receiver::deliver::Deliverer;
use crate::source::journal::status::SourceStatus;
use crate::store::{Health, Reader, StoreError};

/// The number of concurrent reads of the store, for requests and for metrics.
const QUERY_READS: usize = 2;
const METRICS_READS: usize = 1;

pub(crate) struct Console {
    reader: Arc<Reader>,
    ring: Arc<KeyRing>,
    health: Arc<Health>,
    metrics: Exposition,
    /// How far the journal was read, if a source reads it.
    journal: Option<Arc<SourceStatus>>,
    /// How the archiver stands, if there is an archive.
    archive: Option<Arc<ArchiveStatus>>,
    /// How the signer of the transparency log stands.
    log: Arc<LogStatus>,
    checkpoints: Checkpoints,
    /// What evidence bundles are made of.
    signed_log: SignedLog,
    receiver: ReceiverInfo,
    /// What the receiver stores deliveries with, keeps requests in, and injects faults from.
    deliverer: Arc<Deliverer>,
    outputs: Arc<Outputs>,
    inputs: Vec<Arc<InputEndpoint>>,
    tls: Option<Arc<ServerTls>>,
    actions: Actions,
    guard: Arc<Guard>,
    /// Ends the streams.
    shutdown: Shutdown,
    query_pool: ReadPool,
    metrics_pool: ReadPool,
    health_line: KeptHealth,
    lag: LagSamples,
    /// The one permit belongs to the stream that polls the store.
    streaming: Arc<Semaphore>,
}

/// What the console is made of.
pub(crate) struct Parts {
    pub(crate) reader: Reader,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Exposition,
    /// How far the journal was read, if a source reads it.
    pub(crate) journal: Option<Arc<SourceStatus>>,
    /// How the archiver stands, if there is an archive.
    pub(crate) archive: Option<Arc<ArchiveStatus>>,
    /// How the signer of the transparency log stands.
    pub(crate) log: Arc<LogStatus>,
    pub(crate) checkpoints: Checkpoints,
    /// What evidence bundles are made of.
    pub(crate) signed_log: SignedLog,
    pub(crate) receiver: ReceiverInfo,
    pub(crate) deliverer: Arc<Deliverer>,
    pub(crate) outputs: Arc<Outputs>,
    /// The inputs with their authorization values.
    pub(crate) inputs: Vec<Arc<InputEndpoint>>,
    /// The certificate of the receiver.
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) actions: Actions,
    pub(crate) guard: Guard,
    /// Ends the streams.
    pub(crate) shutdown: Shutdown,
}

impl Console {
    pub(crate) fn new(parts: Parts) -> Arc<Console> {
        let Parts { ring, health, metrics, receiver, deliverer, outputs, inputs, .. } = parts;
        let Parts { journal, archive, log, checkpoints, tls, actions, guard, shutdown, .. } = parts;
        let signed_log = parts.signed_log;
        let reader = Arc::new(parts.reader);
        Arc::new(Console {
            query_pool: ReadPool::new(Arc::clone(&reader), QUERY_READS, READ_TIMEOUT),
            metrics_pool: ReadPool::new(Arc::clone(&reader), METRICS_READS, READ_TIMEOUT),
            reader,
            ring,
            health,
            metrics,
            journal,
            archive,
            log,
            checkpoints,
            signed_log,
            receiver,
            deliverer,
            outputs,
            inputs,
            tls,
            actions,
            guard: Arc::new(guard),
            shutdown,
            health_line: KeptHealth::default(),
            lag: LagSamples::default(),
            streaming: Arc::new(Semaphore::new(1)),
        })
    }

    /// The routes of the console.
    pub(crate) fn router(self: &Arc<Console>) -> Router {
        let guard = axum::middleware::from_fn_with_state(Arc::clone(&self.guard), guard::check);
        Router::new()
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/metrics", get(health::metrics))
            .merge(self.log_pages(!self.guard.asks_for_token()).router())
            .route("/api/openapi.json", get(api::description))
            .nest("/api/v1", api::router())
            .merge(pages::router())
            .fallback(missing)
            .method_not_allowed_fallback(wrong_method)
            .layer(guard)
            .layer(axum::middleware::from_fn(compress::compress))
            .with_state(Arc::clone(self))
    }

    /// The routes of an address that has the transparency log alone, for everybody.
    pub(crate) fn log_router(&self) -> Router {
        self.log_pages(true).router_alone()
    }

    fn log_pages(&self, is_public: bool) -> LogPages {
        LogPages::new(Arc::clone(&self.reader), self.checkpoints.clone(), is_public)
    }

    /// Runs `work` on a blocking thread. It is interrupted when the client disconnects.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.query_pool.run(work).await
    }

    /// Runs `work`, which blocks but does not read the store.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?
    }

    /// Like [`Console::read`], for metrics, which must not wait behind requests.
    async fn read_for_metrics<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.metrics_pool.run(work).await
    }
}

/// Answers a request from `peer`.
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

/// The response for a problem: a page for a browser, JSON for any other client.
fn problem_response(problem: Problem, headers: &HeaderMap) -> Response<Body> {
    match guard::accepts_html(headers) {
        true => HtmlProblem(problem).into_response(),
        false => problem.into_response(),
    }
}
