//! The HTTP side of the API: the table of its operations, and the checks around them.
//!
//! The response is 404 if no operation has the path, 405 if none there has the method, 401 if the
//! token is unknown, and 403 if the token lacks the role. Then the body is read, and the operation
//! runs. As with Konnect, each call with a known token leaves entries. Calls of the control API
//! leave none.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{ALLOW, AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tower_service::Service;

use super::body::JsonBody;
use super::control;
use super::core::Core;
use super::operations;
use super::organization::Organization;
use super::response::{self, ErrorResponse, Result};
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::konnect::request::AuthType;
use crate::konnect::traffic::ApiCall;
use crate::net::CloseConnection;

/// The maximum size of a body in bytes.
const MAX_BODY: usize = 64 << 10;

/// The maximum length of each part of a call in an entry, in characters.
const MAX_KEPT: usize = 512;

/// The time-out for reading a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// An operation of the API.
struct Operation {
    /// The first segments of its paths: versions of the API, or `simulate`.
    prefixes: &'static [&'static str],
    method: Method,
    /// The rest of the path, with at most one parameter.
    path: &'static str,
    run: Run,
}

/// The function of an operation.
#[derive(Clone, Copy)]
enum Run {
    /// It needs no token.
    Public(fn(&Organization) -> Value),
    /// It is in Kong's documents.
    Documented(fn(&mut Organization, &Call) -> Result<Response>),
    /// It belongs to the control API.
    Control(fn(Arc<Core>, ControlCall) -> ControlFuture),
}

type ControlFuture = Pin<Box<dyn Future<Output = Result<Value>> + Send>>;

/// A call of a documented operation.
pub(super) struct Call {
    /// The parameter of the path.
    pub(super) id: Option<String>,
    pub(super) uri: Uri,
    pub(super) body: Bytes,
    pub(super) now: Millis,
}

/// A call of the control API.
pub(super) struct ControlCall {
    /// The parameter of the path.
    pub(super) id: Option<String>,
    pub(super) body: JsonBody,
}

impl Call {
    /// The scope of the webhook: the portal in the path, or the organization.
    pub(super) fn scope(&self) -> WebhookScope {
        self.id.clone().map_or(WebhookScope::Organization, WebhookScope::Portal)
    }

    /// The id of the destination in the path. Ids are stored in lower case.
    pub(super) fn destination_id(&self) -> String {
        self.id.as_deref().unwrap_or_default().to_ascii_lowercase()
    }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;
const V2: &[&str] = &["v2"];
const V3: &[&str] = &["v3"];
const BOTH: &[&str] = &["v2", "v3"];

const DESTINATIONS: &str = "/audit-log-destinations";
const DESTINATION: &str = "/audit-log-destinations/{auditLogDestinationId}";
const WEBHOOK: &str = "/audit-log-webhook";
const STATUS: &str = "/audit-log-webhook/status";
const REPLAY_JOB: &str = "/audit-log-replay-job";
const PORTAL_WEBHOOK: &str = "/portals/{portalId}/audit-log-webhook";
const PORTAL_STATUS: &str = "/portals/{portalId}/audit-log-webhook/status";
const PORTAL_REPLAY_JOB: &str = "/portals/{portalId}/audit-log-replay-job";

/// All operations. `Allow` lists the methods of a path in this order.
static OPERATIONS: &[Operation] = &[
    Operation {
        prefixes: V2,
        method: GET,
        path: "/audit-log-webhook/jwks.json",
        run: Run::Public(|organization| organization.keys.jwk_set()),
    },
    documented(BOTH, GET, DESTINATIONS, operations::list_destinations),
    documented(BOTH, POST, DESTINATIONS, operations::create_destination),
    documented(BOTH, GET, DESTINATION, operations::get_destination),
    documented(BOTH, PATCH, DESTINATION, operations::update_destination),
    documented(BOTH, DELETE, DESTINATION, operations::delete_destination),
    documented(V2, GET, WEBHOOK, operations::get_webhook_v2),
    documented(V2, PATCH, WEBHOOK, operations::update_webhook_v2),
    documented(V3, GET, WEBHOOK, operations::get_webhook),
    documented(V3, PATCH, WEBHOOK, operations::update_webhook),
    documented(V3, DELETE, WEBHOOK, operations::delete_webhook),
    documented(BOTH, GET, STATUS, operations::get_status),
    documented(BOTH, GET, REPLAY_JOB, operations::get_replay_job),
    documented(BOTH, PUT, REPLAY_JOB, operations::start_replay_job),
    documented(BOTH, GET, PORTAL_WEBHOOK, operations::get_webhook),
    documented(BOTH, PATCH, PORTAL_WEBHOOK, operations::update_webhook),
    documented(BOTH, DELETE, PORTAL_WEBHOOK, operations::delete_webhook),
    documented(BOTH, GET, PORTAL_STATUS, operations::get_status),
    documented(BOTH, GET, PORTAL_REPLAY_JOB, operations::get_replay_job),
    documented(BOTH, PUT, PORTAL_REPLAY_JOB, operations::start_replay_job),
    documented(V3, GET, "/audit-logs", operations::list_entries),
    documented(V3, GET, "/portals", operations::list_portals),
    documented(V3, GET, "/portals/{portalId}", operations::get_portal),
    Operation {
        prefixes: V3,
        method: GET,
        path: "/available-regions",
        run: Run::Public(|_| available_regions()),
    },
    control(GET, "/state", |core, call| Box::pin(control::state(core, call))),
    control(GET, "/clock", |core, call| Box::pin(control::clock(core, call))),
    control(POST, "/clock", |core, call| Box::pin(control::set_clock(core, call))),
    control(POST, "/deliver", |core, call| Box::pin(control::deliver(core, call))),
    control(POST, "/rotate-key", |core, call| Box::pin(control::rotate_key(core, call))),
    control(POST, "/entries", |core, call| Box::pin(control::entries(core, call))),
    control(POST, "/portals/{portalId}/login", |core, call| Box::pin(control::login(core, call))),
    control(POST, "/tokens", |core, call| Box::pin(control::token_without_role(core, call))),
    control(GET, ELSEWHERE, not_found),
    control(POST, ELSEWHERE, not_found),
];

/// The regions, as Konnect's page "Geographic regions" has them.
fn available_regions() -> Value {
    json!({"regions": {
        "stable": ["au", "eu", "in", "me", "us"], "stable_opt_in": [], "beta": ["sg"],
    }})
}

/// Under `/simulate/`, every path allows both methods. What is not in the table is 404, even where
/// Konnect's own API would respond with 405.
const ELSEWHERE: &str = "/{*path}";

fn not_found(_: Arc<Core>, _: ControlCall) -> ControlFuture {
    Box::pin(async { Err(ErrorResponse::NotFound) })
}

const fn documented(
    prefixes: &'static [&'static str],
    method: Method,
    path: &'static str,
    run: fn(&mut Organization, &Call) -> Result<Response>,
) -> Operation {
    Operation { prefixes, method, path, run: Run::Documented(run) }
}

