//! The clock of the simulator: the system clock, moved ahead, or one that is stopped.
//!
//! Entries, retries and retention use it. It never goes back, because entries are in the order of
//! their times.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::entry::Millis;

/// A clock. Clones share the time.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Mutex<ClockMode>>);

#[derive(Clone, Copy, Debug)]
enum ClockMode {
    /// The system time plus this number of milliseconds.
    Running { ahead: i64 },
    /// Stopped at this time.
    Held(Millis),
}

/// The clock cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the clock shows {now} and cannot be set back to {asked}")]
pub(crate) struct ClockSetBack {
    pub(crate) now: Millis,
    pub(crate) asked: Millis,
}

impl Clock {
    /// The system clock.
    pub(crate) fn running() -> Clock {
        Clock(Arc::new(Mutex::new(ClockMode::Running { ahead: 0 })))
    }

    /// A clock that is stopped at `at`.
    #[cfg(test)]
    pub(crate) fn held(at: Millis) -> Clock {
        Clock(Arc::new(Mutex::new(ClockMode::Held(at))))
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        self.mode().now()
    }

    /// Whether the clock is stopped.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.mode(), ClockMode::Held(_))
    }

    /// Moves it ahead.
    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        let mut mode = self.mode();
        *mode = match *mode {
            ClockMode::Running { ahead } => ClockMode::Running { ahead: ahead.saturating_add(by) },
            ClockMode::Held(at) => ClockMode::Held(Millis::saturating(at.get().saturating_add(by))),
        };
    }

    /// Sets the time. A stopped clock stays stopped.
    ///
    /// # Errors
    /// If the time is before that of the clock.
    pub(crate) fn set(&self, asked: Millis) -> Result<(), ClockSetBack> {
        let mut mode = self.mode();
        let now = mode.now();
        if asked < now {
            return Err(ClockSetBack { now, asked });
        }
        *mode = match *mode {
            ClockMode::Running { ahead } => {
                ClockMode::Running { ahead: ahead + asked.get() - now.get() }
            }
            ClockMode::Held(_) => ClockMode::Held(asked),
        };
        Ok(())
    }

    /// Stops the clock, or lets it continue.
    pub(crate) fn hold(&self, held: bool) {
        let mut mode = self.mode();
        let now = mode.now();
        *mode = match held {
            true => ClockMode::Held(now),
            false => ClockMode::Running { ahead: now.get() - clock::now().get() },
        };
    }

    fn mode(&self) -> MutexGuard<'_, ClockMode> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClockMode {
    fn now(self) -> Millis {
        match self {
            ClockMode::Running { ahead } => {
                Millis::saturating(clock::now().get().saturating_add(ahead))
            }
            ClockMode::Held(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_clock_goes_by_hand_and_never_back() {
        let at = |seconds: i64| Millis::saturating(seconds * 1000);
        let clock = Clock::held(at(100));
        let same = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(same.now(), at(105));
        assert_eq!(clock.set(at(104)), Err(ClockSetBack { now: at(105), asked: at(104) }));
        clock.set(at(110)).unwrap();
        assert_eq!(same.now(), at(110));
        assert!(same.is_held());
    }

    #[test]
    fn a_clock_that_runs_can_be_ahead_and_be_held_there() {
        let clock = Clock::running();
        clock.advance(Duration::from_secs(1_000_000));
        assert!(clock.now().get() > crate::clock::now().get() + 900_000_000);
        clock.hold(true);
        let held = clock.now();
        assert_eq!(clock.now(), held);
        clock.hold(false);
        assert!(clock.now() >= held && !clock.is_held());
    }
}
