//! How many verifications may fail before the lines of a delivery are tried no more.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many verifications may fail for one delivery: some two seconds of one core. A body of a few MiB
/// has room for millions of made-up signatures; whoever sends honest entries under a key that is not
/// at hand yet needs some thousands.
pub const MAX_FAILED_VERIFICATIONS: u64 = 20_000;

/// What is left of it, shared by all threads that check the lines of a delivery.
#[derive(Debug)]
pub struct FailureBudget(AtomicU64);

impl FailureBudget {
    /// A budget of so many verifications that fail.
    pub fn new(failed: u64) -> FailureBudget {
        FailureBudget(AtomicU64::new(failed))
    }

    /// One that is never spent.
    pub fn unlimited() -> FailureBudget {
        FailureBudget::new(u64::MAX)
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes out what failed.
    pub(super) fn spend(&self, failed: usize) {
        let take = |left: u64| Some(left.saturating_sub(failed as u64));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }
}
