//! What was found to differ.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::entry::words::words;
use crate::store::{self, StoreCheck};

words! {
    /// What differs.
    pub(crate) enum Kind {
        /// A checkpoint of this log: its signature, its size or its root.
        Checkpoint = "checkpoint",
        /// The checkpoint from elsewhere: the tree is not the one that it was signed over, grown.
        Against = "against",
        /// A hash of a tile, or a file of the log.
        Tile = "tile",
        /// The record of a leaf.
        Leaf = "leaf",
        /// An entry that is not as the log says.
        Entry = "entry",
        /// An entry that has a leaf and is not there.
        Missing = "missing",
        /// An entry without a leaf of its own.
        Added = "added",
        /// A sealed segment that is not as the log says.
        Segment = "segment",
        /// A list of the catalog that is not as the log says.
        Catalog = "catalog",
        /// What `store check` finds.
        Store = "store",
    }
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// The file that it is about.
    pub(crate) file: Option<String>,
    /// The leaf that it is about.
    pub(crate) leaf: Option<u64>,
    /// The entry that it is about, or the first of the entries.
    pub(crate) id: Option<u64>,
    /// What differs.
    pub(crate) what: String,
    /// What was found.
    pub(crate) found: Option<String>,
    /// What was expected.
    pub(crate) expected: Option<String>,
}

impl Difference {
    pub(super) fn new(kind: Kind, what: impl Into<String>) -> Difference {
        Difference {
            kind,
            file: None,
            leaf: None,
            id: None,
            what: what.into(),
            found: None,
            expected: None,
        }
    }

    fn of_store(store::Difference { file, id, what }: store::Difference) -> Difference {
        Difference { id, ..Difference::new(Kind::Store, what).file(file) }
    }

    pub(super) fn file(self, file: impl Into<String>) -> Difference {
        Difference { file: Some(file.into()), ..self }
    }

    pub(super) fn leaf(self, leaf: u64) -> Difference {
        Difference { leaf: Some(leaf), ..self }
    }

    pub(super) fn id(self, id: u64) -> Difference {
        Difference { id: Some(id), ..self }
    }

    pub(super) fn values(self, found: impl ToString, expected: impl ToString) -> Difference {
        Difference { found: Some(found.to_string()), expected: Some(expected.to_string()), ..self }
    }
}

/// The differences that were found and not reported yet.
pub(super) struct Findings {
    inner: Mutex<Inner>,
    shown: usize,
}

#[derive(Default)]
struct Inner {
    count: u64,
    first: BTreeSet<Difference>,
}

impl Findings {
    /// Keeps `shown` differences. The others are only counted.
    pub(super) fn new(shown: usize) -> Findings {
        Findings { inner: Mutex::default(), shown }
    }

    pub(super) fn add(&self, difference: Difference) {
        self.add_all(1, [difference]);
    }

    /// Adds this many differences, of which some are listed.
    fn add_all(&self, count: u64, listed: impl IntoIterator<Item = Difference>) {
        let mut inner = self.inner();
        inner.count += count;
        inner.first.extend(listed);
        while inner.first.len() > self.shown {
            inner.first.pop_last();
        }
    }

    /// Takes what the check of the store found since the last time.
    pub(super) fn take_from(&self, store: &StoreCheck<'_>) {
        let (count, first) = store.take();
        self.add_all(count, first.into_iter().map(Difference::of_store));
    }

    /// Takes what was found since the last time: the number, and the first differences in order.
    pub(super) fn take(&self) -> (u64, BTreeSet<Difference>) {
        let Inner { count, first } = std::mem::take(&mut *self.inner());
        (count, first)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
