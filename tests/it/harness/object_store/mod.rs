//! An object store on a port of its own, which fails as a test says.
//!
//! Behind the faults is a strict S3 server in memory ([`Memory`]), or another server, to which
//! requests are passed on. The benchmarks use this folder too, so it needs nothing of the harness.

mod faults;
mod memory;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub(crate) use self::faults::{Fault, Plan, random};
use self::memory::{Answer, error};
pub(crate) use self::memory::{Call, Memory, TOKEN, now};

/// The bucket of every store.
pub(crate) const BUCKET: &str = "bucket";

/// What stands behind the faults.
#[derive(Clone)]
enum Behind {
    Memory(Arc<Memory>),
    /// The port of another server on this machine.
    Other(u16, Box<Client<HttpConnector, Full<Bytes>>>),
}

/// What a store was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The requests, those that were refused or lost too.
    pub(crate) requests: u64,
    pub(crate) puts: u64,
    /// GET and HEAD, which cost the same.
    pub(crate) gets: u64,
    /// The bytes of the bodies of puts.
    pub(crate) bytes: u64,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    latency: Duration,
    asked: Asked,
    /// How often each fault was injected, by its name.
    injected: BTreeMap<String, u64>,
}

struct Shared {
    behind: Behind,
    state: Mutex<State>,
    /// Whether requests wait.
    paused: watch::Sender<bool>,
}

/// A running object store. Dropping it ends its connections.
pub(crate) struct ObjectStore {
    port: u16,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl ObjectStore {
    /// A store in memory.
    pub(crate) fn start() -> ObjectStore {
        ObjectStore::serve(Behind::Memory(Arc::new(Memory::new(BUCKET))))
    }

    /// A store in memory that wants a session token with each request, until the token ends.
    pub(crate) fn with_tokens() -> ObjectStore {
        let mut memory = Memory::new(BUCKET);
        memory.needs_token = true;
        ObjectStore::serve(Behind::Memory(Arc::new(memory)))
    }

    /// The faults alone, before the server at this port.
    pub(crate) fn before(port: u16) -> ObjectStore {
        let client = Client::builder(TokioExecutor::new()).build_http();
        ObjectStore::serve(Behind::Other(port, Box::new(client)))
    }

    fn serve(behind: Behind) -> ObjectStore {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let paused = watch::Sender::new(false);
        let shared = Arc::new(Shared { behind, state: Mutex::default(), paused });
        let accepting = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((tcp, _)) = listener.accept().await else { continue };
                let shared = Arc::clone(&accepting);
                let service = service_fn(move |request| respond(Arc::clone(&shared), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service);
                // A client may disconnect, and a fault ends the connection.
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        ObjectStore { port, shared, _runtime: runtime }
    }

    /// What `AWS_ENDPOINT_URL` must be.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment of a program that uses this store, with credentials that do not end.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let endpoint = self.endpoint();
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// What is in memory.
    pub(crate) fn memory(&self) -> &Memory {
        match &self.shared.behind {
            Behind::Memory(memory) => memory,
            Behind::Other(..) => panic!("the objects are in another server"),
        }
    }

    /// Injects these faults from now on.
    pub(crate) fn inject(&self, plan: Plan) {
        self.shared.state.lock().unwrap().plan = Some(plan);
    }

    /// Injects this fault into the first request that `is_meant` is true for.
    pub(crate) fn inject_once(
        &self,
        fault: Fault,
        is_meant: impl Fn(&Call) -> bool + Send + 'static,
    ) {
        let mut fault = Some(fault);
        self.inject(Box::new(move |call| fault.take_if(|_| is_meant(call))));
    }

    /// Injects no more faults.
    pub(crate) fn heal(&self) {
        self.shared.state.lock().unwrap().plan = None;
    }

    /// Delays each request before it takes effect.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.shared.state.lock().unwrap().latency = latency;
    }

    /// Lets requests wait, as a process that is stopped does.
    pub(crate) fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Carries out what waits.
    pub(crate) fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// What the store was asked for so far.
    pub(crate) fn asked(&self) -> Asked {
        self.shared.state.lock().unwrap().asked
    }

    /// How often each fault was injected so far.
    pub(crate) fn injected(&self) -> BTreeMap<String, u64> {
        self.shared.state.lock().unwrap().injected.clone()
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault was injected")]
struct Lost;

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Lost> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let call = Call { method: head.method, target, headers: head.headers, body };
    // A request takes effect though its client is gone.
    let answer = tokio::spawn(async move { shared.answer(call).await }).await.map_err(|_| Lost)?;
    answer.map(|answer| answer.map(Full::new))
}

impl Shared {
    async fn answer(&self, call: Call) -> Result<Answer, Lost> {
        let (fault, latency) = {
            let mut state = self.state.lock().unwrap();
            state.asked.requests += 1;
            match call.method {
                hyper::Method::PUT => {
                    state.asked.puts += 1;
                    state.asked.bytes += call.body.len() as u64;
                }
                hyper::Method::GET | hyper::Method::HEAD => state.asked.gets += 1,
                _ => {}
            }
            let fault = state.plan.as_mut().and_then(|plan| plan(&call));
            if let Some(fault) = fault {
                let name = match fault {
                    Fault::Late(_) => "Late".to_owned(),
                    fault => format!("{fault:?}"),
                };
                *state.injected.entry(name).or_default() += 1;
            }
            (fault, state.latency)
        };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        // It fails only if the store is dropped.
        let _ = self.paused.subscribe().wait_for(|is_paused| !is_paused).await;
        match fault {
            None => self.pass(&call).await,
            Some(Fault::LoseRequest) => Err(Lost),
            Some(Fault::LoseAnswer) => {
                self.pass(&call).await?;
                Err(Lost)
            }
            Some(Fault::Late(by)) => {
                self.later(call, by);
                Err(Lost)
            }
            Some(Fault::Repeat) => {
                self.pass(&call).await?;
                self.pass(&call).await
            }
            Some(Fault::IgnoreCondition) => {
                let mut call = call;
                call.headers.remove("if-none-match");
                self.pass(&call).await
            }
            Some(Fault::Refuse(status)) => Ok(error(status, code(status))),
            Some(Fault::Deny(status)) => {
                self.pass(&call).await?;
                Ok(error(status, code(status)))
            }
        }
    }

    fn later(&self, call: Call, by: Duration) {
        let behind = self.behind.clone();
        tokio::spawn(async move {
            tokio::time::sleep(by).await;
            drop(behind.pass(&call).await);
        });
    }

    async fn pass(&self, call: &Call) -> Result<Answer, Lost> {
        self.behind.pass(call).await
    }
}

impl Behind {
    async fn pass(&self, call: &Call) -> Result<Answer, Lost> {
        let (port, client) = match self {
            Behind::Memory(memory) => return Ok(memory.answer(call)),
            Behind::Other(port, client) => (port, client),
        };
        let uri = format!("http://127.0.0.1:{port}{}", call.target);
        let mut request = Request::builder().method(&call.method).uri(uri);
        if let Some(headers) = request.headers_mut() {
            headers.clone_from(&call.headers);
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|_| Lost)?;
        let (head, body) = client.request(request).await.map_err(|_| Lost)?.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

fn code(status: u16) -> &'static str {
    match status {
        403 => "AccessDenied",
        409 => "ConditionalRequestConflict",
        503 => "SlowDown",
        _ => "InternalError",
    }
}
