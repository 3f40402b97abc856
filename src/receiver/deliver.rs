//! A body that was authorized: decoded, checked, stored, on a thread that may wait.
//!
//! What cannot be decoded is kept in quarantine. It goes on if the client leaves.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;

use super::answer::{Answer, Problem, stored};
use super::encoding::{DecodeError, Layers, UnknownEncoding, decode};
use super::{Caps, Input, Observer};
use crate::clock::now;
use crate::entry::Millis;
use crate::entry::lines;
use crate::ingest::Batch;
use crate::keys::{KeyRing, Suspicion};
use crate::net::Reservation;
use crate::signature::Verdict;
use crate::store::{Delivery, Quarantined, Refused, Store};

/// What is kept about each line while its body is stored, in bytes.
const LINE: usize = 96;

/// What stores deliveries.
pub struct Deliverer {
    /// Where they go.
    pub store: Arc<Store>,
    /// What they are verified with.
    pub ring: Arc<KeyRing>,
    /// Asks for new keys.
    pub suspicion: Suspicion,
    /// The threads that verify.
    pub pool: rayon::ThreadPool,
    /// The caps.
    pub caps: Caps,
    /// Is shown what happens.
    pub observer: Arc<dyn Observer>,
}

/// A body with what is known of its delivery.
pub struct Received {
    /// When its headers were read.
    pub received_at: Millis,
    /// The same moment.
    pub started: Instant,
    /// The input that it is for.
    pub input: Arc<Input>,
    /// Who sent it.
    pub peer: String,
    /// How it is encoded.
    pub layers: Result<Layers, UnknownEncoding>,
    /// The `Content-Encoding` as sent.
    pub content_encoding: Option<String>,
    /// The body as sent.
    pub body: Vec<u8>,
    /// For its bytes.
    pub reservation: Reservation,
}

impl Deliverer {
    /// Takes a delivery, and says what becomes of it.
    pub fn deliver(&self, received: Received, runtime: &Handle) -> Answer {
        let (input, peer) = (Arc::clone(&received.input), received.peer.clone());
        match self.take(received, runtime) {
            Ok(answer) => answer,
            Err(problem) => {
                self.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                problem.into_answer(input.profile)
            }
        }
    }

    /// Takes note of a delivery that was authorized and is not stored, where one looks when nothing
    /// arrives.
    pub fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        self.observer.failed(input, peer, status.unwrap_or_default(), reason);
        self.store.note_refused(Refused {
            time: now(),
            peer: peer.to_owned(),
            status,
            reason: format!("input {input}: {reason}"),
            scheme: None,
        });
    }

    /// Takes note of a refused request.
    pub fn refused(&self, refused: Refused) {
        self.observer.refused(&refused);
        self.store.note_refused(refused);
    }

    fn take(&self, mut received: Received, runtime: &Handle) -> Result<Answer, Problem> {
        let bytes = received.body.len();
        let body = self.decode(&mut received, runtime)?;
        let Received { received_at, started, input, peer, mut reservation, .. } = received;
        let decoded_bytes = body.len() as u64;

        // What is kept about each line takes room too: more than the body if its lines are tiny.
        let lines = lines(&body).take(self.caps.lines.max_lines).count();
        let room = body.len().max(lines * LINE).min(reservation.most());
        let more = room.saturating_sub(reservation.bytes());
        let deadline = tokio::time::Instant::now() + self.caps.queue_timeout;
        reservation.grow_blocking(more, deadline, runtime).map_err(|_| Problem::overloaded())?;

        let (keys, generation) = self.ring.current(&input.name);
        let batch = self
            .pool
            .install(|| Batch::new(body, &keys, self.caps.lines))
            .map_err(|error| Problem::too_many_lines(&error))?;
        let awaits_key = batch.verdicts().any(Verdict::awaits_key);
        let delivery = Delivery {
            received_at,
            started,
            input: input.name.clone(),
            peer: peer.clone(),
            bytes: bytes as u64,
            decoded_bytes,
        };
        let appended = self.store.append(delivery, &batch, &input.expected).map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery is not stored");
            Problem::not_stored()
        })?;
        drop(reservation);
        if awaits_key {
            self.suspicion.raise();
            // New keys may have come after the check and before the commit, too early to see it.
            if self.ring.generation() != generation {
                self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
            }
        }
        self.observer.stored(&input.name, &peer, bytes as u64, &appended, started.elapsed());
        Ok(stored(&appended, input.profile))
    }

    /// Decodes the body and gives back the room of what is needed no more. What cannot be decoded is
    /// kept.
    fn decode(&self, received: &mut Received, runtime: &Handle) -> Result<Bytes, Problem> {
        let layers = match received.layers.clone() {
            Ok(layers) => layers,
            Err(unknown) => {
                let problem = Problem::unknown_encoding(&unknown, "kept in quarantine");
                return Err(self.quarantine(received, problem));
            }
        };
        let Received { body, reservation, .. } = received;
        let (sent, wait) = (body.len(), self.caps.queue_timeout);
        let decoded = decode(body, layers, self.caps.max_decoded, |bytes| {
            let more = (sent + bytes).saturating_sub(reservation.bytes());
            reservation
                .grow_blocking(more, tokio::time::Instant::now() + wait, runtime)
                .map_err(|_| DecodeError::Overloaded)
        });
        match decoded {
            Ok(Some(decoded)) => {
                received.body = Vec::new();
                received.reservation.shrink_to(decoded.len());
                Ok(decoded.into())
            }
            Ok(None) if sent > self.caps.max_decoded => {
                Err(Problem::too_large(self.caps.max_decoded, "when decoded"))
            }
            Ok(None) => Ok(std::mem::take(&mut received.body).into()),
            Err(DecodeError::TooLarge) => {
                Err(Problem::too_large(self.caps.max_decoded, "when decoded"))
            }
            Err(DecodeError::Overloaded) => Err(Problem::overloaded()),
            Err(DecodeError::Broken(error)) => {
                Err(self.quarantine(received, Problem::undecodable(&error.to_string())))
            }
        }
    }

    /// Keeps a body that cannot be decoded. If that fails it is to be sent again.
    fn quarantine(&self, received: &Received, problem: Problem) -> Problem {
        let what = Quarantined {
            id: 0,
            received_at: received.received_at,
            input: received.input.name.clone(),
            peer: received.peer.clone(),
            status: problem.status,
            reason: problem.detail.clone(),
            content_encoding: received.content_encoding.clone(),
            bytes: received.body.len() as u64,
        };
        match self.store.quarantine(&what, &received.body) {
            Ok(id) => {
                tracing::warn!(
                    id,
                    input = what.input,
                    reason = what.reason,
                    "a body is kept in quarantine"
                );
                problem
            }
            Err(error) => {
                tracing::error!(%error, input = what.input, "a body that cannot be decoded is not kept");
                Problem::not_stored()
            }
        }
    }
}
