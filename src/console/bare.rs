//! What a process without a store serves at the console's address: health, readiness and metrics. There
//! are no pages.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::api::Json;
use super::guard::{self, Guard};
use super::health::healthz;
use super::problem::Problem;
use super::{missing, wrong_method};
use crate::metrics::{ReceiveMetrics, ReceiverSources, exposition};
use crate::receiver::journal::status::JournalStatus;

/// What `vidimus receive` shows.
pub(crate) struct BareConsole {
    pub(crate) guard: Guard,
    pub(crate) status: Arc<JournalStatus>,
    pub(crate) metrics: Arc<ReceiveMetrics>,
    pub(crate) sources: ReceiverSources,
}

impl BareConsole {
    /// The routes.
    pub(crate) fn router(self) -> Router {
        let BareConsole { guard, status, metrics, sources } = self;
        let guard = axum::middleware::from_fn_with_state(Arc::new(guard), guard::check);
        let shown = Arc::new(Shown { status, metrics, sources });
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(text))
            .fallback(missing)
            .method_not_allowed_fallback(wrong_method)
            .layer(guard)
            .with_state(shown)
    }
}

struct Shown {
    status: Arc<JournalStatus>,
    metrics: Arc<ReceiveMetrics>,
    sources: ReceiverSources,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    journal: &'static str,
}

/// `GET /readyz`: 200 if the last put into the journal succeeded, or a new epoch was begun after it.
/// A new epoch is begun at the start and after each failure, so the check recovers even if a load
/// balancer sends no deliveries meanwhile.
async fn readyz(State(shown): State<Arc<Shown>>) -> Result<Json<Readiness>, Problem> {
    readiness(&shown.status).map(Json)
}

fn readiness(status: &JournalStatus) -> Result<Readiness, Problem> {
    match status.trouble() {
        None => Ok(Readiness { journal: "ok" }),
        // No token is needed here, so the error of the object store goes to the log only.
        Some(_) => Err(Problem::not_ready("nothing can be put into the journal; the log says why")),
    }
}

/// `GET /metrics`
async fn text(State(shown): State<Arc<Shown>>) -> Response {
    let mut answer = shown.metrics.text(&shown.sources, &shown.status).into_response();
    let content_type = HeaderValue::from_static(exposition::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_not_ready_before_it_has_an_epoch() {
        let problem = readiness(&JournalStatus::default()).unwrap_err();
        assert_eq!(problem.status, 503);
        assert!(problem.detail.contains("the log says why"), "{}", problem.detail);
    }
}
