//! Observers of the other modules. They count each event and pass it on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Metrics, Receiving, labels, labels_of};
use crate::ingest::LineCounts;
use crate::journal::object;
use crate::keys::RefreshObserver;
use crate::net::{ConnectionRefusal, ListenerObserver};
use crate::receiver::DeliveryObserver;
use crate::store::{Refused, StoreObserver, StoredBatch};

impl Metrics {
    fn count(&self, StoredBatch { delivery, appended, classes, .. }: &StoredBatch) {
        self.delivery_seconds.observe(delivery.started.elapsed().as_secs_f64());
        for (class, count) in classes.iter() {
            self.entries.get_or_create(&labels_of(*class)).inc_by(*count);
        }
        self.not_tried.inc_by(classes.not_tried());
        let Some(input) = self.inputs.get(&delivery.input) else { return };
        input.stored.inc();
        input.duplicates.inc_by(appended.duplicates);
        input.bytes.inc_by(delivery.bytes);
        input.decoded_bytes.inc_by(delivery.decoded_bytes);
        if appended.received > 0 {
            input.received(delivery.received_at);
        }
    }
}

impl StoreObserver for Metrics {
    fn committed(&self, deliveries: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_deliveries.observe(deliveries as f64);
    }

    fn failed(&self) {
        self.commit_failures.inc();
    }
}

impl RefreshObserver for Metrics {
    fn read(&self, source: &str, succeeded: bool) {
        let outcome = if succeeded { "success" } else { "failure" };
        let labels = labels([("source", source), ("outcome", outcome)]);
        self.refreshes.get_or_create(&labels).inc();
    }
}

impl DeliveryObserver for Metrics {
    fn stored(&self, stored: &StoredBatch) {
        self.count(stored);
    }

    /// A store reads the journal, and does not write it.
    fn journaled(&self, _: &object::Delivery, _: Instant, _: LineCounts) {}

    fn failed(&self, input: &str, _: &str, status: Option<u16>, _: &str) {
        self.receiving.failed(input, status);
    }

    fn refused(&self, refused: &Refused) {
        self.receiving.refused(refused);
    }
}

/// Counts deliveries, and passes them on to another observer.
pub(crate) struct CountingDeliveryObserver<M> {
    pub(crate) metrics: Arc<M>,
    pub(crate) inner: Arc<dyn DeliveryObserver>,
}

impl<M: DeliveryObserver> DeliveryObserver for CountingDeliveryObserver<M> {
    fn stored(&self, stored: &StoredBatch) {
        self.metrics.stored(stored);
        self.inner.stored(stored);
    }

    fn journaled(&self, delivery: &object::Delivery, started: Instant, counts: LineCounts) {
        self.metrics.journaled(delivery, started, counts);
        self.inner.journaled(delivery, started, counts);
    }

    fn failed(&self, input: &str, peer: &str, status: Option<u16>, reason: &str) {
        self.metrics.failed(input, peer, status, reason);
        self.inner.failed(input, peer, status, reason);
    }

    fn refused(&self, refused: &Refused) {
        self.metrics.refused(refused);
        self.inner.refused(refused);
    }
}

/// Counts the refusals of a listener, and passes them on to another observer.
pub(crate) struct CountingListenerObserver {
    pub(crate) metrics: Arc<Receiving>,
    /// The name of the listener.
    pub(crate) listener: &'static str,
    pub(crate) inner: Arc<dyn ListenerObserver>,
}

impl ListenerObserver for CountingListenerObserver {
    fn refused(&self, peer: SocketAddr, why: ConnectionRefusal) {
        self.metrics.connection_refused(self.listener, &why);
        self.inner.refused(peer, why);
    }