const fn control(
    method: Method,
    path: &'static str,
    run: fn(Arc<Core>, ControlCall) -> ControlFuture,
) -> Operation {
    Operation { prefixes: &["simulate"], method, path, run: Run::Control(run) }
}

impl Operation {
    /// Its paths in axum's syntax. A parameter of axum is never empty. Here an empty parameter is an
    /// unknown id, so it needs a path of its own.
    fn paths(&self) -> impl Iterator<Item = String> {
        let without = self.path.split_once('{').and_then(|(start, rest)| {
            let (_, end) = rest.split_once('}')?;
            Some(format!("{start}{end}"))
        });
        let paths: Vec<_> = std::iter::once(self.path.to_owned()).chain(without).collect();
        self.prefixes.iter().flat_map(move |prefix| {
            paths.iter().map(|path| format!("/{prefix}{path}")).collect::<Vec<_>>()
        })
    }

    /// The parameter of a path, not decoded.
    fn parameter(&self, path: &str) -> Option<String> {
        let mut segments = self.path.rsplit('/').zip(path.rsplit('/'));
        segments.find(|(name, _)| name.starts_with('{')).map(|(_, value)| value.to_owned())
    }

    async fn perform(&self, core: &Arc<Core>, head: &Parts, body: Bytes) -> Result<Response> {
        let id = self.parameter(head.uri.path());
        match self.run {
            Run::Public(run) => Ok(response::json(StatusCode::OK, &run(&core.organization()))),
            Run::Documented(run) => {
                let (mut organization, now) = (core.organization(), core.clock.now());
                run(&mut organization, &Call { id, uri: head.uri.clone(), body, now })
            }
            Run::Control(run) => {
                let reads = self.method == GET;
                let body = if reads { Bytes::new() } else { body };
                let body = JsonBody::parse_optional(&body)?;
                let value = run(Arc::clone(core), ControlCall { id, body }).await?;
                Ok(response::json(StatusCode::OK, &value))
            }
        }
    }
}

/// The router for all operations. Requests carry the address of the peer as [`ConnectInfo`].
pub(super) fn router(core: Arc<Core>) -> Router {
    let mut paths = BTreeMap::<String, Vec<&'static Operation>>::new();
    for operation in OPERATIONS {
        for path in operation.paths() {
            paths.entry(path).or_default().push(operation);
        }
    }
    let elsewhere: Vec<_> = OPERATIONS.iter().filter(|one| one.path == ELSEWHERE).collect();
    let mut router = Router::new();
    for (path, mut operations) in paths {
        if path.starts_with("/simulate/") {
            operations.extend(&elsewhere);
            operations.sort_by_key(|one| one.method != GET);
            operations.dedup_by(|later, first| later.method == first.method);
        }
        let answer =
            move |State(core): State<Arc<Core>>,
                  ConnectInfo(peer): ConnectInfo<IpAddr>,
                  request: Request| respond(core, operations, peer, request);
        router = router.route(&path, any(answer));
    }
    router.fallback(unknown_path).with_state(core)
}

