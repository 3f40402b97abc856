//! The metrics of the transparency log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, gauge_value, labels, register, set_counters, with_unit};
use crate::entry::Millis;
use crate::log::party::PartyStatus;
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
    cosigned_leaves: Family<Labels, Gauge>,
    witness_failures: Family<Labels, Counter>,
    timestamped_leaves: Gauge,
    timestamp_failures: Counter,
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
            cosigned_leaves: register(
                all,
                "log_cosigned_leaves",
                "Leaves of the checkpoint that a witness last cosigned; 0 if none since the start",
            ),
            witness_failures: register(
                all,
                "log_witness_failures",
                "How often a checkpoint was not cosigned by a witness that was asked",
            ),
            timestamped_leaves: register(
                all,
                "log_timestamped_leaves",
                "Leaves of the checkpoint that last got a time stamp; 0 if none since the start",
            ),
            timestamp_failures: register(
                all,
                "log_timestamp_failures",
                "How often a checkpoint got no time stamp from the authority that was asked",
            ),
        }
    }

    /// Sets what witnesses and the time-stamping authority have.
    pub(super) fn set_parties(
        &self,
        witnesses: &[Arc<PartyStatus>],
        authority: Option<&PartyStatus>,
    ) {
        for witness in witnesses {
            let (labels, standing) = (labels([("witness", witness.name())]), witness.standing());
            self.cosigned_leaves.get_or_create(&labels).set(gauge_value(standing.leaves));
            set_counters([(&*self.witness_failures.get_or_create(&labels), standing.failures)]);
        }
        if let Some(standing) = authority.map(PartyStatus::standing) {
            self.timestamped_leaves.set(gauge_value(standing.leaves));
            set_counters([(&self.timestamp_failures, standing.failures)]);
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

    #[test]
    fn witnesses_and_the_authority_are_shown() {
        let mut registry = Registry::with_prefix("vidimus");
        let gauges = LogGauges::register(&mut registry);
        let [one, other, authority] = ["one", "other", "tsa"].map(PartyStatus::new);
        one.vouched(70);
        other.fails("down".into());
        authority.vouched(7);
        authority.fails("down".into());
        gauges.set_parties(&[one, other], Some(&authority));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for expected in [
            "vidimus_log_cosigned_leaves{witness=\"one\"} 70",
            "vidimus_log_cosigned_leaves{witness=\"other\"} 0",
            "vidimus_log_witness_failures_total{witness=\"one\"} 0",
            "vidimus_log_witness_failures_total{witness=\"other\"} 1",
            "vidimus_log_timestamped_leaves 7",
            "vidimus_log_timestamp_failures_total 1",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
    }
}