    fn accept_failed(&self, error: &std::io::Error) {
        self.inner.accept_failed(error);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::entry::Millis;
    use crate::metrics::Has;
    use crate::store::observer::Classes;
    use crate::store::{Appended, Delivery};

    struct Nobody;

    impl DeliveryObserver for Nobody {
        fn stored(&self, _: &StoredBatch) {}
        fn journaled(&self, _: &object::Delivery, _: Instant, _: LineCounts) {}
        fn failed(&self, _: &str, _: &str, _: Option<u16>, _: &str) {}
        fn refused(&self, _: &Refused) {}
    }

    impl ListenerObserver for Nobody {
        fn refused(&self, _: std::net::SocketAddr, _: ConnectionRefusal) {}
        fn accept_failed(&self, _: &std::io::Error) {}
    }

    fn check(metrics: &Metrics, expected: &str) {
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        assert!(text.lines().any(|line| line == expected), "{expected}\n{text}");
    }

    #[test]
    fn every_series_begins_at_zero() {
        let metrics = Metrics::new(&["a"], &["set".to_owned()], Has::default());
        check(&metrics, "vidimus_deliveries_total{input=\"a\",status=\"closed\"} 0");
        check(
            &metrics,
            "vidimus_entries_total{format=\"cps\",kind=\"other\",verdict=\"no_key\"} 0",
        );
        check(&metrics, "vidimus_key_refreshes_total{source=\"set\",outcome=\"failure\"} 0");
        check(&metrics, "vidimus_tls_handshake_failures_total{listener=\"console\"} 0");
        check(&metrics, "vidimus_requests_refused_total{status=\"405\"} 0");
    }

    #[test]
    fn observed_events_are_counted() {
        let metrics = Arc::new(Metrics::new(&["a"], &["set".to_owned()], Has::default()));
        let delivery = Delivery {
            received_at: Millis::saturating(1500),
            started: Instant::now(),
            input: "a".to_owned(),
            peer: "p".to_owned(),
            bytes: 7,
            decoded_bytes: 9,
            origin: None,
        };
        let appended = Appended { received: 3, duplicates: 2, ..Appended::default() };
        metrics.committed(1, Duration::from_millis(3));
        StoreObserver::failed(&*metrics);
        metrics.read("set", false);
        let observer =
            CountingDeliveryObserver { metrics: Arc::clone(&metrics), inner: Arc::new(Nobody) };
        observer.stored(&StoredBatch { id: 1, delivery, appended, classes: Classes::default() });
        observer.failed("a", "p", None, "hung up");
        observer.failed("a", "p", Some(429), "overloaded");
        let events = CountingListenerObserver {
            metrics: Arc::clone(metrics.receiving()),
            listener: "receiver",
            inner: Arc::new(Nobody),
        };
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        for refused in [ConnectionRefusal::PlainToTls, ConnectionRefusal::TlsToPlain] {
            assert!(ConnectionRefusal::REASONS.contains(&refused.reason()));
            ListenerObserver::refused(&events, peer, refused);
        }
        for expected in [
            "vidimus_deliveries_total{input=\"a\",status=\"200\"} 1",
            "vidimus_deliveries_total{input=\"a\",status=\"429\"} 1",
            "vidimus_deliveries_total{input=\"a\",status=\"closed\"} 1",
            "vidimus_duplicates_total{input=\"a\"} 2",
            "vidimus_received_bytes_total{input=\"a\"} 7",
            "vidimus_decoded_bytes_total{input=\"a\"} 9",
            "vidimus_last_entry_timestamp_seconds{input=\"a\"} 1.5",
            "vidimus_key_refreshes_total{source=\"set\",outcome=\"failure\"} 1",
            "vidimus_store_commit_duration_seconds_bucket{le=\"0.0025\"} 0",
            "vidimus_store_commit_duration_seconds_bucket{le=\"0.005\"} 1",
            "vidimus_store_commit_failures_total 1",
            "vidimus_connections_refused_total{listener=\"receiver\",reason=\"tls_to_plain\"} 1",
            "vidimus_tls_handshake_failures_total{listener=\"receiver\"} 1",
        ] {
            check(&metrics, expected);
        }
    }
}
