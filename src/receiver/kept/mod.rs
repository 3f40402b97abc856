//! The newest requests as they came, for developers of a sender. In memory only.
//!
//! `console.keep_requests` is the budget for all of them. Three quarters of it are for requests with a
//! good `Authorization`, which are kept with the body as sent. A quarter is for refused ones, of which
//! the body was never read. So a stranger pushes out nothing but what other strangers sent. The oldest
//! go first. With a budget of 0 nothing is kept, and no body is held.
//!
//! `head` has the headers, without their secrets. `request` has the rest of a kept request.

mod head;
mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub(crate) use self::head::{KeptHead, KeptHeader};
pub(crate) use self::request::KeptBody;
pub(crate) use self::request::{Draft, Ending, KeptRequest, Outcome, Phases};
use super::response::HttpResponse;

/// The most requests in each of the two shares, so that a look-up is quick.
const MOST: usize = 10_000;

/// The newest requests.
pub(crate) struct KeptRequests {
    is_on: bool,
    /// The most bytes that an authorized request may take.
    most: usize,
    rings: Mutex<Rings>,
}

struct Rings {
    /// The number of the next request.
    next: u64,
    authorized: Ring,
    refused: Ring,
}

/// Requests, oldest first, so their numbers rise.
struct Ring {
    requests: VecDeque<Arc<KeptRequest>>,
    bytes: usize,
    most_bytes: usize,
}

impl KeptRequests {
    /// A ring of at most `budget` bytes. 0 keeps nothing.
    pub(crate) fn new(budget: u64) -> KeptRequests {
        let budget = usize::try_from(budget).unwrap_or(usize::MAX);
        let of_refused = budget / 4;
        let most = budget - of_refused;
        let rings = Rings { next: 1, authorized: Ring::new(most), refused: Ring::new(of_refused) };
        KeptRequests { is_on: budget > 0, most, rings: Mutex::new(rings) }
    }

    /// Begins to keep a request whose headers were read at `started`. `None` if nothing is kept.
    pub(crate) fn begin(
        &self,
        started: Instant,
        head: impl FnOnce() -> KeptHead,
    ) -> Option<Box<Draft>> {
        self.is_on.then(|| Box::new(Draft::new(head(), started, self.most)))
    }

    /// Keeps a request that ended.
    pub(crate) fn keep(&self, draft: Draft, ending: Ending<'_>) {
        let request = draft.end(ending);
        let dropped = self.rings().add(request);
        // Large bodies are freed after the lock.
        drop(dropped);
    }

    /// Keeps a request that was admitted and not stored, if it is to be kept. `answer` is `None` if its
    /// connection is closed without one.
    pub(crate) fn keep_failed(
        &self,
        draft: Option<Box<Draft>>,
        phases: Phases,
        reason: String,
        answer: Option<&HttpResponse>,
    ) {
        if let Some(draft) = draft {
            let outcome = Outcome::Failed;
            self.keep(*draft, Ending { outcome, phases, reason: Some(reason), answer });
        }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Look-ups for the console.
impl KeptRequests {
    /// Whether requests are kept.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// The request with this number.
    pub(crate) fn get(&self, number: u64) -> Option<Arc<KeptRequest>> {
        let rings = self.rings();
        [&rings.authorized, &rings.refused].into_iter().find_map(|ring| {
            let at = ring.requests.binary_search_by_key(&number, |one| one.number).ok()?;
            ring.requests.get(at).cloned()
        })
    }

    /// The request that was stored as this delivery.
    pub(crate) fn of_delivery(&self, id: u64) -> Option<Arc<KeptRequest>> {
        self.authorized(
            |outcome| matches!(outcome, Outcome::Stored { delivery, .. } if delivery == id),
        )
    }

    /// The request whose body was put in quarantine under this id.
    pub(crate) fn of_quarantine(&self, id: u64) -> Option<Arc<KeptRequest>> {
        self.authorized(|outcome| outcome == Outcome::Quarantined { id })
    }

    /// The newest authorized request with such an outcome.
    fn authorized(&self, matches: impl Fn(Outcome) -> bool) -> Option<Arc<KeptRequest>> {
        let rings = self.rings();
        rings.authorized.requests.iter().rev().find(|one| matches(one.outcome)).cloned()
    }

    /// The newest request of the same input before this one, refused ones too.
    pub(crate) fn before(&self, request: &KeptRequest) -> Option<Arc<KeptRequest>> {
        let input = request.head.input.as_deref()?;
        let is_before = |one: &&Arc<KeptRequest>| {
            one.number < request.number && one.head.input.as_deref() == Some(input)
        };
        self.rings().newest().find(is_before).cloned()
    }

    /// The newest `limit` requests with such an outcome, newest first.
    pub(crate) fn newest(
        &self,
        matches: impl Fn(Outcome) -> bool,
        limit: usize,
    ) -> Vec<Arc<KeptRequest>> {
        let rings = self.rings();
        rings.newest().filter(|one| matches(one.outcome)).take(limit).cloned().collect()
    }
}

impl Rings {
    /// Adds a request, and returns those that had to go.
    fn add(&mut self, mut request: KeptRequest) -> Vec<Arc<KeptRequest>> {
        request.number = self.next;
        self.next += 1;
        match request.outcome {
            Outcome::Refused => self.refused.add(request),
            _ => self.authorized.add(request),
        }
    }

    /// All requests, newest first.
    fn newest(&self) -> impl Iterator<Item = &Arc<KeptRequest>> {
        let mut authorized = self.authorized.requests.iter().rev().peekable();
        let mut refused = self.refused.requests.iter().rev().peekable();
        std::iter::from_fn(move || match (authorized.peek(), refused.peek()) {
            (Some(one), Some(other)) if one.number < other.number => refused.next(),
            (None, _) => refused.next(),
            _ => authorized.next(),
        })
    }
}

impl Ring {
    fn new(most_bytes: usize) -> Ring {
        Ring { requests: VecDeque::new(), bytes: 0, most_bytes }
    }

    /// Adds a request, and returns those that had to go. One that is larger than the ring goes itself.
    fn add(&mut self, request: KeptRequest) -> Vec<Arc<KeptRequest>> {
        let bytes = request.bytes();
        let request = Arc::new(request);
        let mut dropped = Vec::new();
        if bytes > self.most_bytes {
            dropped.push(request);
            return dropped;
        }
        while self.bytes + bytes > self.most_bytes || self.requests.len() >= MOST {
            let Some(oldest) = self.requests.pop_front() else { break };
            self.bytes -= oldest.bytes();
            dropped.push(oldest);
        }
        self.bytes += bytes;
        self.requests.push_back(request);
        dropped
    }
}

/// How many are kept, and nothing of them.
impl fmt::Debug for KeptRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rings = self.rings();
        f.debug_struct("KeptRequests")
            .field("authorized", &rings.authorized.requests.len())
            .field("refused", &rings.refused.requests.len())
            .field("bytes", &(rings.authorized.bytes + rings.refused.bytes))
            .finish_non_exhaustive()
    }
}
