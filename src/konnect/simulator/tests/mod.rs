//! The simulator put together, with a clock that goes by hand and an endpoint that answers as told.

mod answers;
mod deliveries;
mod pulls;

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex};

use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::clock::Clock;
use super::core::Core;
use super::deliverer::AttemptReport;
use super::router::{handle, router};
use super::{EntryLog, Options, Portal, assemble};
use crate::entry::{Millis, VerdictName};
use crate::ingest::CheckedLine;
use crate::konnect::api::WebhookScope;
use crate::net::{CloseConnection, Limits, Listener, Peer, RequestBody, Trigger, shutdown};
use crate::settings::Secret;
use crate::signature::KeySet;

/// 2025-06-18T21:01:06Z.
const START: i64 = 1_750_280_466_000;
const PORTAL: &str = "9cb77dc2-ff99-4d47-84ab-7c5c1b3ef939";

/// The simulator without its network.
struct Standin {
    core: Arc<Core>,
    router: Router,
    clock: Clock,
}

impl Standin {
    fn new() -> Standin {
        Standin::with(Options::default())
    }

    fn with(options: Options) -> Standin {
        let clock = Clock::held(Millis::saturating(START));
        let (core, _, _) = assemble(Options {
            token: Some(Secret::new("kpat_test").unwrap()),
            portals: vec![Portal::unnamed(PORTAL.to_owned(), 1)],
            seed: Some(1),
            clock: clock.clone(),
            ..options
        })
        .unwrap();
        let core = Arc::new(core);
        Standin { router: router(Arc::clone(&core)), core, clock }
    }

    /// Calls the API with this `Authorization`.
    async fn call_as(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", authorization);
        let request = request.body(Full::new(body.into())).unwrap();
        let answer = handle(self.router.clone(), request, [127, 0, 0, 1].into()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body =
            if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        (status, body)
    }

    /// Calls the API with the token.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.call_as("Bearer kpat_test", method, path, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Makes a destination: its id.
    async fn destination(&self, endpoint: &str, log_format: &str) -> String {
        let body = json!({"name": "siem", "endpoint": endpoint, "authorization": "Splunk 0123",
                          "log_format": log_format});
        let (status, made) = self.call("POST", "/v3/audit-log-destinations", body).await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// Points the webhook below `prefix` at an endpoint, and enables it.
    async fn enable(&self, prefix: &str, endpoint: &str, log_format: &str) {
        let id = self.destination(endpoint, log_format).await;
        let body = json!({"audit_log_destination_id": id, "enabled": true});
        let (status, shown) =
            self.call("PATCH", &format!("{prefix}/audit-log-webhook"), body).await;
        assert_eq!(status, 200, "{shown}");
    }

    /// Developers log in to the portal.
    async fn logins(&self, count: usize) {
        for n in 0..count {
            let path = format!("/simulate/portals/{PORTAL}/login");
            let body = json!({"developer": format!("dev-{n}")});
            assert_eq!(self.call("POST", &path, body).await.0, 200);
        }
    }

    async fn deliver(&self) -> Vec<AttemptReport> {
        self.core.deliver(&WebhookScope::Portal(PORTAL.to_owned()), false).await
    }

    fn keys(&self) -> KeySet {
        let set = self.core.organization().keys.jwk_set().to_string();
        KeySet::parse(set.as_bytes()).unwrap().0
    }
}

/// The calls of the portal's webhook.
fn portal(rest: &str) -> String {
    format!("/v3/portals/{PORTAL}/{rest}")
}

fn verdict(line: &str, keys: &KeySet) -> VerdictName {
    CheckedLine::new(line.as_bytes(), keys, 1 << 20).verdict().name()
}

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Say {
    Status(u16),
    /// It closes the connection.
    Drop,
    /// It never answers.
    Hang,
}

/// A delivery as it came.
struct Received {
    headers: HeaderMap,
    lines: Vec<String>,
}

/// An endpoint on a port of its own. When it has said what it is told to, it says 200.
struct Endpoint {
    url: String,
    said: Arc<Mutex<VecDeque<Say>>>,
    received: Arc<Mutex<Vec<Received>>>,
    _trigger: Trigger,
}

impl Endpoint {
    async fn start() -> Endpoint {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let url = format!("http://{}/audit-logs", listener.address());
        let (said, received) = (Arc::<Mutex<VecDeque<Say>>>::default(), Arc::default());
        let service = {
            let (said, received) = (Arc::clone(&said), Arc::clone(&received));
            move |request, _: Peer| answer(request, Arc::clone(&said), Arc::clone(&received))
        };
        let (trigger, shutdown) = shutdown();
        tokio::spawn(listener.serve(service, Limits::default(), Arc::new(EntryLog), shutdown));
        Endpoint { url, said, received, _trigger: trigger }
    }

    fn say(&self, answers: impl IntoIterator<Item = Say>) {
        *self.said.lock().unwrap() = answers.into_iter().collect();
    }

    /// What came since it was asked last.
    fn received(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }

    /// The lines of what came.
    fn lines(&self) -> Vec<String> {
        self.received().into_iter().flat_map(|one| one.lines).collect()
    }
}

async fn answer(
    request: Request<RequestBody>,
    said: Arc<Mutex<VecDeque<Say>>>,
    received: Arc<Mutex<Vec<Received>>>,
) -> Result<Response<Full<Bytes>>, CloseConnection> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let say = said.lock().unwrap().pop_front().unwrap_or(Say::Status(200));
    match say {
        Say::Drop => Err(CloseConnection),
        Say::Hang => std::future::pending().await,
        Say::Status(status) => {
            if status == 200 {
                let mut text = String::new();
                flate2::read::GzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap();
                let lines = text.lines().map(str::to_owned).collect();
                received.lock().unwrap().push(Received { headers: head.headers, lines });
            }
            let said = format!("said {status}");
            Ok(Response::builder().status(status).body(Full::new(said.into())).unwrap())
        }
    }
}
