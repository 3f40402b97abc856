//! Lines per second over the last minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The length of the window.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// The maximum number of samples in the window.
const MOST: usize = 64;

/// Measures the throughput of an output.
pub(super) struct Throughput {
    /// The total at each sample, the oldest first. Never empty.
    until: VecDeque<(Instant, u64)>,
}

impl Throughput {
    /// Starts measuring at the total `written`.
    pub(super) fn new(written: u64, now: Instant) -> Throughput {
        Throughput { until: VecDeque::from([(now, written)]) }
    }

    /// Lines per second at `now`, when `written` lines are written in total.
    pub(super) fn at(&mut self, written: u64, now: Instant) -> f64 {
        let age = |at: Instant| now.saturating_duration_since(at);
        // One older sample stays: the window is counted from it.
        while self.until.get(1).is_some_and(|(at, _)| age(*at) >= SPAN) {
            self.until.pop_front();
        }
        let is_close = |(at, _): &(Instant, u64)| age(*at) < SPAN / MOST as u32;
        if !self.until.back().is_some_and(is_close) {
            self.until.push_back((now, written));
        }
        let Some((from, before)) = self.until.front() else { return 0.0 };
        // Just after the start a single line would look like thousands per second.
        let seconds = age(*from).max(Duration::from_secs(1)).as_secs_f64();
        written.saturating_sub(*before) as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_counts() {
        let start = Instant::now();
        let mut rate = Throughput::new(1000, start);
        let mut check = |seconds: f64, written: u64, expected: f64| {
            let found = rate.at(written, start + Duration::from_secs_f64(seconds));
            assert!((found - expected).abs() < 0.5, "{seconds} s: {found}, expected {expected}");
        };
        check(0.1, 1010, 10.0);
        check(10.0, 1100, 10.0);
        check(60.0, 1600, 10.0);
        check(70.0, 1600, 500.0 / 60.0);
        check(119.0, 1600, 500.0 / 109.0);
        check(120.0, 1600, 0.0);
    }
}
