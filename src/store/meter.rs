//! Who watches the store at work: what was stored, how long it took, and whether it can be written.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Appended, Delivery};
use crate::entry::{Format, Kind};
use crate::ingest::Entry;
use crate::signature::VerdictName;

/// Is told what the store does, on the thread that writes: it must not block.
pub trait Meter: Send + Sync + 'static {
    /// A delivery is on the disk. `classes` counts its entries that were new.
    fn stored(&self, delivery: &Delivery, appended: &Appended, classes: &Classes) {
        let _ = (delivery, appended, classes);
    }

    /// A transaction of so many deliveries is on the disk, so long after it was begun.
    fn committed(&self, deliveries: usize, took: Duration) {
        let _ = (deliveries, took);
    }

    /// A delivery, or a whole transaction, could not be written.
    fn failed(&self) {}
}

/// Nobody watches.
impl Meter for () {}

/// A format, a kind (`None`: malformed) and a verdict.
pub type Class = (Format, Option<Kind>, VerdictName);

/// How many entries there are of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes(Vec<(Class, u64)>);

impl Classes {
    /// Counts an entry.
    pub(super) fn count(&mut self, entry: &Entry) {
        let class = (entry.format, entry.kind, entry.verdict.name());
        // There are few in one delivery, most often one.
        match self.0.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => self.0.push((class, 1)),
        }
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = &(Class, u64)> {
        self.0.iter()
    }
}

/// Whether the store can be written, as far as the last write tells.
///
/// When one failed, an empty transaction is tried while nothing else comes. On a full disk it may
/// succeed where a large delivery fails: there is room for something, and what fails says so again.
#[derive(Debug, Default)]
pub struct Health(Mutex<Option<String>>);

impl Health {
    /// Why the last write failed; `None` if it did not.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of how a write went.
    pub(super) fn note(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
