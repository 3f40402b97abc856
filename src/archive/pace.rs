//! How fast the archive is written: it must not delay the receiver.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::error::ArchiveError;

/// The longest rest at once. The program may be ending.
const STEP: Duration = Duration::from_millis(50);

/// The longest rest after one piece of work: an upload may take long, and needs no core.
const LONGEST: Duration = Duration::from_millis(500);

/// Makes the work rest as long as it took, so that it takes at most half of one core.
#[derive(Debug)]
pub(super) struct Pace {
    stopping: Arc<AtomicBool>,
    /// When the last rest ended.
    rested: Cell<Instant>,
}

impl Pace {
    /// The work ends when `stopping` is set.
    pub(super) fn new(stopping: Arc<AtomicBool>) -> Pace {
        Pace { stopping, rested: Cell::new(Instant::now()) }
    }

    /// Rests, after a piece of work.
    ///
    /// # Errors
    /// [`ArchiveError::Stopped`] if the program ends.
    pub(super) fn rest(&self) -> Result<(), ArchiveError> {
        let worked = self.rested.get().elapsed();
        self.pause(worked.min(LONGEST))
    }

    /// Waits for a time.
    ///
    /// # Errors
    /// [`ArchiveError::Stopped`] if the program ends.
    pub(super) fn pause(&self, mut left: Duration) -> Result<(), ArchiveError> {
        while !left.is_zero() && !self.is_stopping() {
            let step = left.min(STEP);
            std::thread::sleep(step);
            left -= step;
        }
        self.rested.set(Instant::now());
        match self.is_stopping() {
            true => Err(ArchiveError::Stopped),
            false => Ok(()),
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
