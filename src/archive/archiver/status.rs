//! How the archiver stands: for the console, the metrics and readiness.
//!
//! It knows what was done since the start of the process. How much of the store is archived is in the
//! catalog.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::archive::manifest::File;
use crate::clock::now;
use crate::entry::Millis;

/// The state of the archiver, which its thread sets.
#[derive(Debug)]
pub(crate) struct ArchiveStatus {
    place: String,
    files: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    succeeded_at: Option<Millis>,
    failing: Option<String>,
    stopped: Option<String>,
}

/// How the archiver stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveStanding {
    /// Files that were added to the archive since the start, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// How often archiving failed since the start.
    pub(crate) failures: u64,
    /// When the archiver last archived a segment, or found that nothing was due.
    pub(crate) succeeded_at: Option<Millis>,
    /// What fails at the moment and is tried again.
    pub(crate) failing: Option<String>,
    /// Why the archiver has stopped for good.
    pub(crate) stopped: Option<String>,
}

impl ArchiveStatus {
    /// The status of an archiver that has done nothing yet. `place` is the URL of its archive.
    pub(super) fn new(place: String) -> ArchiveStatus {
        ArchiveStatus {
            place,
            files: AtomicU64::default(),
            bytes: AtomicU64::default(),
            failures: AtomicU64::default(),
            state: Mutex::default(),
        }
    }

    /// The URL of the archive, by which the catalog records what is there.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// How the archiver stands now.
    pub(crate) fn standing(&self) -> ArchiveStanding {
        let state = self.state();
        ArchiveStanding {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            succeeded_at: state.succeeded_at,
            failing: state.failing.clone(),
            stopped: state.stopped.clone(),
        }
    }

    /// Whether nothing is archived until a person acts.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped.is_some()
    }

    /// Notes files that were added to the archive.
    pub(super) fn added(&self, files: &[File]) {
        self.files.fetch_add(files.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
    }

    /// Notes that a segment was archived.
    pub(super) fn archived(&self) {
        self.state().succeeded_at = Some(now());
    }

    /// Notes that everything that was due is archived.
    pub(super) fn works(&self) {
        let mut state = self.state();
        state.succeeded_at = Some(now());
        if state.failing.take().is_some() {
            tracing::info!("the store is archived again");
        }
    }

    /// Notes that something failed and is tried again.
    pub(super) fn fails(&self, why: String) {
        tracing::warn!(error = why, "cannot archive now; it is tried again later");
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.state().failing = Some(why);
    }

    /// Notes that the archiver has stopped for good.
    pub(super) fn stop(&self, why: String) {
        tracing::error!(error = why, "the store is not archived any more");
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.state().stopped = Some(why);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shown_until_all_is_archived() {
        let status = ArchiveStatus::new("s3://audit".into());
        assert_eq!(status.standing(), ArchiveStanding::default());
        status.fails("gone".into());
        status.archived();
        let standing = status.standing();
        assert_eq!((standing.failing.as_deref(), standing.failures), (Some("gone"), 1));
        assert!(standing.succeeded_at.is_some() && !status.is_stopped());
        status.works();
        assert_eq!(status.standing().failing, None);
        status.stop("collision".into());
        assert!(status.is_stopped());
        assert_eq!(status.standing().failures, 2);
    }
}
