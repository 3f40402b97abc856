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
use super::kept::Phases;
use super::response::{self, Problem};
use super::sink::{Accepted, BodyDelivery, Settled, Settlement, Sink};
use super::{DeliveryObserver, ReceiverLimits};
use crate::config::ResponseProfile;
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
    /// Its lines are acknowledged. Its headers were read at `started`.
    Acknowledged { started: Instant, counts: LineCounts, profile: ResponseProfile },
    /// Its body cannot be decoded.
    Undecoded(Problem),
}

impl Sink for JournalSink {
    fn accept(
        &self,
        mut delivery: BodyDelivery,
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
        let more = OVERHEAD
            .min(delivery.reservation.max_bytes().saturating_sub(delivery.reservation.bytes()));
        let waiting = Instant::now();
        if delivery.reservation.grow_blocking(more, limits.queue_timeout, runtime).is_err() {
            return Problem::overloaded().into();
        }
        phases.add_wait(waiting.elapsed());
        let (started, profile) = (delivery.started, delivery.input.profile);
        self.enqueue(delivery, None, Ending::Acknowledged { started, counts, profile })
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
        self.status.waits(waiting.bytes());
        match self.queue.send(Queued::Delivery(Box::new(waiting))) {
            Ok(()) => Settlement::Later(settled),
            Err(mpsc::error::SendError(Queued::Delivery(waiting))) => {
                self.status.no_longer_waits(waiting.bytes());
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
        status.no_longer_waits(self.bytes());
        let settled = match self.ending {
            Ending::Acknowledged { started, counts, profile } => {
                self.observer.journaled(&self.delivery, started, counts);
                Ok(Accepted { outcome: None, response: response::journaled(&counts, profile) })
            }
            Ending::Undecoded(problem) => {
                let Delivery { input, .. } = &self.delivery;
                let reason = &problem.detail;
                tracing::warn!(input, reason, "a body that cannot be decoded was journaled");
                Err(problem.into())
            }
        };
        // The body is freed before the answer, and nobody may wait for it any more.
        let Waiting { settle, delivery, .. } = self;
        drop(delivery);
        let _ = settle.send(settled);
    }

    /// It is not known to be in the journal.
    fn failed(self, status: &JournalStatus) {
        status.no_longer_waits(self.bytes());
        let _ = self.settle.send(Err(Problem::not_journaled().into()));
    }
}