async fn unknown_path(State(core): State<Arc<Core>>) -> Response {
    ErrorResponse::NotFound.response(core.organization().traffic.trace_id())
}

/// Handles a request from `peer`.
///
/// # Errors
/// If the body times out or breaks off, the connection must be closed without a response.
pub(super) async fn handle<B>(
    mut router: Router,
    request: hyper::Request<B>,
    peer: IpAddr,
) -> std::result::Result<Response, CloseConnection>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let Ok(response) = router.call(request).await;
    match response.extensions().get() {
        Some(CloseConnection) => Err(CloseConnection),
        None => Ok(response),
    }
}

async fn respond(
    core: Arc<Core>,
    operations: Vec<&'static Operation>,
    peer: IpAddr,
    request: Request,
) -> Response {
    let trace_id = core.organization().traffic.trace_id();
    let (head, body) = request.into_parts();
    let Some(operation) = operations.iter().find(|one| one.method == head.method) else {
        return method_not_allowed(&operations, trace_id);
    };
    let body = match operation.run {
        Run::Public(_) => Ok(Ok(Bytes::new())),
        Run::Documented(_) | Run::Control(_) => authorized_body(&core, &head.headers, body).await,
    };
    let Ok(body) = body else {
        let mut response = Response::default();
        response.extensions_mut().insert(CloseConnection);
        return response;
    };
    let is_known = !matches!(body, Err(ErrorResponse::Unauthorized));
    let outcome = match body {
        Ok(body) => operation.perform(&core, &head, body).await,
        Err(error) => Err(error),
    };
    let response = outcome.unwrap_or_else(|error| error.response(trace_id));
    if is_known && matches!(operation.run, Run::Documented(_)) {
        record(&core, &head, response.status(), peer, trace_id);
    }
    response
}

fn method_not_allowed(operations: &[&Operation], trace_id: u64) -> Response {
    let mut response = ErrorResponse::MethodNotAllowed.response(trace_id);
    let methods: Vec<_> = operations.iter().map(|one| one.method.as_str()).collect();
    if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

/// Checks the token, and reads the body.
async fn authorized_body(
    core: &Core,
    headers: &HeaderMap,
    body: Body,
) -> std::result::Result<Result<Bytes>, NoBody> {
    match core.authorize(authorization(headers)) {
        Ok(()) => read(body).await,
        Err(error) => Ok(Err(error)),
    }
}

/// The value of `Authorization`, if there is exactly one.
fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// Adds the entries that a call leaves.
fn record(core: &Core, head: &Parts, status: StatusCode, peer: IpAddr, trace_id: u64) {
    let user_agent = head.headers.get(USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
    let now = core.clock.now();
    let mut organization = core.organization();
    let call = ApiCall {
        method: head.method.as_str(),
        path: &short(head.uri.path()),
        query: &short(head.uri.query().unwrap_or_default()),
        status: status.as_u16(),
        principal: Some(&organization.traffic.owner().clone()),
        auth_type: AuthType::Pat,
        src: &peer.to_string(),
        user_agent: &short(&String::from_utf8_lossy(user_agent)),
        trace_id,
    };
    organization.called(&call, now);
}

/// Shortens a text for an entry.
fn short(text: &str) -> String {
    text.chars().take(MAX_KEPT).collect()
}

/// The body timed out or broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoBody;

/// Reads a body of at most [`MAX_BODY`].
async fn read(body: Body) -> std::result::Result<Result<Bytes>, NoBody> {
    // An announced size need not be waited for.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Ok(Err(ErrorResponse::TooLarge(MAX_BODY)));
    }
    let limited = Limited::new(body, MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, limited).await {
        Ok(Ok(collected)) => Ok(Ok(collected.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Ok(Err(ErrorResponse::TooLarge(MAX_BODY)))
        }
        Ok(Err(_)) | Err(_) => Err(NoBody),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body that is announced and never comes.
    struct Announced(u64);

    impl HttpBody for Announced {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0)
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_not_waited_for() {
        let large = read(Body::new(Announced(MAX_BODY as u64 + 1))).await;
        assert_eq!(large, Ok(Err(ErrorResponse::TooLarge(MAX_BODY))));
    }

    #[test]
    fn the_operations_are_those_of_the_documents() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/konnect/operations.json");
        let documents: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut expected = BTreeSet::new();
        for one in documents.as_array().unwrap() {
            for version in one["versions"].as_array().unwrap() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let path = format!("/{}{}", text(version), text(&one["path"]));
                expected.insert((path, text(&one["method"])));
            }
        }
        // These are not about audit logs.
        let others = ["/portals", "/portals/{portalId}", "/available-regions"];
        let ours = OPERATIONS.iter().filter(|one| !matches!(one.run, Run::Control(_)));
        let ours = ours.filter(|one| !others.contains(&one.path));
        let ours: BTreeSet<_> = ours
            .flat_map(|one| {
                let path = |prefix| (format!("/{prefix}{}", one.path), one.method.to_string());
                one.prefixes.iter().map(path)
            })
            .collect();
        assert_eq!(ours, expected);
    }
}
