//! An authorized body is decoded, verified and stored, on a thread that may block.
//!
//! A body that cannot be decoded is kept in quarantine. The work goes on if the client leaves.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::body::{Codings, DecodeError, UnknownEncoding, decode};
use super::fault::Faults;
use super::kept::{Draft, Ending, KeptRequests, Outcome, Phases};
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
use crate::store::{Appended, Delivery, Quarantined, Refused, Store, StoredBatch};

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
    /// The faults that an operator injects.
    pub(crate) faults: Arc<Faults>,
    /// The newest requests.
    pub(crate) kept: Arc<KeptRequests>,
    /// Held by the task that an operator runs: one at a time.
    pub(crate) task: Mutex<()>,
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
    pub(crate) body: Bytes,
    /// The memory for the body.
    pub(crate) reservation: Reservation,
    /// How long the parts of the work took until now.
    pub(crate) phases: Phases,
    /// The request, if it is to be kept.
    pub(crate) draft: Option<Box<Draft>>,
}

/// A delivery that was not stored.
#[derive(Debug)]
struct NotStored {
    problem: Problem,
    /// The id of its body in quarantine.
    quarantined: Option<u64>,
}

impl From<Problem> for NotStored {
    fn from(problem: Problem) -> NotStored {
        NotStored { problem, quarantined: None }
    }
}

impl Deliverer {
    /// Stores a delivery, and returns the response to it.
    pub(crate) fn deliver(&self, mut incoming: IncomingDelivery, runtime: &Handle) -> HttpResponse {
        let (input, peer) = (Arc::clone(&incoming.input), incoming.peer.clone());
        let (draft, mut phases) = (incoming.draft.take(), incoming.phases);
        let held = draft.as_ref().map_or(0, |draft| draft.held());
        let (response, outcome, reason) = match self.process(incoming, held, &mut phases, runtime) {
            Ok(StoredBatch { id, appended, .. }) => {
                let Appended { received, stored, duplicates, .. } = appended;
                let outcome = Outcome::Stored { delivery: id, received, stored, duplicates };
                (response::stored(&appended, input.profile), outcome, None)
            }
            Err(NotStored { problem, quarantined }) => {
                self.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                let outcome = quarantined.map_or(Outcome::Failed, |id| Outcome::Quarantined { id });
                let reason = problem.detail.clone();
                (problem.into_response(input.profile), outcome, Some(reason))
            }
        };
        if let Some(draft) = draft {
            self.kept.keep(*draft, Ending { outcome, phases, reason, answer: Some(&response) });
        }
        response
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

    /// Decodes, verifies and stores a delivery. `held` is how much of the body as sent stays in memory
    /// until the end, in bytes.
    fn process(
        &self,
        mut incoming: IncomingDelivery,
        held: usize,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Result<StoredBatch, NotStored> {
        let bytes = incoming.body.len();
        let body = self.decode(&mut incoming, held, phases, runtime)?;
        let IncomingDelivery { received_at, started, input, peer, mut reservation, .. } = incoming;
        let decoded_bytes = body.len() as u64;

        // Each line has an overhead. It is more than the body if the lines are tiny.
        let lines = lines(&body).take(self.limits.lines.max_lines).count();
        let more = (lines * LINE_OVERHEAD).saturating_sub(body.len());
        let more = more.min(reservation.max_bytes().saturating_sub(reservation.bytes()));
        let waiting = Instant::now();
        let deadline = tokio::time::Instant::now() + self.limits.queue_timeout;
        reservation.grow_blocking(more, deadline, runtime).map_err(|_| Problem::overloaded())?;
        phases.add_wait(waiting.elapsed());

        let (keys, generation) = self.ring.current(&input.name);
        let seed = random::seed().map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        let verifying = Instant::now();
        let batch = self
            .pool
            .install(|| Batch::new(body, &keys, self.limits.lines, &seed))
            .map_err(|error| Problem::too_many_lines(&error))?;
        phases.verify = Some(verifying.elapsed());
        let awaits_key = batch.verdicts().any(Verdict::awaits_key);
        let delivery = Delivery {
            received_at,
            started,
            input: input.name.clone(),
            peer,
            bytes: bytes as u64,
            decoded_bytes,
        };
        let storing = Instant::now();
        let stored = self.store.append(delivery, &batch, &input.expected).map_err(|error| {
            tracing::error!(%error, input = input.name, "a delivery was not stored");
            Problem::not_stored()
        })?;
        phases.store = Some(storing.elapsed());
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
        Ok(stored)
    }

    /// Decodes the body, and frees the memory of the encoded one, but for the `held` bytes. A body that
    /// cannot be decoded is put in quarantine.
    fn decode(
        &self,
        incoming: &mut IncomingDelivery,
        held: usize,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Result<Bytes, NotStored> {
        let codings = match incoming.codings.clone() {
            Ok(codings) => codings,
            Err(unknown) => {
                let problem = Problem::unknown_encoding(&unknown, "kept in quarantine");
                return Err(self.quarantine(incoming, problem));
            }
        };
        let IncomingDelivery { body, reservation, .. } = incoming;
        let (sent, wait) = (body.len(), self.limits.queue_timeout);
        let (decoding, mut waited) = (Instant::now(), Duration::ZERO);
        let decoded = decode(body, &codings, self.limits.max_decoded, |bytes| {
            let more = (sent + bytes).saturating_sub(reservation.bytes());
            let waiting = Instant::now();
            let grown =
                reservation.grow_blocking(more, tokio::time::Instant::now() + wait, runtime);
            waited += waiting.elapsed();
            grown.map_err(|_| DecodeError::Overloaded)
        });
        phases.decode = Some(decoding.elapsed().saturating_sub(waited));
        phases.add_wait(waited);
        match decoded {
            Ok(Some(decoded)) => {
                incoming.body = Bytes::new();
                incoming.reservation.shrink_to(decoded.len() + held);
                Ok(decoded.into())
            }
            Ok(None) if sent > self.limits.max_decoded => {
                Err(Problem::too_large(self.limits.max_decoded, "when decoded").into())
            }
            Ok(None) => Ok(std::mem::take(&mut incoming.body)),
            Err(DecodeError::TooLarge) => {
                Err(Problem::too_large(self.limits.max_decoded, "when decoded").into())
            }
            Err(DecodeError::Overloaded) => Err(Problem::overloaded().into()),
            Err(DecodeError::Broken(error)) => {
                Err(self.quarantine(incoming, Problem::undecodable(&error.to_string())))
            }
        }
    }

    /// Puts a body in quarantine. Returns `problem`, or another one if that fails, so that the sender
    /// retries.
    fn quarantine(&self, incoming: &IncomingDelivery, problem: Problem) -> NotStored {
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
                NotStored { problem, quarantined: Some(id) }
            }
            Err(error) => {
                tracing::error!(%error, input = what.input, "a body that cannot be decoded was not kept");
                Problem::not_stored().into()
            }
        }
    }
}
