//! The metrics of `vidimus receive`: those of every receiver, and those of the journal that it writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::receiving::{ReceiverSources, Receiving};
use super::{Labels, SECONDS, gauge_value, histogram, labels, register, with_unit};
use crate::ingest::LineCounts;
use crate::journal::object;
use crate::receiver::DeliveryObserver;
use crate::receiver::journal::status::{JournalStatus, PutObserver};
use crate::store::{Refused, StoredBatch};

/// The counters and gauges of a receiver that writes a journal.
#[derive(Debug)]
pub(crate) struct ReceiveMetrics {
    registry: Registry,
    receiving: Arc<Receiving>,
    inputs: HashMap<String, InputCounters>,
    delivery_seconds: Histogram,
    puts: Counter,
    put_bytes: Counter,
    put_deliveries: Counter,
    put_seconds: Histogram,
    call_failures: Counter,
    epochs_abandoned: Counter,
    writable: Gauge,
    waiting: Gauge,
    waiting_bytes: Gauge,
    epoch: Gauge,
    next: Gauge,
}

/// The counters of one input, which each delivery updates.
#[derive(Debug)]
struct InputCounters {
    journaled: Counter,
    lines: Counter,
    malformed: Counter,
    bytes: Counter,
    decoded_bytes: Counter,
}

impl ReceiveMetrics {
    /// Metrics for these inputs. Every time series begins at zero.
    pub(crate) fn new(inputs: &[&str]) -> ReceiveMetrics {
        let mut registry = Registry::with_prefix("vidimus");
        let all = &mut registry;
        let receiving = Receiving::register(all, inputs);
        let lines: Family<Labels, Counter> =
            register(all, "journal_lines", "Lines of journaled deliveries, by input");
        let malformed: Family<Labels, Counter> = register(
            all,
            "journal_malformed_lines",
            "Lines of journaled deliveries that cannot be entries, by input",
        );
        let sent: Family<Labels, Counter> = with_unit(
            all,
            "received",
            "Size of the bodies of journaled deliveries, as sent",
            Unit::Bytes,
        );
        let decoded: Family<Labels, Counter> = with_unit(
            all,
            "decoded",
            "Size of the bodies of journaled deliveries, decoded",
            Unit::Bytes,
        );
        let of_input = |input: &&str| {
            let name = labels([("input", input)]);
            let status = labels([("input", input), ("status", "200")]);
            let counters = InputCounters {
                journaled: receiving.deliveries.get_or_create_owned(&status),
                lines: lines.get_or_create_owned(&name),
                malformed: malformed.get_or_create_owned(&name),
                bytes: sent.get_or_create_owned(&name),
                decoded_bytes: decoded.get_or_create_owned(&name),
            };
            ((*input).to_owned(), counters)
        };
        let inputs = inputs.iter().map(of_input).collect();
        ReceiveMetrics {
            receiving: Arc::new(receiving),
            inputs,
            delivery_seconds: histogram(
                all,
                "delivery_duration",
                "Time from the end of a delivery's header until it is in the journal",
                SECONDS,
            ),
            puts: register(all, "journal_puts", "Objects put into the journal"),
            put_bytes: with_unit(
                all,
                "journal_put",
                "Size of the objects put into the journal",
                Unit::Bytes,
            ),
            put_deliveries: register(all, "journal_put_deliveries", "Deliveries in these objects"),
            put_seconds: histogram(
                all,
                "journal_put_duration",
                "Time from the first attempt to put an object until it is known to be there",
                SECONDS,
            ),
            call_failures: register(
                all,
                "journal_call_failures",
                "Calls of the object store that failed or took too long, and were repeated",
            ),
            epochs_abandoned: register(
                all,
                "journal_epochs_abandoned",
                "Epochs that ended because of a seal, or because an object could not be put",
            ),
            writable: register(
                all,
                "journal_writable",
                "1 if the last put succeeded, or a new epoch began after it; else 0",
            ),
            waiting: register(
                all,
                "journal_waiting_deliveries",
                "Deliveries not in the journal yet",
            ),
            waiting_bytes: with_unit(
                all,
                "journal_waiting",
                "Size of the bodies of deliveries not in the journal yet",
                Unit::Bytes,
            ),
            epoch: register(
                all,
                "journal_epoch",
                "Number of the epoch that is written; -1 before it",
            ),
            next: register(all, "journal_next_object", "Number of the next object in the epoch"),
            registry,
        }
    }

