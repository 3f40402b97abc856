//! What an output did last, in memory. The console shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::entry::Millis;

/// What an output did last since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Activity {
    /// The last lines that were written and synced, or sent and accepted.
    pub(crate) write: Option<LastWrite>,
    /// The last request, if it makes requests.
    pub(crate) request: Option<LastRequest>,
    /// The time of the next attempt, while it waits after a failure.
    pub(crate) waits_until: Option<Millis>,
}

/// Lines that were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastWrite {
    pub(crate) at: Millis,
    /// The number of lines.
    pub(crate) lines: u64,
}

/// A request to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastRequest {
    /// The time of the answer, or of the error.
    pub(crate) at: Millis,
    /// The size of the body as it was sent, in bytes.
    pub(crate) bytes: usize,
    /// The number of entries in it.
    pub(crate) entries: usize,
    /// The time from the request to the answer.
    pub(crate) took: Duration,
    /// The status of the answer, or the reason that there was none, without secrets.
    pub(crate) answer: Result<u16, String>,
}

/// Shares the activity of an output with those who look at it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedActivity(Arc<Mutex<Activity>>);

impl SharedActivity {
    /// The activity now.
    pub(super) fn get(&self) -> Activity {
        self.lock().clone()
    }

    pub(super) fn wrote(&self, at: Millis, lines: u64) {
        self.lock().write = Some(LastWrite { at, lines });
    }

    pub(super) fn requested(&self, request: LastRequest) {
        self.lock().request = Some(request);
    }

    pub(super) fn waits_until(&self, until: Option<Millis>) {
        self.lock().waits_until = until;
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        // Each change is a single assignment, so a panic leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
