//! How the signer and the publisher stand: for the console, the metrics and readiness.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LogError;
use crate::clock::now;
use crate::entry::Millis;

/// The state of the signer and the publisher, which their threads set.
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
    /// Whether it has stopped because another log was found that has the same origin.
    pub(crate) is_forked: bool,
    /// How many anchors the log was compared with at the start.
    pub(crate) anchors: u64,
    /// How the publisher stands, if there is one.
    pub(crate) publishing: Option<PublishStanding>,
}

/// How the publisher stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PublishStanding {
    /// The number of leaves that were published, by what this process has done.
    pub(crate) leaves: u64,
    /// When it last published a checkpoint. `None`: not since the start of the process.
    pub(crate) succeeded_at: Option<Millis>,
    /// How often publishing failed since the start.
    pub(crate) failures: u64,
    /// What fails at the moment and is tried again.
    pub(crate) failing: Option<String>,
}

/// Why a thread stops for good.
pub(crate) trait StopReason: Display {
    /// Whether another log was found that has the same origin.
    fn is_fork(&self) -> bool {
        false
    }
}

impl StopReason for &str {}

impl StopReason for String {}

impl StopReason for LogError {
    fn is_fork(&self) -> bool {
        matches!(self, LogError::Contradiction(why) if why.is_fork())
    }
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
    pub(crate) fn stop(&self, why: &impl StopReason) {
        tracing::error!(error = %why, "no checkpoint of the log is signed any more");
        let mut state = self.state();
        state.failures += 1;
        state.is_forked |= why.is_fork();
        // The first reason is the one to act on.
        state.stopped.get_or_insert_with(|| why.to_string());
    }

    /// Notes that the log agrees with so many anchors.
    pub(super) fn compared(&self, anchors: usize) {
        self.state().anchors = anchors as u64;
    }

    /// Notes that so many leaves are published; 0 if nothing is yet.
    pub(super) fn published(&self, leaves: u64) {
        let mut state = self.state();
        let publishing = state.publishing.get_or_insert_default();
        publishing.leaves = leaves;
        publishing.succeeded_at = (leaves > 0).then(now);
        if publishing.failing.take().is_some() {
            tracing::info!("the log is published again");
        }
    }

    /// Notes that publishing failed and is tried again.
    pub(crate) fn publishing_fails(&self, why: String) {
        tracing::warn!(error = why, "cannot publish the log now; it is tried again later");
        let mut state = self.state();
        let publishing = state.publishing.get_or_insert_default();
        publishing.failures += 1;
        publishing.failing = Some(why);
    }

    fn state(&self) -> MutexGuard<'_, LogStanding> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::error::Contradiction;

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
        status.stop(&"changed");
        assert!(status.is_stopped());
        let standing = status.standing();
        assert_eq!((standing.failures, standing.is_forked), (2, false));
    }

    #[test]
    fn a_fork_and_the_publisher_are_shown() {
        let status = LogStatus::default();
        assert_eq!(status.standing().publishing, None);
        status.published(0);
        assert_eq!(status.standing().publishing, Some(PublishStanding::default()));
        status.publishing_fails("gone".into());
        let publishing = status.standing().publishing.unwrap();
        assert_eq!((publishing.failures, publishing.failing.as_deref()), (1, Some("gone")));
        status.published(7);
        let publishing = status.standing().publishing.unwrap();
        assert_eq!((publishing.leaves, publishing.failing), (7, None));
        assert!(publishing.succeeded_at.is_some());
        status.compared(2);
        let collision = Contradiction::Published { place: "p".into(), key: "k".into() };
        status.stop(&LogError::Contradiction(collision));
        let standing = status.standing();
        assert_eq!((standing.anchors, standing.is_forked), (2, true));
    }
}
