//! Where the other modules tell what they do: each event is counted and passed on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Metrics, labels, labels_of};
use crate::keys::Watcher;
use crate::net::{Events, Refused as NetRefused};
use crate::receiver::Observer;
use crate::store::meter::Classes;
use crate::store::{Appended, Delivery, Meter, Refused};

impl Meter for Metrics {
    fn stored(&self, delivery: &Delivery, appended: &Appended, classes: &Classes) {
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
            input.last_entry.set(delivery.received_at.get() as f64 / 1000.0);
        }
    }

    fn committed(&self, deliveries: usize, took: Duration) {
        self.commit_seconds.observe(took.as_secs_f64());
        self.commit_deliveries.observe(deliveries as f64);
    }

    fn failed(&self) {
        self.commit_failures.inc();
    }
}

impl Watcher for Metrics {
    fn read(&self, source: &str, gave: bool) {
        let outcome = if gave { "success" } else { "failure" };
        let labels = labels([("source", source), ("outcome", outcome)]);
        self.refreshes.get_or_create(&labels).inc();
    }
}

/// Counts what the receiver shows, and shows it to another observer.
pub struct CountedObserver {
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// The other observer.
    pub inner: Arc<dyn Observer>,
}

impl Observer for CountedObserver {
    // Those that are stored are counted where they are.
    fn stored(&self, input: &str, peer: &str, bytes: u64, appended: &Appended, took: Duration) {
        self.inner.stored(input, peer, bytes, appended, took);
    }

    fn failed(&self, input: &str, peer: &str, status: u16, reason: &str) {
        let word = if status == 0 { "closed".to_owned() } else { status.to_string() };
        let labels = labels([("input", input), ("status", &word)]);
        self.metrics.deliveries.get_or_create(&labels).inc();
        self.inner.failed(input, peer, status, reason);
    }

    fn refused(&self, refused: &Refused) {
        if let Some(status) = refused.status {
            let labels = labels([("status", &status.to_string())]);
            self.metrics.refused.get_or_create(&labels).inc();
        }
        self.inner.refused(refused);
    }
}

/// Counts what a listener turns away, and passes it on.
pub struct CountedEvents {
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Which listener it is.
    pub listener: &'static str,
    /// Whom it is passed on to.
    pub inner: Arc<dyn Events>,
}

impl Events for CountedEvents {
    fn refused(&self, peer: SocketAddr, why: NetRefused) {
        let by_reason = labels([("listener", self.listener), ("reason", why.reason())]);
        self.metrics.connections_refused.get_or_create(&by_reason).inc();
        if matches!(
            why,
            NetRefused::HandshakeFailed(_)
                | NetRefused::HandshakeTimeout { .. }
                | NetRefused::PlainToTls
        ) {
            let listener = labels([("listener", self.listener)]);
            self.metrics.handshakes_failed.get_or_create(&listener).inc();
        }
        self.inner.refused(peer, why);
    }

    fn cannot_accept(&self, error: &std::io::Error) {
        self.inner.cannot_accept(error);
    }
}
