//! The sink that journals: deliveries wait together, and are acknowledged when the object store has
//! them.
//!
//! A blocking thread counts the lines and puts the delivery into a queue. One task ([`writer`]) takes
//! them from there, puts them into the journal and settles them. The queue has no limit of its own: the
//! memory of a delivery is held until it is settled, so the budget of bytes in flight is the limit. No
//! signature is checked here: the stores do that. [`status`] is what is known of the journal.

pub(crate) mod status;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use self::status::JournalStatus;
use super::kept::{Outcome, Phases};
use super::response::{self, Problem};
use super::sink::{Accepted, BodyDelivery, NotStored, Settled, Settlement, Sink};
use super::{DeliveryObserver, InputEndpoint, ReceiverLimits};
use crate::entry::Millis;
use crate::ingest::LineCounts;
use crate::journal::object::{Delivery, Undecoded};
use crate::net::Reservation;
use crate::store::Refused;

/// The memory that a waiting delivery takes besides its body, in bytes.
const OVERHEAD: usize = 1024;

/// Puts deliveries into the queue of the writer.
pub(crate) struct JournalSink {
    pub(crate) queue: mpsc::UnboundedSender<Queued>,
    pub(crate) status: Arc<JournalStatus>,
    pub(crate) observer: Arc<dyn DeliveryObserver>,
}

/// What the writer gets.
pub(crate) enum Queued {
    Delivery(Box<Waiting>),
    /// The writer answers it at once. That shows that it is alive.
    Ping(oneshot::Sender<()>),
}

/// A delivery that waits until it is in the journal.
pub(crate) struct Waiting {
    delivery: Delivery,
    /// Since when.
    since: tokio::time::Instant,
    ending: Ending,
    observer: Arc<dyn DeliveryObserver>,
    settle: oneshot::Sender<Settled>,
    /// The memory for the body.
    _reservation: Reservation,
}

/// What becomes of a delivery that is in the journal.
enum Ending {
    /// Its lines are acknowledged.
    Acknowledged { journaled: Journaled, input: Arc<InputEndpoint> },
    /// Its body cannot be decoded.
    Undecoded(Problem),
}

/// A delivery that is in the journal, and whose body was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Journaled {
    pub(crate) input: String,
    pub(crate) peer: String,
    /// When its headers were read.
    pub(crate) received_at: Millis,
    /// The same moment, to measure from.
    pub(crate) started: Instant,
    /// The size of the body as sent, and decoded, in bytes.
    pub(crate) bytes: u64,
    pub(crate) decoded_bytes: u64,
    pub(crate) counts: LineCounts,
}

impl Sink for JournalSink {
    fn accept(
        &self,
        delivery: BodyDelivery,
        limits: &ReceiverLimits,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Settlement {
        let counting = Instant::now();
        let counts = match LineCounts::of(&delivery.body, limits.lines) {
            Ok(counts) => counts,
            Err(error) => return Problem::too_many_lines(&error).into(),
        };
        phases.verify = Some(counting.elapsed());
        let mut delivery = delivery;
        let more = OVERHEAD
            .min(delivery.reservation.max_bytes().saturating_sub(delivery.reservation.bytes()));
        let waiting = Instant::now();
        if delivery.reservation.grow_blocking(more, limits.queue_timeout, runtime).is_err() {
            return Problem::overloaded().into();
        }
        phases.add_wait(waiting.elapsed());
        let journaled = Journaled {
            input: delivery.input.name.clone(),
            peer: delivery.peer.clone(),
            received_at: delivery.received_at,
            started: delivery.started,
            bytes: delivery.sent,
            decoded_bytes: delivery.body.len() as u64,
            counts,
        };
        let input = Arc::clone(&delivery.input);
        self.enqueue(delivery, None, Ending::Acknowledged { journaled, input })
    }

    fn keep(&self, delivery: BodyDelivery, problem: Problem) -> Settlement {
        let Problem { status, detail, .. } = &problem;
        let undecoded = Undecoded { status: *status, reason: detail.clone() };
        self.enqueue(delivery, Some(undecoded), Ending::Undecoded(problem))
    }

    /// There is no list: the observer logs and counts it.
    fn note_refused(&self, _: Refused) {}
}

impl JournalSink {
    fn enqueue(
        &self,
        delivery: BodyDelivery,
        undecoded: Option<Undecoded>,
        ending: Ending,
    ) -> Settlement {
        let BodyDelivery { received_at, input, peer, content_encoding, sent, body, .. } = delivery;
        let (settle, settled) = oneshot::channel();
        let waiting = Waiting {
            delivery: Delivery {
                input: input.name.clone(),
                peer,
                received_at,
                content_encoding,
                sent,
                undecoded,
                body,
            },
            since: tokio::time::Instant::now(),
            ending,
            observer: Arc::clone(&self.observer),
            settle,
            _reservation: delivery.reservation,
        };
        self.status.begins_to_wait(waiting.bytes());
        match self.queue.send(Queued::Delivery(Box::new(waiting))) {
            Ok(()) => Settlement::Later(settled),
            Err(mpsc::error::SendError(Queued::Delivery(waiting))) => {
                self.status.ends_to_wait(waiting.bytes());
                Problem::not_journaled().into()
            }
            Err(_) => Problem::not_journaled().into(),
        }
    }
}

impl Waiting {
    /// The size of the body.
    fn bytes(&self) -> u64 {
        self.delivery.body.len() as u64
    }

    /// It is in the journal.
    fn done(self, status: &JournalStatus) {
        status.ends_to_wait(self.bytes());
        let settled = match self.ending {
            Ending::Acknowledged { journaled, input } => {
                self.observer.journaled(&journaled);
                let LineCounts { received, malformed } = journaled.counts;
                Ok(Accepted {
                    outcome: Outcome::Journaled { received, malformed },
                    response: response::journaled(&journaled.counts, input.profile),
                })
            }
            Ending::Undecoded(problem) => {
                let Delivery { input, .. } = &self.delivery;
                let reason = &problem.detail;
                tracing::warn!(input, reason, "a body that cannot be decoded was journaled");
                let outcome = Outcome::Journaled { received: 0, malformed: 0 };
                Err(NotStored { problem, outcome })
            }
        };
        // The body is freed before the answer, and nobody may wait for it any more.
        let Waiting { settle, delivery, .. } = self;
        drop(delivery);
        let _ = settle.send(settled);
    }

    /// It is not known to be in the journal.
    fn failed(self, status: &JournalStatus) {
        status.ends_to_wait(self.bytes());
        let _ = self.settle.send(Err(Problem::not_journaled().into()));
    }

    /// The delivery, whose body is not copied.
    fn delivery(&self) -> Delivery {
        self.delivery.clone()
    }
}
