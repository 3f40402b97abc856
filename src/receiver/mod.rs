//! The webhook endpoint: it hands the batch of a request to a sink, and answers.
//!
//! The order of the checks is fixed: path, method, `Authorization`, encoding, size, decoding, store.
//! Nothing of the body is read before the `Authorization` is checked, and a refused request leaves only
//! a line in the list of refused requests (and its headers in memory, see [`kept`]). 2xx means that the
//! batch is committed to disk, or that object storage has it. 500 means that this is not so, or not known:
//! the sender should retry. 429 means that the receiver is overloaded and the sender should retry.
//! Konnect would not retry on 408 or 503, so the connection is closed instead.
//!
//! `admit` checks the request up to the `Authorization`. [`body`] reads and decodes the body. [`deliver`]
//! decodes it on threads that may block, and hands it to a [`sink`]: [`storing`] verifies and stores it,
//! and [`journal`] puts it into the journal.
//! `response` builds the response. [`fault`] has the faults that an operator injects. [`kept`] has the
//! newest requests as they came.

mod admit;
pub(crate) mod body;
pub(crate) mod deliver;
pub(crate) mod fault;
pub(crate) mod journal;
pub(crate) mod kept;
mod response;
pub(crate) mod sink;
pub(crate) mod storing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request};
use ipnet::IpNet;
use tokio::sync::mpsc;

use self::admit::{Admitted, NotAdmitted, admit};
use self::body::{BodyError, Codings, ReadBody};
use self::deliver::{Answer, Deliverer, IncomingDelivery};
use self::fault::Fault;
use self::kept::{Draft, Ending, KeptHead, KeptRequests, Outcome, Phases};
use self::response::{HttpResponse, Problem, for_method, healthy};
use self::sink::Sink;
use self::storing::StoreSink;
use crate::clock::now;
use crate::config::ResponseProfile;
use crate::entry::Millis;
use crate::ingest::{ExpectedIds, LineCounts};
use crate::journal::object;
use crate::net::{
    Admission, CloseConnection, ConnectionRefusal, ListenerObserver, MemoryBudget, Peer,
    RequestBody,
};
use crate::settings::Secret;
use crate::store::{Refused, StoredBatch};

#[derive(Debug)]
pub(crate) struct InputEndpoint {
    pub(crate) name: String,
    /// The path, which must match exactly.
    pub(crate) path: String,
    /// The accepted values of the `Authorization`.
    pub(crate) authorization: Vec<Secret>,
    /// The organizations and Dev Portals whose entries it expects.
    pub(crate) expected: Arc<ExpectedIds>,
    pub(crate) profile: ResponseProfile,
}

/// The size limits and time-outs of the receiver.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverLimits {
    /// The largest body as sent, in bytes.
    pub(crate) max_body: usize,
    /// The largest body after decoding, in bytes.
    pub(crate) max_decoded: usize,
    pub(crate) lines: crate::ingest::Caps,
    /// For the whole body to arrive.
    pub(crate) body_timeout: Duration,
    /// For memory for a body to become free, in all waits of a delivery together.
    pub(crate) queue_timeout: Duration,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpNet>,
}

/// Observes deliveries. Its methods must not block.
pub(crate) trait DeliveryObserver: Send + Sync + 'static {
    /// A delivery was stored.
    fn stored(&self, stored: &StoredBatch);
    /// A delivery is in the journal, with so many lines. Its headers were read at `started`.
    fn journaled(&self, delivery: &object::Delivery, started: Instant, counts: LineCounts);
    /// An authorized delivery was not stored. `status` is `None` if the connection was closed.
    fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str);
    /// A request or a connection was refused.
    fn refused(&self, refused: &Refused);
}

/// The webhook endpoint.
pub(crate) struct Receiver<S = StoreSink> {
    pub(crate) inputs: Vec<Arc<InputEndpoint>>,
    pub(crate) limits: ReceiverLimits,
    /// The memory for bodies.
    pub(crate) budget: MemoryBudget,
    pub(crate) deliverer: Arc<Deliverer<S>>,
    /// Each write holds a clone. When all clones are dropped, the store may be closed.
    pub(crate) writing: mpsc::Sender<()>,
}

impl<S: Sink> Receiver<S> {
    /// Handles one request.
    pub(crate) async fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> Result<HttpResponse, CloseConnection> {
        let (received_at, started) = (now(), Instant::now());
        let tls = peer.tls;
        let peer = self.peer(&peer, request.headers());
        let draft = || {
            self.kept().begin(started, || {
                let input = self.inputs.iter().find(|input| input.path == request.uri().path());
                let input = input.map(|input| input.name.as_str());
                let content_encoding = content_encoding(request.headers());
                KeptHead::new(&request, received_at, &peer, tls, input, content_encoding)
            })
        };
        let input = match admit(&self.inputs, &request) {
            Ok(Admitted::Health(profile)) => {
                return Ok(for_method(request.method(), healthy(profile)));
            }
            Ok(Admitted::Delivery(input)) => input,
            Err(why) => {
                let (draft, reason) = (draft(), why.problem.detail.clone());
                let response = for_method(request.method(), self.refuse(&peer, *why));
                if let Some(draft) = draft {
                    let (outcome, phases) = (Outcome::Refused, Phases::default());
                    let answer = Some(&response);
                    let ending = Ending { outcome, phases, reason: Some(reason), answer };
                    self.kept().keep(*draft, ending);
                }
                return Ok(with_admission(Admission::Refused, response));
            }
        };
        let draft = draft();
        let response = self.receive(request, input, peer, draft, (received_at, started)).await?;
        Ok(with_admission(Admission::Authorized, response))
    }

