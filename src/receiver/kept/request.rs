//! A kept request with its body, its answer and what became of it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Body;

use super::head::{self, KeptHead, KeptHeader};
use crate::receiver::fault::Fault;
use crate::receiver::response::HttpResponse;

/// What a request takes besides its texts, in bytes: the structs, and what allocating costs.
const OVERHEAD: usize = size_of::<KeptRequest>() + 512;

/// Room for the answer of a request whose body is kept, in bytes. Answers are shorter.
const ANSWER: usize = 4096;

/// A request that was answered, or whose connection was closed.
pub(crate) struct KeptRequest {
    /// Its own number. Numbers rise with the time of the answer.
    pub(crate) number: u64,
    pub(crate) head: KeptHead,
    pub(crate) body: KeptBody,
    /// `None` if the connection was closed without an answer.
    pub(crate) answer: Option<KeptAnswer>,
    pub(crate) phases: Phases,
    pub(crate) outcome: Outcome,
    /// Why it was not stored.
    pub(crate) reason: Option<String>,
    /// The fault that was injected. The time of a delayed answer does not count in the phases.
    pub(crate) fault: Option<Fault>,
}

/// The body of a kept request.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum KeptBody {
    /// The body as sent.
    Whole(Bytes),
    /// It has this many bytes, which is too much to be kept.
    TooLarge(usize),
    /// It was not read to its end: the request was refused, the body is over a limit, or it broke off.
    NotRead,
}

impl KeptBody {
    /// The bytes that are held.
    fn held(&self) -> usize {
        match self {
            KeptBody::Whole(body) => body.len(),
            KeptBody::TooLarge(_) | KeptBody::NotRead => 0,
        }
    }
}

/// An answer. hyper adds the headers that are about the connection when it is sent.
pub(crate) struct KeptAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Box<[KeptHeader]>,
    pub(crate) body: Bytes,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored {
        /// The id of the delivery.
        delivery: u64,
        received: u64,
        stored: u64,
        duplicates: u64,
    },
    /// The body was put in quarantine.
    Quarantined { id: u64 },
    /// The request was not admitted.
    Refused,
    /// The request was admitted, and nothing of it was stored.
    Failed,
}

/// How long the parts of the work took. `None` if a part was not reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// To read the body, without waits for memory.
    pub(crate) read: Option<Duration>,
    /// To wait for memory, for the body as sent and decoded.
    pub(crate) wait: Option<Duration>,
    /// To decode the body, without waits for memory.
    pub(crate) decode: Option<Duration>,
    /// To find the lines, and to verify them.
    pub(crate) verify: Option<Duration>,
    /// To append the entries, up to the commit.
    pub(crate) store: Option<Duration>,
    /// From the end of the headers until the answer was ready to be sent.
    pub(crate) total: Option<Duration>,
}

impl Phases {
    /// Adds to the wait for memory.
    pub(crate) fn add_wait(&mut self, waited: Duration) {
        self.wait = Some(self.wait.unwrap_or_default() + waited);
    }
}

/// A request that is still being answered.
pub(crate) struct Draft {
    head: KeptHead,
    body: KeptBody,
    /// The fault that is injected.
    pub(crate) fault: Option<Fault>,
    started: Instant,
    /// The most bytes that it may take.
    most: usize,
}

/// How a request ended.
pub(crate) struct Ending<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) phases: Phases,
    /// Why it was not stored.
    pub(crate) reason: Option<String>,
    /// `None` if the connection is closed without an answer.
    pub(crate) answer: Option<&'a HttpResponse>,
}

impl Draft {
    pub(super) fn new(head: KeptHead, started: Instant, most: usize) -> Draft {
        Draft { head, body: KeptBody::NotRead, fault: None, started, most }
    }

    /// Holds the body as sent, if it fits.
    pub(crate) fn hold(&mut self, body: &Bytes) {
        let others = OVERHEAD + self.head.bytes() + ANSWER;
        self.body = match others + body.len() <= self.most {
            true => KeptBody::Whole(body.clone()),
            false => KeptBody::TooLarge(body.len()),
        };
    }

    /// The bytes of the body that it holds.
    pub(crate) fn held(&self) -> usize {
        self.body.held()
    }

    /// The request as it ended now, still without a number.
    pub(super) fn end(self, ending: Ending<'_>) -> KeptRequest {
        let Draft { head, body, fault, started, .. } = self;
        let Ending { outcome, phases, reason, answer } = ending;
        let phases = Phases { total: Some(started.elapsed()), ..phases };
        let answer = answer.map(KeptAnswer::new);
        KeptRequest { number: 0, head, body, answer, phases, outcome, reason, fault }
    }
}

impl KeptAnswer {
    fn new(response: &HttpResponse) -> KeptAnswer {
        // The whole body is there at once.
        let mut body = response.body().clone();
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let body = match polled {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        KeptAnswer {
            status: response.status().as_u16(),
            headers: head::headers(response.headers()),
            body,
        }
    }
}

impl KeptRequest {
    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let body = self.body.held();
        let answer = self.answer.as_ref();
        let answer = answer.map_or(0, |answer| answer.body.len() + head::bytes(&answer.headers));
        let reason = self.reason.as_ref().map_or(0, String::len);
        OVERHEAD + self.head.bytes() + body + answer + reason
    }
}

/// Neither headers nor bodies: they are hostile, and may hold a secret under any name.
impl fmt::Debug for KeptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeptRequest { number, head, phases, outcome, fault, .. } = self;
        f.debug_struct("KeptRequest")
            .field("number", number)
            .field("received_at", &head.received_at)
            .field("input", &head.input)
            .field("status", &self.answer.as_ref().map(|answer| answer.status))
            .field("phases", phases)
            .field("outcome", outcome)
            .field("fault", fault)
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
