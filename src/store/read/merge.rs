//! Merges the matches of all segments, newest first, as far as the caller reads them.
//!
//! A segment is searched only when it may have the next match. More and more segments are searched
//! at a time, in parallel: a query without matches has to search them all.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::newest::Order;
use crate::store::read::query::{Query, SortKey, Window};

/// The maximum number of keys kept per segment.
const SLICE: usize = if cfg!(test) { 6 } else { 1000 };

/// The maximum number of segments that are searched at a time, per thread. Each thread is done at
/// another time, so it should have several.
const WAVE: usize = 8;

/// A matching entry: its key and its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Match {
    pub(in crate::store) key: SortKey,
    pub(in crate::store) first_id: u64,
}

/// Returns the matches in order.
pub(in crate::store) struct Merge<'a> {
    reader: &'a Reader,
    query: Arc<Query>,
    window: Window,
    slice: usize,
    width: usize,
    runs: Vec<Run>,
    heads: BinaryHeap<Head>,
}

/// The keys of one segment.
struct Run {
    first_id: u64,
    /// Keys smaller than this were not returned yet.
    before: SortKey,
    /// The next keys.
    keys: VecDeque<SortKey>,
    /// Whether there may be more than `keys`.
    more: bool,
}

/// The next key of a run.
#[derive(PartialEq, Eq)]
struct Head {
    key: SortKey,
    /// Whether the next key of the run is `key`. Else it is at most `key`.
    known: bool,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        // Of equal keys, an unknown one comes first: it must be determined before a known one is
        // returned.
        (self.key, !self.known, self.run).cmp(&(other.key, !other.known, other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Merge<'a> {
    /// Prepares to return the matches in `window`. The caller expects to read about `most`.
    pub(in crate::store) fn new(
        reader: &'a Reader,
        query: Arc<Query>,
        window: Window,
        most: usize,
    ) -> Result<Merge<'a>, StoreError> {
        let (mut runs, mut heads) = (Vec::new(), BinaryHeap::new());
        for segment in reader.segments()? {
            if let Some(key) = window.greatest(&segment) {
                heads.push(Head { key, known: false, run: runs.len() });
                let before = window.before;
                runs.push(Run {
                    first_id: segment.first_id,
                    before,
                    keys: VecDeque::new(),
                    more: true,
                });
            }
        }
        let slice = most.clamp(1, SLICE);
        Ok(Merge { reader, query, window, slice, width: 1, runs, heads })
    }

    pub(in crate::store) fn query(&self) -> &Query {
        &self.query
    }

    /// The next match.
    pub(in crate::store) fn next(&mut self) -> Result<Option<Match>, StoreError> {
        loop {
            let Some(head) = self.heads.pop() else { return Ok(None) };
            if !head.known {
                self.fill(head)?;
                continue;
            }
            let Some(run) = self.runs.get_mut(head.run) else { continue };
            run.keys.pop_front();
            run.before = head.key;
            let first_id = run.first_id;
            self.heads.extend(run.head(head.run));
            return Ok(Some(Match { key: head.key, first_id }));
        }
    }

    /// Finds more keys of the run of `head`, and of further runs that need it.
    fn fill(&mut self, head: Head) -> Result<(), StoreError> {
        let mut wave = vec![head];
        while wave.len() < self.width
            && let Some(next) = self.heads.peek()
            && !next.known
        {
            wave.extend(self.heads.pop());
        }
        self.width = wider(self.width);
        let keys = |head: &Head| {
            let Some(run) = self.runs.get(head.run) else { return Ok(Vec::new()) };
            let window = Window { before: run.before, ..self.window.clone() };
            self.reader.first_of(run.first_id, &self.query, &window, Order::Newest, self.slice)
        };
        let found = match wave.as_slice() {
            [one] => vec![keys(one)?],
            wave => wave.par_iter().map(keys).collect::<Result<_, _>>()?,
        };
        for (head, keys) in wave.into_iter().zip(found) {
            let Some(run) = self.runs.get_mut(head.run) else { continue };
            run.more = keys.len() >= self.slice;
            run.keys = keys.into();
            self.heads.extend(run.head(head.run));
        }
        Ok(())
    }
}

/// The number of segments to search at a time after `width`.
pub(super) fn wider(width: usize) -> usize {
    width.saturating_mul(2).min(rayon::current_num_threads().max(1) * WAVE)
}

impl Run {
    /// What comes next.
    fn head(&self, run: usize) -> Option<Head> {
        match self.keys.front() {
            Some(key) => Some(Head { key: *key, known: true, run }),
            None if self.more => Some(Head { key: self.before, known: false, run }),
            None => None,
        }
    }
}
