//! The webhook endpoint: a request to a stored batch and an answer.
//!
//! The order of checks is fixed: path, method, `Authorization`, encoding, size, decoding, store.
//! Before the `Authorization` is checked nothing of the body is read, and of a refused request only
//! a line is kept. 2xx means committed to disk; 500 means not stored, send again; 429 means
//! overloaded, send again. There is no 408 and no 503, which the sender would not retry: the
//! connection is closed instead.
//!
//! - [`admit`]: from the path to the `Authorization`. [`body`]: the body as sent, within the caps.
//! - [`encoding`]: what `Content-Encoding` says, and the body decoded. [`answer`]: what is said back,
//!   and [`hec`]: the same as Splunk's HTTP Event Collector says it.
//! - [`deliver`]: decoded, checked, stored, on threads that may wait.

pub mod admit;
pub mod answer;
pub mod body;
pub mod deliver;
pub mod encoding;
pub mod hec;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::CONTENT_ENCODING;
use hyper::{HeaderMap, Request};
use ipnet::IpNet;
use tokio::sync::mpsc;

use self::admit::Refusal;
use self::answer::{Answer, Problem};
use self::body::BodyError;
use self::deliver::{Deliverer, Received};
use self::encoding::Layers;
use crate::clock::now;
use crate::config::ResponseProfile;
use crate::entry::Millis;
use crate::ingest::ExpectedIds;
use crate::net::{
    Admission, Budget, CloseConnection, Events, Peer, Refused as NetRefused, RequestBody,
};
use crate::settings::Secret;
use crate::store::{Appended, Refused};

/// A source of deliveries.
#[derive(Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// The path of its endpoint, matched whole.
    pub path: String,
    /// What its `Authorization` may be, whole.
    pub authorization: Vec<Secret>,
    /// Whose entries belong to it.
    pub expected: Arc<ExpectedIds>,
    /// The shape of what its senders are answered.
    pub profile: ResponseProfile,
}

/// The receiver's caps and time-outs.
#[derive(Clone, Debug)]
pub struct Caps {
    /// The most of a body as it is sent, in bytes.
    pub max_body: usize,
    /// The most of a body when it is decoded, in bytes.
    pub max_decoded: usize,
    /// The caps on its lines.
    pub lines: crate::ingest::Caps,
    /// How long the body may take.
    pub body_timeout: Duration,
    /// How long a request may wait for room.
    pub queue_timeout: Duration,
    /// Whose `X-Forwarded-For` tells the peer.
    pub trusted_proxies: Vec<IpNet>,
}

/// Is shown what happens; it must not block.
pub trait Observer: Send + Sync + 'static {
    /// A delivery was stored.
    fn stored(&self, input: &str, peer: &str, bytes: u64, appended: &Appended, took: Duration);
    /// A delivery was authorized and not stored.
    fn failed(&self, input: &str, peer: &str, status: u16, reason: &str);
    /// A request was refused, or a connection never came to one.
    fn refused(&self, refused: &Refused);
}

/// The endpoint.
pub struct Receiver {
    /// Its inputs.
    pub inputs: Vec<Arc<Input>>,
    /// Its caps.
    pub caps: Caps,
    /// The bytes in flight.
    pub budget: Budget,
    /// What stores.
    pub deliverer: Arc<Deliverer>,
    /// Held by every write that has begun; when all are gone the store may be closed.
    pub writing: mpsc::Sender<()>,
}

impl Receiver {
    /// Answers one request.
    pub async fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
        peer: Peer,
    ) -> Result<Answer, CloseConnection> {
        let (received_at, started) = (now(), Instant::now());
        let peer = self.peer(&peer, request.headers());
        let input = match admit::admit(&self.inputs, &request) {
            Ok(admit::Admitted::Health(profile)) => {
                return Ok(answer::to(request.method(), answer::healthy(profile)));
            }
            Ok(admit::Admitted::Delivery(input)) => input,
            Err(refusal) => {
                let answer = answer::to(request.method(), self.refuse(&peer, *refusal));
                return Ok(with(Admission::Refused, answer));
            }
        };
        let answer = self.take(request, input, peer, (received_at, started)).await?;
        Ok(with(Admission::Authorized, answer))
    }

    /// Takes a delivery to `input` that came from `peer`, and answers it.
    async fn take(
        &self,
        request: Request<RequestBody>,
        input: Arc<Input>,
        peer: String,
        (received_at, started): (Millis, Instant),
    ) -> Result<Answer, CloseConnection> {
        let profile = input.profile;
        let content_encoding = content_encoding(request.headers());
        let layers = Layers::of(content_encoding.as_deref());
        let body = body::read(request, &self.caps, &self.budget).await;
        let (body, reservation) = match body {
            Ok(read) => read,
            Err(BodyError::Lost(why)) => {
                self.deliverer.failed(&input.name, &peer, None, &why);
                return Err(CloseConnection);
            }
            Err(error) => {
                let problem = match (error, &layers) {
                    (_, Err(unknown)) => Problem::unknown_encoding(unknown, "too large to be kept"),
                    (BodyError::TooLarge, _) => Problem::too_large(self.caps.max_body, "as sent"),
                    (_, _) => Problem::overloaded(),
                };
                self.deliverer.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                return Ok(problem.into_answer(profile));
            }
        };
        let received = Received {
            received_at,
            started,
            input,
            peer,
            layers,
            content_encoding,
            body,
            reservation,
        };
        // It goes on if the client leaves.
        let (deliverer, writing) = (Arc::clone(&self.deliverer), self.writing.clone());
        let runtime = tokio::runtime::Handle::current();
        let delivery = tokio::task::spawn_blocking(move || {
            let answer = deliverer.deliver(received, &runtime);
            drop(writing);
            answer
        });
        Ok(delivery.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a delivery was not handled");
            Problem::not_stored().into_answer(profile)
        }))
    }

    fn refuse(&self, peer: &str, Refusal { problem, scheme, profile }: Refusal) -> Answer {
        let refused = Refused {
            time: now(),
            peer: peer.to_owned(),
            status: Some(problem.status),
            reason: problem.detail.clone(),
            scheme,
        };
        self.deliverer.refused(refused);
        problem.into_answer(profile)
    }

    /// Who sent the request: the peer, or what a trusted proxy says.
    fn peer(&self, peer: &Peer, headers: &HeaderMap) -> String {
        let client = peer.forwarded(headers, &self.caps.trusted_proxies);
        client.map_or_else(|| peer.address.to_string(), |ip| ip.to_string())
    }
}

impl Events for Deliverer {
    fn refused(&self, peer: std::net::SocketAddr, why: NetRefused) {
        self.refused(Refused {
            time: now(),
            peer: peer.to_string(),
            status: None,
            reason: why.to_string(),
            scheme: None,
        });
    }

    fn cannot_accept(&self, error: &std::io::Error) {
        tracing::error!(%error, "connections cannot be accepted; it is tried again and again");
    }
}

/// Tells the connection what became of the request.
fn with(admission: Admission, mut answer: Answer) -> Answer {
    answer.extensions_mut().insert(admission);
    answer
}

/// The `Content-Encoding` as sent.
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
