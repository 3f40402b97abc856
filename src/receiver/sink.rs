//! The end of the path of a delivery: the store, or the journal.
//!
//! What admits, reads, decodes, answers, keeps requests and injects faults is the same for all sinks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::kept::{Outcome, Phases};
use super::response::{HttpResponse, Problem};
use super::{InputEndpoint, ReceiverLimits};
use crate::entry::Millis;
use crate::net::Reservation;
use crate::store::Refused;

/// Takes deliveries whose bodies were read. Its methods run on threads that may block.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Takes a delivery whose body was decoded.
    fn accept(
        &self,
        delivery: BodyDelivery,
        limits: &ReceiverLimits,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Settlement;

    /// Keeps a body as sent that cannot be decoded. `problem` says why, and is the answer if it is
    /// kept.
    fn keep(&self, delivery: BodyDelivery, problem: Problem) -> Settlement;

    /// Takes what was refused into the list of refused requests, if there is one.
    fn note_refused(&self, refused: Refused);
}

/// A delivery with its body, decoded or as sent.
pub(crate) struct BodyDelivery {
    /// When its headers were read.
    pub(crate) received_at: Millis,
    /// The same moment, to measure from.
    pub(crate) started: Instant,
    pub(crate) input: Arc<InputEndpoint>,
    pub(crate) peer: String,
    /// The `Content-Encoding` as sent.
    pub(crate) content_encoding: Option<String>,
    /// The size of the body as sent, in bytes.
    pub(crate) sent: u64,
    pub(crate) body: Bytes,
    /// The memory for the body. It is freed when the delivery is settled.
    pub(crate) reservation: Reservation,
}

/// What became of a delivery: it was accepted, or not.
pub(crate) type Settled = Result<Accepted, NotStored>;

/// Whether it is known already what becomes of a delivery.
pub(crate) enum Settlement {
    Now(Settled),
    /// The sink says it later. If it does not, nothing is known of the delivery.
    Later(oneshot::Receiver<Settled>),
}

/// A delivery that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// `None` in the journal: nothing is kept there.
    pub(super) outcome: Option<Outcome>,
    pub(super) response: HttpResponse,
}

/// A delivery of which no entry was stored.
#[derive(Debug)]
pub(crate) struct NotStored {
    pub(super) problem: Problem,
    pub(super) outcome: Outcome,
}

impl From<Problem> for NotStored {
    fn from(problem: Problem) -> NotStored {
        NotStored { problem, outcome: Outcome::Failed }
    }
}

impl From<Problem> for Settlement {
    fn from(problem: Problem) -> Settlement {
        Settlement::Now(Err(problem.into()))
    }
}
