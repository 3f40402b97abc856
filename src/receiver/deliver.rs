//! An authorized body is decoded on a thread that may block, and handed to the sink.
//!
//! The work goes on if the client leaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::body::{Codings, DecodeError, UnknownEncoding, decode};
use super::fault::Faults;
use super::kept::{Draft, Ending, KeptRequests, Phases};
use super::response::{HttpResponse, Problem};
use super::sink::{Accepted, BodyDelivery, NotStored, Settled, Settlement, Sink};
use super::storing::StoreSink;
use super::{DeliveryObserver, InputEndpoint, ReceiverLimits};
use crate::clock::now;
use crate::entry::Millis;
use crate::net::Reservation;
use crate::store::Refused;

/// Brings deliveries to a sink.
pub(crate) struct Deliverer<S = StoreSink> {
    pub(crate) sink: S,
    pub(crate) limits: ReceiverLimits,
    pub(crate) observer: Arc<dyn DeliveryObserver>,
    /// The faults that an operator injects.
    pub(crate) faults: Arc<Faults>,
    /// The newest requests.
    pub(crate) kept: Arc<KeptRequests>,
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

/// The response to a delivery.
pub(crate) enum Answer {
    Now(HttpResponse),
    /// The sink has the delivery, and settles it later.
    Later(JoinHandle<HttpResponse>),
}

/// What is needed to answer a delivery.
struct Unanswered {
    input: Arc<InputEndpoint>,
    peer: String,
    phases: Phases,
    draft: Option<Box<Draft>>,
}

impl<S: Sink> Deliverer<S> {
    /// Decodes a delivery and hands it to the sink. Returns the response to it. `writing` is held until
    /// the delivery is settled.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        mut incoming: IncomingDelivery,
        writing: mpsc::Sender<()>,
        runtime: &Handle,
    ) -> Answer {
        let (input, peer) = (Arc::clone(&incoming.input), incoming.peer.clone());
        let (draft, phases) = (incoming.draft.take(), incoming.phases);
        let held = draft.as_ref().map_or(0, |draft| draft.held());
        let mut unanswered = Unanswered { input, peer, phases, draft };
        let later = match self.process(incoming, held, &mut unanswered.phases, runtime) {
            Settlement::Now(settled) => return Answer::Now(self.answer(unanswered, settled)),
            Settlement::Later(later) => later,
        };
        let (deliverer, handed) = (Arc::clone(self), Instant::now());
        Answer::Later(runtime.spawn(async move {
            let settled = match later.await {
                Ok(settled) => settled,
                Err(_) => Err(Problem::not_journaled().into()),
            };
            unanswered.phases.store = Some(handed.elapsed());
            let response = deliverer.answer(unanswered, settled);
            drop(writing);
            response
        }))
    }

    /// Reports a settled delivery, and returns the response to it.
    fn answer(&self, unanswered: Unanswered, settled: Settled) -> HttpResponse {
        let Unanswered { input, peer, phases, draft } = unanswered;
        let (response, outcome, reason) = match settled {
            Ok(Accepted { outcome, response }) => (response, outcome, None),
            Err(NotStored { problem, outcome }) => {
                self.failed(&input.name, &peer, Some(problem.status), &problem.detail);
                let reason = problem.detail.clone();
                (problem.into_response(input.profile), Some(outcome), Some(reason))
            }
        };
        if let (Some(draft), Some(outcome)) = (draft, outcome) {
            self.kept.keep(*draft, Ending { outcome, phases, reason, answer: Some(&response) });
        }
        response
    }

    /// Reports an authorized delivery that was not stored. It is listed among the refused requests too,
    /// because operators look there when nothing arrives. `status` is `None` if the connection was closed.
    pub(crate) fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        self.observer.failed(input, peer, status, reason);
        self.sink.note_refused(Refused {
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
        self.sink.note_refused(refused);
    }

    /// Decodes a delivery and hands it to the sink. `held` is how much of the body as sent stays in
    /// memory until the end, in bytes.
    fn process(
        &self,
        mut incoming: IncomingDelivery,
        held: usize,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Settlement {
        let sent = incoming.body.len() as u64;
        let decoded = self.decode(&mut incoming, held, phases, runtime);
        let IncomingDelivery { received_at, started, input, peer, content_encoding, .. } = incoming;
        let IncomingDelivery { body, reservation, .. } = incoming;
        let with = |body| BodyDelivery {
            received_at,
            started,
            input,
            peer,
            content_encoding,
            sent,
            body,
            reservation,
        };
        match decoded {
            Ok(decoded) => self.sink.accept(with(decoded), &self.limits, phases, runtime),
            Err(NotDecoded::Undecodable(problem)) => self.sink.keep(with(body), problem),
            Err(NotDecoded::Refused(problem)) => problem.into(),
        }
    }

    /// Decodes the body, and frees the memory of the encoded one, but for the `held` bytes.
    fn decode(
        &self,
        incoming: &mut IncomingDelivery,
        held: usize,
        phases: &mut Phases,
        runtime: &Handle,
    ) -> Result<Bytes, NotDecoded> {
        let codings = incoming.codings.clone().map_err(|unknown| {
            NotDecoded::Undecodable(Problem::unknown_encoding(&unknown, "kept in quarantine"))
        })?;
        let IncomingDelivery { body, reservation, .. } = incoming;
        let (sent, wait) = (body.len(), self.limits.queue_timeout);
        let (decoding, mut waited) = (Instant::now(), Duration::ZERO);
        let decoded = decode(body, &codings, self.limits.max_decoded, |bytes| {
            let more = (sent + bytes).saturating_sub(reservation.bytes());
            let waiting = Instant::now();
            let grown = reservation.grow_blocking(more, wait, runtime);
            waited += waiting.elapsed();
            grown.map_err(|_| DecodeError::Overloaded)
        });
        phases.decode = Some(decoding.elapsed().saturating_sub(waited));
        phases.add_wait(waited);
        let too_large = || Problem::too_large(self.limits.max_decoded, "when decoded");
        match decoded {
            Ok(Some(decoded)) => {
                incoming.body = Bytes::new();
                incoming.reservation.shrink_to(decoded.len() + held);
                Ok(decoded.into())
            }
            Ok(None) if sent > self.limits.max_decoded => Err(NotDecoded::Refused(too_large())),
            Ok(None) => Ok(std::mem::take(&mut incoming.body)),
            Err(DecodeError::TooLarge) => Err(NotDecoded::Refused(too_large())),
            Err(DecodeError::Overloaded) => Err(NotDecoded::Refused(Problem::overloaded())),
            Err(DecodeError::Broken(error)) => {
                Err(NotDecoded::Undecodable(Problem::undecodable(&error.to_string())))
            }
        }
    }
}

/// Why a body was not decoded.
enum NotDecoded {
    /// It cannot be decoded, and is kept.
    Undecodable(Problem),
    /// It is over a limit, or there was no memory for it.
    Refused(Problem),
}