    /// Reads and stores a delivery.
    async fn receive(
        &self,
        request: Request<RequestBody>,
        input: Arc<InputEndpoint>,
        peer: String,
        mut draft: Option<Box<Draft>>,
        (received_at, started): (Millis, Instant),
    ) -> Result<HttpResponse, CloseConnection> {
        let profile = input.profile;
        let content_encoding = content_encoding(request.headers());
        let codings = Codings::of(content_encoding.as_deref());
        let body = body::read(request, &self.limits, &self.budget).await;
        let ReadBody { mut bytes, reservation, read, waited } = match body {
            Ok(read) => read,
            Err(BodyError::Lost(why)) => {
                self.deliverer.failed(&input.name, &peer, None, &why);
                self.kept().keep_failed(draft, Phases::default(), why, None);
                return Err(CloseConnection);
            }
            Err(error) => {
                let problem = match (error, &codings) {
                    (_, Err(unknown)) => Problem::unknown_encoding(unknown, "too large to be kept"),
                    (BodyError::TooLarge, _) => Problem::too_large(self.limits.max_body, "as sent"),
                    (_, _) => Problem::overloaded(),
                };
                self.deliverer.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                let reason = problem.detail.clone();
                let response = problem.into_response(profile);
                self.kept().keep_failed(draft, Phases::default(), reason, Some(&response));
                return Ok(response);
            }
        };
        let phases = Phases { read: Some(read), wait: Some(waited), ..Phases::default() };
        if draft.is_some() {
            // What is kept takes no more memory than it is counted with.
            bytes.shrink_to_fit();
        }
        let body = Bytes::from(bytes);
        let fault = self.deliverer.faults.next(&input.name);
        if let Some(draft) = &mut draft {
            draft.hold(&body);
            draft.fault = fault;
        }
        let delay = match fault {
            None => None,
            Some(Fault::Delay(delay)) => Some(delay),
            Some(fault) => return self.inject(fault, &input, &peer, phases, draft),
        };
        let incoming = IncomingDelivery {
            received_at,
            started,
            input,
            peer,
            codings,
            content_encoding,
            body,
            reservation,
            phases,
            draft,
        };
        // A blocking task goes on if the client leaves.
        let (deliverer, writing) = (Arc::clone(&self.deliverer), self.writing.clone());
        let runtime = tokio::runtime::Handle::current();
        let delivery =
            tokio::task::spawn_blocking(move || deliverer.deliver(incoming, writing, &runtime));
        let answered = match delivery.await {
            Ok(Answer::Now(response)) => Ok(response),
            Ok(Answer::Later(response)) => response.await,
            Err(error) => Err(error),
        };
        let response = answered.unwrap_or_else(|error| {
            tracing::error!(%error, "the task of a delivery failed");
            Problem::not_stored().into_response(profile)
        });
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        Ok(response)
    }

    /// Gives a delivery that was read this fault. Nothing of it is stored.
    fn inject(
        &self,
        fault: Fault,
        input: &InputEndpoint,
        peer: &str,
        phases: Phases,
        draft: Option<Box<Draft>>,
    ) -> Result<HttpResponse, CloseConnection> {
        let (problem, reason) = (fault.problem(), fault.reason());
        let status = problem.as_ref().map(|problem| problem.status);
        self.deliverer.failed(&input.name, peer, status, &reason);
        let response = problem.map(|problem| problem.into_response(input.profile));
        self.kept().keep_failed(draft, phases, reason, response.as_ref());
        response.ok_or(CloseConnection)
    }

    fn refuse(&self, peer: &str, why: NotAdmitted) -> HttpResponse {
        let NotAdmitted { problem, scheme, profile } = why;
        let refused = Refused {
            time: now(),
            peer: peer.to_owned(),
            status: Some(problem.status),
            reason: problem.detail.clone(),
            scheme,
        };
        self.deliverer.refused(refused);
        problem.into_response(profile)
    }

    /// The newest requests.
    fn kept(&self) -> &KeptRequests {
        &self.deliverer.kept
    }

    /// The sender: the client that a trusted proxy names, or the peer.
    fn peer(&self, peer: &Peer, headers: &HeaderMap) -> String {
        let client = peer.forwarded(headers, &self.limits.trusted_proxies);
        client.map_or_else(|| peer.address.to_string(), |ip| ip.to_string())
    }
}

impl<S: Sink> ListenerObserver for Deliverer<S> {
    fn refused(&self, peer: std::net::SocketAddr, why: ConnectionRefusal) {
        self.refused(Refused {
            time: now(),
            peer: peer.to_string(),
            status: None,
            reason: why.to_string(),
            scheme: None,
        });
    }

    fn accept_failed(&self, error: &std::io::Error) {
        tracing::error!(%error, "connections cannot be accepted; trying again");
    }
}

/// Tells the connection whether the request was authorized.
fn with_admission(admission: Admission, mut response: HttpResponse) -> HttpResponse {
    response.extensions_mut().insert(admission);
    response
}

/// The `Content-Encoding` as sent, shortened. Several headers are joined by commas.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .map(|value| {
            String::from_utf8_lossy(value.as_bytes()).chars().take(100).collect::<String>()
        })
        .collect();
    (!values.is_empty()).then(|| values.join(", ").chars().take(200).collect())
}
