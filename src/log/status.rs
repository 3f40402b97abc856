//! How the signer stands: for the console, the metrics and readiness.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::now;
use crate::entry::Millis;

/// The state of the signer, which its thread sets.
#[derive(Debug, Default)]
pub(crate) struct LogStatus(Mutex<LogStanding>);

/// How the signer stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStanding {
    /// The number of leaves that the tiles have.
    pub(crate) size: u64,
    /// The number of leaves that the newest checkpoint covers.
    pub(crate) signed: u64,
    /// When the signer last signed, or found that there was nothing new. `None`: not since the
    /// start of the process.
    pub(crate) succeeded_at: Option<Millis>,
    /// How often signing failed since the start.
    pub(crate) failures: u64,
    /// What fails at the moment and is tried again.
    pub(crate) failing: Option<String>,
    /// Why the signer has stopped for good.
    pub(crate) stopped: Option<String>,
}

impl LogStatus {
    /// How the signer stands now.
    pub(crate) fn standing(&self) -> LogStanding {
        self.state().clone()
    }

    /// Whether nothing is signed until a person acts.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().stopped.is_some()
    }

    /// Notes that the newest checkpoint covers everything in a tree of this size.
    pub(super) fn signed(&self, size: u64) {
        let mut state = self.state();
        (state.size, state.signed, state.succeeded_at) = (size, size, Some(now()));
        if state.failing.take().is_some() {
            tracing::info!("checkpoints of the log are signed again");
        }
    }

    /// Notes the size of the tree, and of the newest checkpoint.
    pub(super) fn found(&self, size: u64, signed: u64) {
        let mut state = self.state();
        (state.size, state.signed) = (size, signed);
    }

    /// Notes that something failed and is tried again.
    pub(super) fn fails(&self, why: String) {
        tracing::warn!(error = why, "cannot sign a checkpoint now; it is tried again later");
        let mut state = self.state();
        state.failures += 1;
        state.failing = Some(why);
    }

    /// Notes that the signer has stopped for good.
    pub(crate) fn stop(&self, why: String) {
        tracing::error!(error = why, "no checkpoint of the log is signed any more");
        let mut state = self.state();
        state.failures += 1;
        state.stopped = Some(why);
    }

    fn state(&self) -> MutexGuard<'_, LogStanding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shown_until_a_checkpoint_is_signed() {
        let status = LogStatus::default();
        assert_eq!(status.standing(), LogStanding::default());
        status.fails("full".into());
        status.found(7, 5);
        let standing = status.standing();
        assert_eq!((standing.size, standing.signed, standing.failures), (7, 5, 1));
        assert_eq!((standing.failing.as_deref(), standing.succeeded_at), (Some("full"), None));
        status.signed(7);
        let standing = status.standing();
        assert_eq!((standing.signed, standing.failing), (7, None));
        assert!(standing.succeeded_at.is_some() && !status.is_stopped());
        status.stop("changed".into());
        assert!(status.is_stopped());
        assert_eq!(status.standing().failures, 2);
    }
}
