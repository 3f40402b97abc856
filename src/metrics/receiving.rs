//! What every receiver counts, whether a store or a journal is behind it.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{
    Labels, Seconds, create_series, gauge_value, labels, register, register_build, with_unit,
};
use crate::net::{ConnectionRefusal, MemoryBudget, OpenConnections, ServerTls};
use crate::store::Refused;

/// The statuses of deliveries. `closed` is a connection that was closed instead of a response.
const DELIVERY_STATUSES: [&str; 7] = ["200", "400", "413", "415", "429", "500", "closed"];

/// The names of the listeners.
const LISTENERS: [&str; 2] = ["receiver", "console"];

/// The statuses of refused requests.
const REFUSED_STATUSES: [&str; 3] = ["401", "404", "405"];

/// The counters and gauges of a receiver.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(super) deliveries: Family<Labels, Counter>,
    refused: Family<Labels, Counter>,
    connections_refused: Family<Labels, Counter>,
    handshakes_failed: Family<Labels, Counter>,
    in_flight: Gauge,
    in_flight_limit: Gauge,
    connections: Family<Labels, Gauge>,
    certificate_expiry: Family<Labels, Seconds>,
}

/// Where the gauges of a receiver are read from.
#[derive(Debug)]
pub(crate) struct ReceiverSources {
    /// The memory for bodies.
    pub(crate) budget: MemoryBudget,
    /// The name of each listener, its connections and its certificate.
    pub(crate) listeners: Vec<(&'static str, OpenConnections, Option<Arc<ServerTls>>)>,
}

impl Receiving {
    /// Registers the metrics of a receiver with these inputs, and the version of the program.
    pub(super) fn register(all: &mut Registry, inputs: &[&str]) -> Receiving {
        register_build(all);
        let receiving = Receiving {
            deliveries: register(
                all,
                "deliveries",
                "Authorized deliveries, by input and by status of the answer; closed is a \
                 connection closed without an answer",
            ),
            refused: register(
                all,
                "requests_refused",
                "Requests to the receiver refused before their body was read, by status",
            ),
            connections_refused: register(
                all,
                "connections_refused",
                "Connections refused before a request, by listener and reason",
            ),
            handshakes_failed: register(
                all,
                "tls_handshake_failures",
                "TLS handshakes that failed, by listener",
            ),
            in_flight: with_unit(
                all,
                "in_flight",
                "Size of the bodies in memory that are not stored yet",
                Unit::Bytes,
            ),
            in_flight_limit: with_unit(
                all,
                "in_flight_limit",
                "Limit on the size of the bodies in memory",
                Unit::Bytes,
            ),
            connections: register(all, "connections", "Open connections, by listener"),
            certificate_expiry: with_unit(
                all,
                "tls_certificate_expiry_timestamp",
                "When the certificate expires, since the epoch, by listener",
                Unit::Seconds,
            ),
        };
        receiving.create(inputs);
        receiving
    }

    /// Creates every series with the value zero.
    fn create(&self, inputs: &[&str]) {
        for input in inputs {
            for status in DELIVERY_STATUSES {
                create_series(&self.deliveries, [("input", input), ("status", status)]);
            }
        }
        for status in REFUSED_STATUSES {
            create_series(&self.refused, [("status", status)]);
        }
        for listener in LISTENERS {
            create_series(&self.handshakes_failed, [("listener", listener)]);
            for reason in ConnectionRefusal::REASONS {
                let pairs = [("listener", listener), ("reason", reason)];
                create_series(&self.connections_refused, pairs);
            }
        }
    }

    /// A delivery was not accepted.
    pub(super) fn failed(&self, input: &str, status: Option<u16>) {
        let word = status.map_or_else(|| "closed".to_owned(), |status| status.to_string());
        self.deliveries.get_or_create(&labels([("input", input), ("status", &word)])).inc();
    }

    /// A request was refused.
    pub(super) fn refused(&self, refused: &Refused) {
        if let Some(status) = refused.status {
            self.refused.get_or_create(&labels([("status", &status.to_string())])).inc();
        }
    }

    /// A connection was refused.
    pub(super) fn connection_refused(&self, listener: &'static str, why: &ConnectionRefusal) {
        let by_reason = labels([("listener", listener), ("reason", why.reason())]);
        self.connections_refused.get_or_create(&by_reason).inc();
        if matches!(
            why,
            ConnectionRefusal::HandshakeFailed(_)
                | ConnectionRefusal::HandshakeTimeout { .. }
                | ConnectionRefusal::PlainToTls
        ) {
            self.handshakes_failed.get_or_create(&labels([("listener", listener)])).inc();
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, sources: &ReceiverSources) {
        let budget = &sources.budget;
        self.in_flight.set(gauge_value(budget.total().saturating_sub(budget.available()) as u64));
        self.in_flight_limit.set(gauge_value(budget.total() as u64));
        for (listener, connections, tls) in &sources.listeners {
            let labels = labels([("listener", listener)]);
            self.connections.get_or_create(&labels).set(gauge_value(connections.count() as u64));
            if let Some(expires_at) = tls.as_ref().and_then(|tls| tls.expires_at()) {
                self.certificate_expiry.get_or_create(&labels).set(expires_at as f64);
            }
        }
    }
}