    /// What every receiver counts.
    pub(crate) fn receiving(&self) -> &Arc<Receiving> {
        &self.receiving
    }

    /// The text of all metrics.
    pub(crate) fn text(&self, sources: &ReceiverSources, status: &JournalStatus) -> String {
        self.receiving.set(sources);
        self.writable.set(i64::from(status.trouble().is_none()));
        let (waiting, bytes) = status.waiting();
        self.waiting.set(gauge_value(waiting));
        self.waiting_bytes.set(gauge_value(bytes));
        let epoch = status.epoch();
        self.epoch.set(epoch.map_or(-1, |(epoch, _)| gauge_value(epoch)));
        self.next.set(epoch.map_or(0, |(_, next)| gauge_value(next)));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl DeliveryObserver for ReceiveMetrics {
    /// There is no store.
    fn stored(&self, _: &StoredBatch) {}

    fn journaled(&self, delivery: &object::Delivery, started: Instant, counts: LineCounts) {
        self.delivery_seconds.observe(started.elapsed().as_secs_f64());
        let Some(input) = self.inputs.get(&delivery.input) else { return };
        input.journaled.inc();
        input.lines.inc_by(counts.received);
        input.malformed.inc_by(counts.malformed);
        input.bytes.inc_by(delivery.sent);
        input.decoded_bytes.inc_by(delivery.body.len() as u64);
    }

    fn failed(&self, input: &str, _: &str, status: Option<u16>, _: &str) {
        self.receiving.failed(input, status);
    }

    fn refused(&self, refused: &Refused) {
        self.receiving.refused(refused);
    }
}

impl PutObserver for ReceiveMetrics {
    fn put(&self, bytes: u64, deliveries: usize, took: Duration) {
        self.puts.inc();
        self.put_bytes.inc_by(bytes);
        self.put_deliveries.inc_by(deliveries as u64);
        self.put_seconds.observe(took.as_secs_f64());
    }

    fn call_failed(&self) {
        self.call_failures.inc();
    }

    fn abandoned(&self) {
        self.epochs_abandoned.inc();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::Millis;
    use crate::net::MemoryBudget;

    #[test]
    fn deliveries_and_puts_are_counted_and_nothing_of_a_store_is_shown() {
        let metrics = ReceiveMetrics::new(&["a"]);
        let delivery = object::Delivery {
            input: "a".to_owned(),
            peer: "p".to_owned(),
            received_at: Millis::MIN,
            content_encoding: None,
            sent: 7,
            undecoded: None,
            body: Bytes::from_static(b"123456789"),
        };
        let counts = LineCounts { received: 3, malformed: 1 };
        metrics.journaled(&delivery, Instant::now(), counts);
        metrics.put(100, 2, Duration::from_millis(3));
        DeliveryObserver::failed(&metrics, "a", "p", Some(500), "the journal is gone");
        metrics.call_failed();
        metrics.abandoned();
        let sources = ReceiverSources { budget: MemoryBudget::new(4096), listeners: Vec::new() };
        let text = metrics.text(&sources, &JournalStatus::default());
        for expected in [
            "vidimus_deliveries_total{input=\"a\",status=\"200\"} 1",
            "vidimus_deliveries_total{input=\"a\",status=\"500\"} 1",
            "vidimus_deliveries_total{input=\"a\",status=\"closed\"} 0",
            "vidimus_journal_lines_total{input=\"a\"} 3",
            "vidimus_journal_malformed_lines_total{input=\"a\"} 1",
            "vidimus_received_bytes_total{input=\"a\"} 7",
            "vidimus_decoded_bytes_total{input=\"a\"} 9",
            "vidimus_journal_puts_total 1",
            "vidimus_journal_put_bytes_total 100",
            "vidimus_journal_put_deliveries_total 2",
            "vidimus_journal_put_duration_seconds_count 1",
            "vidimus_journal_call_failures_total 1",
            "vidimus_journal_epochs_abandoned_total 1",
            "vidimus_journal_writable 0",
            "vidimus_journal_epoch -1",
            "vidimus_in_flight_limit_bytes 4096",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
        }
        assert!(!text.contains("vidimus_store"), "{text}");
    }
}
