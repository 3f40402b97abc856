//! The metrics of the source that reads the journal. They exist if there is such a source.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Seconds, gauge_value, register, set_counters, time_value, with_unit};
use crate::entry::Millis;
use crate::source::journal::status::SourceStanding;

/// The gauges, set for each request.
#[derive(Debug)]
pub(super) struct JournalGauges {
    objects: Counter,
    bytes: Counter,
    deliveries: Counter,
    lag: Seconds,
    open_epochs: Gauge,
    stopped_epochs: Gauge,
    waiting_epochs: Gauge,
    stopped: Gauge,
    failing: Gauge,
    cursor: Seconds,
}

impl JournalGauges {
    /// Registers the metrics.
    pub(super) fn register(all: &mut Registry) -> JournalGauges {
        JournalGauges {
            objects: register(
                all,
                "journal_objects_read",
                "Objects of the journal whose deliveries were stored",
            ),
            bytes: with_unit(
                all,
                "journal_read",
                "Size of the objects of the journal whose deliveries were stored",
                Unit::Bytes,
            ),
            deliveries: register(
                all,
                "journal_deliveries_read",
                "Deliveries in the objects of the journal that were stored",
            ),
            lag: with_unit(
                all,
                "journal_lag",
                "How long the oldest known object of the journal that is not stored has waited",
                Unit::Seconds,
            ),
            open_epochs: register(
                all,
                "journal_open_epochs",
                "Epochs of the journal that have not ended",
            ),
            stopped_epochs: register(
                all,
                "journal_stopped_epochs",
                "Epochs of the journal that are stopped at an object that cannot be read",
            ),
            waiting_epochs: register(
                all,
                "journal_waiting_epochs",
                "Epochs of the journal that wait for room in the quarantine",
            ),
            stopped: register(
                all,
                "journal_stopped",
                "1 if the source has stopped for good, and reads nothing of the journal, else 0",
            ),
            failing: register(
                all,
                "journal_read_failing",
                "1 if the journal or an epoch cannot be read at the moment and is tried again, else 0",
            ),
            cursor: with_unit(
                all,
                "journal_cursor_timestamp",
                "When this store last published how far it is, since the epoch; 0 if never",
                Unit::Seconds,
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, standing: &SourceStanding, now: Millis) {
        set_counters([
            (&self.objects, standing.objects),
            (&self.bytes, standing.bytes),
            (&self.deliveries, standing.deliveries),
        ]);
        self.lag.set(standing.lag(now) as f64 / 1000.0);
        self.open_epochs.set(gauge_value(standing.open_epochs));
        self.stopped_epochs.set(gauge_value(standing.stopped_epochs.len() as u64));
        self.waiting_epochs.set(gauge_value(standing.waiting_epochs.len() as u64));
        self.stopped.set(i64::from(standing.stopped.is_some()));
        self.failing.set(i64::from(standing.failing.is_some()));
        self.cursor.set(time_value(standing.published_at));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn the_standing_is_shown() {
        let mut registry = Registry::with_prefix("vidimus");
        let gauges = JournalGauges::register(&mut registry);
        let standing = SourceStanding {
            open_epochs: 2,
            unread_since: Some(Millis::saturating(1000)),
            objects: 3,
            waiting_epochs: vec![(1, "full".into())],
            bytes: 40,
            stopped: Some("collision".into()),
            ..SourceStanding::default()
        };
        gauges.set(&standing, Millis::saturating(3500));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for expected in [
            "vidimus_journal_objects_read_total 3",
            "vidimus_journal_read_bytes_total 40",
            "vidimus_journal_lag_seconds 2.5",
            "vidimus_journal_open_epochs 2",
            "vidimus_journal_waiting_epochs 1",
            "vidimus_journal_stopped 1",
            "vidimus_journal_read_failing 0",
            "vidimus_journal_cursor_timestamp_seconds 0.0",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
    }
}
