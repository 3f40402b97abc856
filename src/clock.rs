//! The time, for those who may ask for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::entry::Millis;

/// The time now.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::saturating(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How long the machine has run, the time that it slept included: a clock that nobody can set.
pub fn since_boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::CLOCK_MONOTONIC;
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// What the clock that can be set and the one that cannot said at the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The one that can be set.
    pub now: Millis,
    /// The other.
    pub awake: Duration,
}

impl Clocks {
    /// How many seconds the clock was set ahead (or back, if negative) since then; `None` if it goes
    /// as the other does, give or take a minute.
    pub fn apart(&self, now: Millis, awake: Duration) -> Option<i64> {
        let elapsed = now.get().saturating_sub(self.now.get());
        let awake = awake.saturating_sub(self.awake).as_millis();
        let apart = elapsed.saturating_sub(i64::try_from(awake).unwrap_or(i64::MAX)) / 1000;
        (apart.abs() > 60).then_some(apart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let at = Millis::saturating;
        let clocks = Clocks { now: at(1_000_000), awake: Duration::from_secs(50) };
        let check = |now, awake, expected| {
            assert_eq!(
                clocks.apart(at(now), Duration::from_secs(awake)),
                expected,
                "{now} {awake}"
            );
        };
        check(1_000_000, 50, None);
        check(1_000_000 + 3_600_000, 50 + 3600, None);
        // Corrected by a few seconds, as time servers do.
        check(1_000_000 + 3_605_000, 50 + 3600, None);
        check(1_000_000 + 31_536_000_000, 50 + 30, Some(31_535_970));
        check(1_000_000 - 600_000, 50, Some(-600));
        assert!(since_boot() > Duration::ZERO);
    }
}
