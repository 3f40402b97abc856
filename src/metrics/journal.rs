//! The metrics of the source that reads the journal. They exist if there is such a source.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{gauge_value, with_unit};
use crate::entry::Millis;
use crate::source::journal::status::SourceStanding;

type Seconds = Gauge<f64, AtomicU64>;

/// The gauges, set for each request.
#[derive(Debug, Default)]
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
    pub(super) fn register(registry: &mut Registry) -> JournalGauges {
        let JournalGauges {
            objects,
            bytes,
            deliveries,
            lag,
            open_epochs,
            stopped_epochs,
            waiting_epochs,
            stopped,
            failing,
            cursor,
        } = JournalGauges::default();
        registry.register(
            "journal_objects_read",
            "Objects of the journal whose deliveries were stored",
            objects.clone(),
        );
        registry.register(
            "journal_deliveries_read",
            "Deliveries in the objects of the journal that were stored",
            deliveries.clone(),
        );
        registry.register(
            "journal_open_epochs",
            "Epochs of the journal that have not ended",
            open_epochs.clone(),
        );
        registry.register(
            "journal_stopped_epochs",
            "Epochs of the journal that are stopped at an object that cannot be read",
            stopped_epochs.clone(),
        );
        registry.register(
            "journal_waiting_epochs",
            "Epochs of the journal that wait for room in the quarantine",
            waiting_epochs.clone(),
        );
        registry.register(
            "journal_stopped",
            "1 if the source has stopped for good, and reads nothing of the journal, else 0",
            stopped.clone(),
        );
        registry.register(
            "journal_read_failing",
            "1 if the journal or an epoch cannot be read at the moment and is tried again, else 0",
            failing.clone(),
        );
        JournalGauges {
            bytes: with_unit(
                registry,
                "journal_read",
                "Size of the objects of the journal whose deliveries were stored",
                Unit::Bytes,
                bytes,
            ),
            lag: with_unit(
                registry,
                "journal_lag",
                "How long the oldest known object of the journal that is not stored has waited",
                Unit::Seconds,
                lag,
            ),
            cursor: with_unit(
                registry,
                "journal_cursor_timestamp",
                "When this store last published how far it is, since the epoch; 0 if never",
                Unit::Seconds,
                cursor,
            ),
            objects,
            deliveries,
            open_epochs,
            stopped_epochs,
            waiting_epochs,
            stopped,
            failing,
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, standing: &SourceStanding, now: Millis) {
        for (counter, value) in [
            (&self.objects, standing.objects),
            (&self.bytes, standing.bytes),
            (&self.deliveries, standing.deliveries),
        ] {
            counter.inner().store(value, Ordering::Relaxed);
        }
        self.lag.set(standing.lag(now) as f64 / 1000.0);
        self.open_epochs.set(gauge_value(standing.open_epochs));
        self.stopped_epochs.set(gauge_value(standing.stopped_epochs.len() as u64));
        self.waiting_epochs.set(gauge_value(standing.waiting_epochs.len() as u64));
        self.stopped.set(i64::from(standing.stopped.is_some()));
        self.failing.set(i64::from(standing.failing.is_some()));
        self.cursor.set(standing.published_at.map_or(0.0, |at| at.get() as f64 / 1000.0));
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
