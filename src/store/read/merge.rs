//! The keys of all segments that match a query, newest first, as far as they are asked for.
//!
//! A segment is entered only when its greatest time is the next there may be. Those that follow are
//! entered more and more at a time, in parallel: a query that matches nothing has to see them all.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::query::{Query, SortKey, Window};

/// The most keys of a segment that are held.
const SLICE: usize = if cfg!(test) { 6 } else { 1000 };

/// A key, and the segment that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Match {
    pub(in crate::store) key: SortKey,
    pub(in crate::store) first_id: u64,
}

/// Gives the keys in their order.
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
    /// Keys that are less than this were not given out yet.
    before: SortKey,
    /// The next of them.
    keys: VecDeque<SortKey>,
    /// Whether there may be more than `keys`.
    more: bool,
}

/// What a run has next.
#[derive(PartialEq, Eq)]
struct Head {
    key: SortKey,
    /// Whether the run's next key is known to be `key`; else it is known to be at most that.
    known: bool,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        // What is not known has to be before what is known is given out.
        (self.key, !self.known, self.run).cmp(&(other.key, !other.known, other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Merge<'a> {
    /// Prepares to give the keys in `window`, of which about `most` will be asked for.
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

    /// The query.
    pub(in crate::store) fn query(&self) -> &Query {
        &self.query
    }

    /// The next key.
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

    /// Finds more keys of the run that `head` is of, and of those that come next and need it too.
    fn fill(&mut self, head: Head) -> Result<(), StoreError> {
        let mut wave = vec![head];
        while wave.len() < self.width
            && let Some(next) = self.heads.peek()
            && !next.known
        {
            wave.extend(self.heads.pop());
        }
        self.width = self.width.saturating_mul(2).min(rayon::current_num_threads().max(1) * 2);
        let keys = |head: &Head| {
            let Some(run) = self.runs.get(head.run) else { return Ok(Vec::new()) };
            let window = Window { before: run.before, ..self.window.clone() };
            self.reader.newest_of(run.first_id, &self.query, &window, self.slice)
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
