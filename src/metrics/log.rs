//! The metrics of the transparency log.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{gauge_value, register, with_unit};
use crate::log::status::LogStanding;

/// The gauges, set for each request.
#[derive(Debug)]
pub(super) struct LogGauges {
    leaves: Gauge,
    signed_leaves: Gauge,
    failures: Counter,
    failing: Gauge,
    stopped: Gauge,
    succeeded_at: Gauge<f64, AtomicU64>,
}

impl LogGauges {
    /// Registers the metrics.
    pub(super) fn register(all: &mut Registry) -> LogGauges {
        LogGauges {
            leaves: register(
                all,
                "log_leaves",
                "Leaves of the transparency log that its tiles have",
            ),
            signed_leaves: register(
                all,
                "log_signed_leaves",
                "Leaves that the newest checkpoint covers",
            ),
            failures: register(all, "log_failures", "How often signing failed"),
            failing: register(
                all,
                "log_failing",
                "1 if signing failed and has not succeeded since, else 0",
            ),
            stopped: register(
                all,
                "log_stopped",
                "1 if the signer has stopped for good, and no checkpoint is signed, else 0",
            ),
            succeeded_at: with_unit(
                all,
                "log_last_success_timestamp",
                "When the newest checkpoint last covered all leaves, since the epoch; 0 if never",
                Unit::Seconds,
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, standing: &LogStanding) {
        self.leaves.set(gauge_value(standing.size));
        self.signed_leaves.set(gauge_value(standing.signed));
        self.failures.inner().store(standing.failures, Ordering::Relaxed);
        self.failing.set(i64::from(standing.failing.is_some()));
        self.stopped.set(i64::from(standing.stopped.is_some()));
        self.succeeded_at.set(standing.succeeded_at.map_or(0.0, |at| at.get() as f64 / 1000.0));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::entry::Millis;

    #[test]
    fn the_standing_is_shown() {
        let mut registry = Registry::with_prefix("vidimus");
        let gauges = LogGauges::register(&mut registry);
        let check = |standing: &LogStanding, expected: [&str; 6]| {
            gauges.set(standing);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            for expected in expected {
                assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
            }
        };
        let expected = [
            "vidimus_log_leaves 0",
            "vidimus_log_signed_leaves 0",
            "vidimus_log_failures_total 0",
            "vidimus_log_failing 0",
            "vidimus_log_stopped 0",
            "vidimus_log_last_success_timestamp_seconds 0.0",
        ];
        check(&LogStanding::default(), expected);
        let standing = LogStanding {
            size: 70,
            signed: 60,
            succeeded_at: Some(Millis::saturating(1500)),
            failures: 2,
            failing: Some("full".into()),
            stopped: Some("changed".into()),
        };
        let expected = [
            "vidimus_log_leaves 70",
            "vidimus_log_signed_leaves 60",
            "vidimus_log_failures_total 2",
            "vidimus_log_failing 1",
            "vidimus_log_stopped 1",
            "vidimus_log_last_success_timestamp_seconds 1.5",
        ];
        check(&standing, expected);
    }
}
