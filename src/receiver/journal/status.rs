//! What is known of the journal: for readiness, for metrics, and for the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::objects::ObjectError;
use crate::objects::watched::Watch;

/// What is known of the journal.
#[derive(Debug)]
pub(crate) struct JournalStatus {
    state: Mutex<State>,
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Why nothing can be put; `None` if the last put succeeded, or a new epoch began after it.
    trouble: Option<String>,
    /// Whether a call has failed since the last success. At the start there is trouble, and none has.
    has_failed: bool,
    /// The number of the epoch, and that of the next object. `None` before the first epoch.
    epoch: Option<(u64, u64)>,
}

/// Observes what is put into the journal. Its methods must not block.
pub(crate) trait PutObserver: Send + Sync + 'static {
    /// An object of this size was put, with so many deliveries, in this time.
    fn put(&self, bytes: u64, deliveries: usize, took: Duration);
    /// A call of the object store failed, or took too long.
    fn call_failed(&self);
    /// An epoch was given up.
    fn abandoned(&self);
}

/// The status and the observer of a writer, which are told about the calls of the object store that
/// fail.
pub(crate) struct PutWatch {
    pub(crate) status: Arc<JournalStatus>,
    pub(crate) observer: Arc<dyn PutObserver>,
}

impl Watch for PutWatch {
    fn failed(&self, error: &ObjectError) {
        self.observer.call_failed();
        match self.status.fails(&error.to_string()) {
            true => tracing::warn!(%error, "the journal fails; trying again"),
            false => tracing::debug!(%error, "the journal still fails"),
        }
    }
}

impl Default for JournalStatus {
    fn default() -> JournalStatus {
        let trouble = Some("the journal was not reached yet".to_owned());
        JournalStatus {
            state: Mutex::new(State { trouble, has_failed: false, epoch: None }),
            waiting: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
        }
    }
}

impl JournalStatus {
    /// Why nothing can be put into the journal, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// The number of the newest epoch, and that of the next object in it.
    pub(crate) fn epoch(&self) -> Option<(u64, u64)> {
        self.state().epoch
    }

    /// How many deliveries wait until they are in the journal, and the size of their bodies in bytes.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        (self.waiting.load(Ordering::Relaxed), self.waiting_bytes.load(Ordering::Relaxed))
    }

    /// An epoch was begun, or an object was put. Returns the failure that this ends.
    pub(super) fn works(&self, epoch: u64, next: u64) -> Option<String> {
        let mut state = self.state();
        state.epoch = Some((epoch, next));
        let has_failed = std::mem::take(&mut state.has_failed);
        state.trouble.take().filter(|_| has_failed)
    }

    /// Nothing can be put. Returns whether this is new.
    pub(super) fn fails(&self, why: &str) -> bool {
        let mut state = self.state();
        state.trouble = Some(why.to_owned());
        !std::mem::replace(&mut state.has_failed, true)
    }

    /// A delivery waits, with a body of this size.
    pub(super) fn waits(&self, bytes: u64) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn no_longer_waits(&self, bytes: u64) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_without_a_failure_is_none() {
        let status = JournalStatus::default();
        assert!(status.trouble().is_some());
        assert_eq!(status.works(3, 0), None);
        assert_eq!(status.trouble(), None);
    }

    #[test]
    fn trouble_ends_with_the_next_success() {
        let status = JournalStatus::default();
        assert!(status.trouble().unwrap().contains("not reached yet"));
        assert!(status.fails("no route"), "the first failure is new");
        assert_eq!(status.works(3, 0).as_deref(), Some("no route"));
        assert_eq!((status.trouble(), status.epoch()), (None, Some((3, 0))));
        assert!(status.fails("timed out"));
        assert!(!status.fails("timed out again"));
        assert_eq!(status.epoch(), Some((3, 0)));
        assert_eq!(status.works(3, 1).as_deref(), Some("timed out again"));
        assert_eq!(status.works(3, 2), None);
    }
}
