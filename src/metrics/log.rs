//! The metrics of the transparency log.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{gauge_value, register, with_unit};
use crate::entry::Millis;
use crate::log::status::LogStanding;

/// The gauges, set for each request.
#[derive(Debug)]
pub(super) struct LogGauges {
    leaves: Gauge,
    signed_leaves: Gauge,
    failures: Counter,
    failing: Gauge,
    stopped: Gauge,
    forked: Gauge,
    anchors: Gauge,
    succeeded_at: Gauge<f64, AtomicU64>,
    publishing: Gauge,
    published_leaves: Gauge,
    publish_failures: Counter,
    publish_failing: Gauge,
    published_at: Gauge<f64, AtomicU64>,
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
            forked: register(
                all,
                "log_forked",
                "1 if the signer has stopped because there is another log of the same origin, else 0",
            ),
            anchors: register(
                all,
                "log_anchors",
                "Anchors that the log was compared with at the start; 0 if none or not yet",
            ),
            succeeded_at: with_unit(
                all,
                "log_last_success_timestamp",
                "When the newest checkpoint last covered all leaves, since the epoch; 0 if never",
                Unit::Seconds,
            ),
            publishing: register(all, "log_publishing", "1 if the log is to be published, else 0"),
            published_leaves: register(
                all,
                "log_published_leaves",
                "Leaves that the published checkpoint covers; 0 if none was published since the start",
            ),
            publish_failures: register(
                all,
                "log_publish_failures",
                "How often publishing the log failed",
            ),
            publish_failing: register(
                all,
                "log_publish_failing",
                "1 if publishing the log failed and has not succeeded since, else 0",
            ),
            published_at: with_unit(
                all,
                "log_last_publish_timestamp",
                "When a checkpoint was last published, since the epoch; 0 if never",
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
        self.forked.set(i64::from(standing.is_forked));
        self.anchors.set(gauge_value(standing.anchors));
        let seconds = |at: Option<Millis>| at.map_or(0.0, |at| at.get() as f64 / 1000.0);
        self.succeeded_at.set(seconds(standing.succeeded_at));
        let publishing = standing.publishing.clone().unwrap_or_default();
        self.publishing.set(i64::from(standing.publishing.is_some()));
        self.published_leaves.set(gauge_value(publishing.leaves));
        self.publish_failures.inner().store(publishing.failures, Ordering::Relaxed);
        self.publish_failing.set(i64::from(publishing.failing.is_some()));
        self.published_at.set(seconds(publishing.succeeded_at));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::log::status::PublishStanding;

    #[test]
    fn the_standing_is_shown() {
        let mut registry = Registry::with_prefix("vidimus");
        let gauges = LogGauges::register(&mut registry);
        let check = |standing: &LogStanding, expected: [&str; 13]| {
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
            "vidimus_log_forked 0",
            "vidimus_log_anchors 0",
            "vidimus_log_last_success_timestamp_seconds 0.0",
            "vidimus_log_publishing 0",
            "vidimus_log_published_leaves 0",
            "vidimus_log_publish_failures_total 0",
            "vidimus_log_publish_failing 0",
            "vidimus_log_last_publish_timestamp_seconds 0.0",
        ];
        check(&LogStanding::default(), expected);
        let standing = LogStanding {
            size: 70,
            signed: 60,
            succeeded_at: Some(Millis::saturating(1500)),
            failures: 2,
            failing: Some("full".into()),
            stopped: Some("changed".into()),
            is_forked: true,
            anchors: 2,
            publishing: Some(PublishStanding {
                leaves: 50,
                succeeded_at: Some(Millis::saturating(2500)),
                failures: 3,
                failing: Some("gone".into()),
            }),
        };
        let expected = [
            "vidimus_log_leaves 70",
            "vidimus_log_signed_leaves 60",
            "vidimus_log_failures_total 2",
            "vidimus_log_failing 1",
            "vidimus_log_stopped 1",
            "vidimus_log_forked 1",
            "vidimus_log_anchors 2",
            "vidimus_log_last_success_timestamp_seconds 1.5",
            "vidimus_log_publishing 1",
            "vidimus_log_published_leaves 50",
            "vidimus_log_publish_failures_total 3",
            "vidimus_log_publish_failing 1",
            "vidimus_log_last_publish_timestamp_seconds 2.5",
        ];
        check(&standing, expected);
    }
}
