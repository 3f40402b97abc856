//! A lane of a webhook: entries in their order, a batch at a time, each sent until it is done with.

use std::sync::Arc;

use bytes::Bytes;

use super::log::{Log, Retained, Scope};
use crate::entry::Millis;

/// Along which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneName {
    /// What happens.
    Live,
    /// What is replayed.
    Replay,
}

/// A batch that is to be sent now.
#[derive(Clone, Debug)]
pub(super) struct Work {
    /// Along which lane.
    pub(super) lane: LaneName,
    /// Its number.
    pub(super) batch: u64,
    /// Its entries.
    pub(super) entries: Vec<Arc<Retained>>,
    /// Its body, if it was made for an attempt before this one.
    pub(super) body: Option<Bytes>,
}

/// When batches are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// The time.
    pub(super) now: Millis,
    /// Whether retries are due before their time.
    pub(super) at_once: bool,
    /// Only entries before this number are.
    pub(super) until: u64,
    /// How many entries a batch has at most.
    pub(super) batch: usize,
}

/// What is to be sent in order.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The number of the entry after those that were sent or lost.
    pub(super) next: u64,
    /// The batch that is being sent.
    pub(super) pending: Option<Pending>,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) batch: u64,
    pub(super) entries: Vec<Arc<Retained>>,
    pub(super) body: Option<Bytes>,
    pub(super) attempts: usize,
    pub(super) due: Millis,
}

/// What a lane has to send.
pub(super) enum Taken<'a> {
    /// A batch.
    Batch(&'a Pending),
    /// A retry whose time has not come.
    Waits,
    /// Nothing.
    Nothing,
}

impl Lane {
    /// Starts at `next` with nothing on its way.
    pub(super) fn at(next: u64) -> Lane {
        Lane { next, pending: None }
    }

    /// The batch on its way, or else the next of the entries of `scope`, which is counted in `batches`.
    pub(super) fn take(
        &mut self,
        log: &Log,
        scope: &Scope,
        due: Due,
        batches: &mut u64,
    ) -> Taken<'_> {
        if self.pending.is_none() {
            let entries: Vec<_> = log
                .from(self.next)
                .take_while(|entry| entry.number < due.until)
                .filter(|entry| entry.scope == *scope)
                .take(due.batch)
                .cloned()
                .collect();
            if entries.is_empty() {
                // What belongs to others need not be looked at again.
                self.next = self.next.max(due.until);
                return Taken::Nothing;
            }
            *batches += 1;
            let batch = *batches;
            self.pending = Some(Pending { batch, entries, body: None, attempts: 0, due: due.now });
        }
        match &self.pending {
            Some(pending) if pending.due <= due.now || due.at_once => Taken::Batch(pending),
            Some(_) => Taken::Waits,
            None => Taken::Nothing,
        }
    }

    /// Goes on after the batch.
    pub(super) fn finish(&mut self) {
        let last = self.pending.take().and_then(|pending| Some(pending.entries.last()?.number));
        self.next = last.map_or(self.next, |last| last + 1);
    }
}

impl Pending {
    /// What there is to do for it.
    pub(super) fn work(&self, lane: LaneName) -> Work {
        let (entries, body) = (self.entries.clone(), self.body.clone());
        Work { lane, batch: self.batch, entries, body }
    }
}
