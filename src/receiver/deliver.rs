//! An authorized body is decoded, verified and stored, on a thread that may block.
//!
//! A body that cannot be decoded is kept in quarantine. The work goes on if the client leaves.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::body::{Codings, DecodeError, UnknownEncoding, decode};
use super::response::{self, HttpResponse, Problem};
use super::{DeliveryObserver, InputEndpoint, ReceiverLimits};
use crate::clock::now;
use crate::entry::Millis;
use crate::entry::lines;
use crate::ingest::Batch;
use crate::keys::{KeyRing, RefreshTrigger};
use crate::net::Reservation;
use crate::random;
use crate::signature::Verdict;
use crate::store::{Delivery, Quarantined, Refused, Store};

/// The memory that each line takes while its body is stored, in bytes.
const LINE_OVERHEAD: usize = 96;

/// Stores deliveries.
pub(crate) struct Deliverer {
    pub(crate) store: Arc<Store>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) refresh: RefreshTrigger,
    /// The threads that verify signatures.
    pub(crate) pool: rayon::ThreadPool,
    pub(crate) limits: ReceiverLimits,
    pub(crate) observer: Arc<dyn DeliveryObserver>,
}

/// A delivery whose body was read.
pub(crate) struct IncomingDelivery {
    /// When its headers were read.
    pub(crate) received_at: Millis,
    /// The same moment, to measure from.
    pub(crate) started: Instant,
    pub(crate) input: Arc<InputEndpoint>,
    pub(crate) peer: String,
    pub(crate) codings: Result<Codings, UnknownEncoding>,
    /// The `Content-Encoding` as sent.
    pub(crate) content_encoding: Option<String>,
    /// The body as sent.
    pub(crate) body: Vec<u8>,
    /// The memory for the body.
    pub(crate) reservation: Reservation,
}

impl Deliverer {
    /// Stores a delivery, and returns the response to it.
    pub(crate) fn deliver(&self, incoming: IncomingDelivery, runtime: &Handle) -> HttpResponse {
        let (input, peer) = (Arc::clone(&incoming.input), incoming.peer.clone());
        match self.process(incoming, runtime) {
            Ok(response) => response,
            Err(problem) => {
                self.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                problem.into_response(input.profile)
            }
        }
    }

    /// Reports an authorized delivery that was not stored. It is listed among the refused requests too,
    /// because operators look there when nothing arrives. `status` is `None` if the connection was closed.
    pub(crate) fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        self.observer.failed(input, peer, status, reason);
        self.store.note_refused(Refused {
            time: now(),
            peer: peer.to_owned(),
            status,
            reason: format!("input {input}: {reason}"),
            scheme: None,
        });
    }

    /// Reports a refused request or connection.
    pub(crate) fn refused(&self, refused: Refused) {
        self.observer.refused(&refused);
        self.store.note_refused(refused);
    }

    fn process(
        &self,
        mut incoming: IncomingDelivery,
        runtime: &Handle,
    ) -> Result<HttpResponse, Problem> {
        let bytes = incoming.body.len();
        let body = self.decode(&mut incoming, runtime)?;
        let IncomingDelivery { received_at, started, input, peer, mut reservation, .. } = incoming;
        let decoded_bytes = body.len() as u64;

        // Each line has an overhead. It is more than the body if the lines are tiny.
        let lines = lines(&body).take(self.limits.lines.max_lines).count();
        let needed = body.len().max(lines * LINE_OVERHEAD).min(reservation.max_bytes());
        let more = needed.saturating_sub(reservation.bytes());
        let deadline = tokio::time::Instant::now() + self.limits.queue_timeout;
        reservation.grow_blocking(more, deadline, runtime).map_err(|_| Problem::overloaded())?;

        let (keys, generation) = self.ring.current(&input.name);
        let seed = random::seed().map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        let batch = self
            .pool
            .install(|| Batch::new(body, &keys, self.limits.lines, &seed))
            .map_err(|error| Problem::too_many_lines(&error))?;
        let awaits_key = batch.verdicts().any(Verdict::awaits_key);
        let delivery = Delivery {
            received_at,
            started,
            input: input.name.clone(),
            peer,
            bytes: bytes as u64,
            decoded_bytes,
        };
        let stored = self.store.append(delivery, &batch, &input.expected).map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        drop(reservation);
        if awaits_key {
            self.refresh.trigger();
            // If new keys arrived between the check and the commit, the recheck for them did not see these
            // entries.
            if self.ring.generation() != generation {
                self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
            }
        }
        self.observer.stored(&stored);
        Ok(response::stored(&stored.appended, input.profile))
    }

    /// Decodes the body, and frees the memory of the encoded one. A body that cannot be decoded is put in
    /// quarantine.
    fn decode(&self, incoming: &mut IncomingDelivery, runtime: &Handle) -> Result<Bytes, Problem> {
        let codings = match incoming.codings.clone() {
            Ok(codings) => codings,
            Err(unknown) => {
                let problem = Problem::unknown_encoding(&unknown, "kept in quarantine");
                return Err(self.quarantine(incoming, problem));
            }
        };
        let IncomingDelivery { body, reservation, .. } = incoming;
        let (sent, wait) = (body.len(), self.limits.queue_timeout);
        let decoded = decode(body, &codings, self.limits.max_decoded, |bytes| {
            let more = (sent + bytes).saturating_sub(reservation.bytes());
            reservation
                .grow_blocking(more, tokio::time::Instant::now() + wait, runtime)
                .map_err(|_| DecodeError::Overloaded)
        });
        match decoded {
            Ok(Some(decoded)) => {
                incoming.body = Vec::new();
                incoming.reservation.shrink_to(decoded.len());
                Ok(decoded.into())
            }
            Ok(None) if sent > self.limits.max_decoded => {
                Err(Problem::too_large(self.limits.max_decoded, "when decoded"))
            }
            Ok(None) => Ok(std::mem::take(&mut incoming.body).into()),
            Err(DecodeError::TooLarge) => {
                Err(Problem::too_large(self.limits.max_decoded, "when decoded"))
            }
            Err(DecodeError::Overloaded) => Err(Problem::overloaded()),
            Err(DecodeError::Broken(error)) => {
                Err(self.quarantine(incoming, Problem::undecodable(&error.to_string())))
            }
        }
    }

    /// Puts a body in quarantine. Returns `problem`, or another one if that fails, so that the sender
    /// retries.
    fn quarantine(&self, incoming: &IncomingDelivery, problem: Problem) -> Problem {
        let what = Quarantined {
            id: 0,
            received_at: incoming.received_at,
            input: incoming.input.name.clone(),
            peer: incoming.peer.clone(),
            status: problem.status,
            reason: problem.detail.clone(),
            content_encoding: incoming.content_encoding.clone(),
            bytes: incoming.body.len() as u64,
        };
        match self.store.quarantine(&what, &incoming.body) {
            Ok(id) => {
                tracing::warn!(
                    id,
                    input = what.input,
                    reason = what.reason,
                    "a body was put in quarantine"
                );
                problem
            }
            Err(error) => {
                tracing::error!(%error, input = what.input, "a body that cannot be decoded was not kept");
                Problem::not_stored()
            }
        }
    }
}
