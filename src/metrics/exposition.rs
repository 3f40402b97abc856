//! What is asked for when somebody looks, and the text of it all.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::outputs::Outputs;
use super::{Labels, Metrics, labels, whole, with_unit};
use crate::clock::now;
use crate::keys::KeyRing;
use crate::net::{Budget, Connections, ServerTls};
use crate::store::catalog::State;
use crate::store::{Health, Reader, StoreError};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Gauge<f64, AtomicU64>;

/// What is asked for when somebody looks.
#[derive(Debug)]
pub(super) struct Gauges {
    in_flight: Gauge,
    in_flight_limit: Gauge,
    connections: Family<Labels, Gauge>,
    certificate_expiry: Family<Labels, Seconds>,
    keys: Gauge,
    segments: Family<Labels, Gauge>,
    store_bytes: Gauge,
    free_bytes: Gauge,
    writable: Gauge,
    missing_ids: Gauge,
    outputs: Outputs,
}

impl Gauges {
    pub(super) fn register(registry: &mut Registry) -> Gauges {
        let mut bytes = |name: &str, help: &str| -> Gauge {
            with_unit(registry, name, help, Unit::Bytes, Gauge::default())
        };
        let gauges = Gauges {
            in_flight: bytes("in_flight", "Bodies that are held in memory until they are stored"),
            in_flight_limit: bytes("in_flight_limit", "The most of them that there may be"),
            store_bytes: bytes("store", "The segments and the catalog on the disk"),
            free_bytes: bytes("store_free", "What the file system of the store has left for us"),
            connections: Family::default(),
            certificate_expiry: Family::default(),
            keys: Gauge::default(),
            segments: Family::default(),
            writable: Gauge::default(),
            missing_ids: Gauge::default(),
            outputs: Outputs::register(registry),
        };
        let Gauges { connections, certificate_expiry, keys, segments, writable, .. } = &gauges;
        registry.register("connections", "Open connections, by listener", connections.clone());
        registry.register_with_unit(
            "tls_certificate_expiry_timestamp",
            "When the certificate is valid no more, since the epoch, by listener",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        registry.register("keys", "Keys that verify what is received now", keys.clone());
        registry.register("store_segments", "Segments of the store, by state", segments.clone());
        registry.register(
            "store_writable",
            "1 if the last write to the store succeeded, 0 if it failed",
            writable.clone(),
        );
        registry.register(
            "store_missing_ids",
            "Ids that no segment has, though nothing says that they were removed",
            gauges.missing_ids.clone(),
        );
        gauges
    }
}

/// Whom to ask.
#[derive(Debug)]
pub struct Sources {
    /// The bytes in flight.
    pub budget: Budget,
    /// The listeners by their names, and their certificates.
    pub listeners: Vec<(&'static str, Connections, Option<Arc<ServerTls>>)>,
    /// The keys at hand.
    pub ring: Arc<KeyRing>,
    /// Whether the store can be written.
    pub health: Arc<Health>,
}

/// All that there is to show.
#[derive(Debug)]
pub struct Exposition {
    metrics: Arc<Metrics>,
    sources: Sources,
}

impl Exposition {
    /// What was counted, and whom to ask for the rest.
    pub fn new(metrics: Arc<Metrics>, sources: Sources) -> Exposition {
        Exposition { metrics, sources }
    }

    /// Takes over from the store when each input received an entry last: silence does not begin with
    /// the process.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn begin(&self, reader: &Reader) -> Result<(), StoreError> {
        let mut names: Vec<_> = self.metrics.inputs.keys().map(String::as_str).collect();
        names.sort_unstable();
        for (name, time) in reader.last_received(&names)? {
            if let Some(input) = self.metrics.inputs.get(&name) {
                let time = time.get() as f64 / 1000.0;
                input.last_entry.set(input.last_entry.get().max(time));
            }
        }
        Ok(())
    }

    /// The text. It reads the catalog and the sizes of files, and takes the time of that.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn text(&self, reader: &Reader) -> Result<String, StoreError> {
        let (gauges, sources) = (&self.metrics.gauges, &self.sources);
        let budget = &sources.budget;
        gauges.in_flight.set(whole(budget.total().saturating_sub(budget.available()) as u64));
        gauges.in_flight_limit.set(whole(budget.total() as u64));
        for (listener, connections, tls) in &sources.listeners {
            let labels = labels([("listener", listener)]);
            gauges.connections.get_or_create(&labels).set(whole(connections.open() as u64));
            if let Some(expires_at) = tls.as_ref().and_then(|tls| tls.expires_at()) {
                gauges.certificate_expiry.get_or_create(&labels).set(expires_at as f64);
            }
        }
        gauges.keys.set(whole(sources.ring.len() as u64));
        gauges.writable.set(i64::from(sources.health.trouble().is_none()));
        let usage = reader.usage()?;
        for state in [State::Live, State::Closed, State::Sealed] {
            let count = usage.states.get(state.as_str()).copied().unwrap_or_default();
            let labels = labels([("state", state.as_str())]);
            gauges.segments.get_or_create(&labels).set(whole(count));
        }
        gauges.store_bytes.set(whole(usage.bytes));
        gauges.missing_ids.set(whole(usage.missing_ids));
        gauges.free_bytes.set(whole(usage.free_bytes));
        let now = now();
        let standings = reader.output_standings(now)?;
        let mut text = String::new();
        // Held until the text is written: nobody else shows half of them.
        let _shown = gauges.outputs.show(&standings, now);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.metrics.registry);
        Ok(text)
    }
}
