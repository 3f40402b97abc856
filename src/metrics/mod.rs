//! What the program counts, for Prometheus.
//!
//! The format is OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), names
//! follow Prometheus's conventions (<https://prometheus.io/docs/practices/naming/>): base units, a
//! `_total` for what only rises. Everything but the outputs counts from the start of the process.
//!
//! The values of labels are those of the configuration and words of ours: nothing that a sender can
//! choose makes a time series. Other modules know nothing of Prometheus: `hooks` listens where they
//! tell what they do, and [`exposition`] asks them, and for `outputs` the store, when somebody looks.

pub mod exposition;
mod hooks;
mod outputs;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use exposition::{Exposition, Sources};
pub use hooks::{CountedEvents, CountedObserver};

use crate::entry::{Format, Kind, VerdictName};
use crate::net::Refused as NetRefused;
use crate::store::meter::Class;

/// The labels of a time series.
type Labels = Vec<(&'static str, String)>;

/// The statuses that a delivery ends with; `closed` is a connection that was closed instead.
const STATUSES: [&str; 7] = ["200", "400", "413", "415", "429", "500", "closed"];

/// The names of the listeners.
const LISTENERS: [&str; 2] = ["receiver", "console"];

/// The statuses of requests that were refused before anything of the body was read.
const REFUSALS: [&str; 3] = ["401", "404", "405"];

/// The upper bounds of the buckets of durations, in seconds: from a fast disk to a time-out.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The upper bounds of the buckets of sizes of groups.
const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Everything that is counted where it happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    inputs: HashMap<String, Input>,
    deliveries: Family<Labels, Counter>,
    entries: Family<Labels, Counter>,
    not_tried: Counter,
    refused: Family<Labels, Counter>,
    connections_refused: Family<Labels, Counter>,
    handshakes_failed: Family<Labels, Counter>,
    refreshes: Family<Labels, Counter>,
    delivery_seconds: Histogram,
    commit_seconds: Histogram,
    commit_deliveries: Histogram,
    commit_failures: Counter,
    gauges: exposition::Gauges,
}

/// What is counted for an input with each delivery, at hand without a lock.
#[derive(Debug)]
struct Input {
    stored: Counter,
    duplicates: Counter,
    bytes: Counter,
    decoded_bytes: Counter,
    last_entry: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl Metrics {
    /// Counts for these inputs and sources of keys, all from zero: a time series that is there before
    /// its first event shows the first event.
    pub fn new(inputs: &[&str], sources: &[String]) -> Metrics {
        let mut registry = Registry::with_prefix("vidimus");
        let all = &mut registry;
        all.register(
            "build",
            "The program that runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        let deliveries = family(
            all,
            "deliveries",
            "Authorized deliveries by input and by the status of the answer; closed is a \
             connection closed without one",
        );
        let entries =
            family(all, "entries", "New entries stored, by what they were when they were received");
        let not_tried = Counter::default();
        all.register(
            "entries_not_tried",
            "New entries stored whose signature was not tried, for too many others of their delivery \
             failed",
            not_tried.clone(),
        );
        let refused =
            family(all, "requests_refused", "Requests to the receiver refused before their body");
        let connections_refused = family(
            all,
            "connections_refused",
            "Connections turned away before a request, by listener and reason",
        );
        let handshakes_failed =
            family(all, "tls_handshake_failures", "TLS handshakes that failed, by listener");
        let refreshes =
            family(all, "key_refreshes", "Readings of the sources of keys, by source and outcome");
        let by_input = ByInput::register(all);
        let delivery_seconds = histogram(
            all,
            "delivery_duration",
            "From the end of a delivery's headers to its entries being on the disk",
            SECONDS,
        );
        let commit_seconds = histogram(
            all,
            "store_commit_duration",
            "From the beginning of a transaction to its being on the disk",
            SECONDS,
        );
        let commit_deliveries = Histogram::new(SIZES);
        all.register(
            "store_commit_deliveries",
            "Deliveries stored in one transaction",
            commit_deliveries.clone(),
        );
        let commit_failures = Counter::default();
        all.register(
            "store_commit_failures",
            "Deliveries and transactions that could not be written",
            commit_failures.clone(),
        );
        let gauges = exposition::Gauges::register(all);

        for input in inputs {
            for status in STATUSES {
                touch(&deliveries, [("input", input), ("status", status)]);
            }
        }
        for status in REFUSALS {
            touch(&refused, [("status", status)]);
        }
        for listener in LISTENERS {
            touch(&handshakes_failed, [("listener", listener)]);
            for reason in NetRefused::REASONS {
                touch(&connections_refused, [("listener", listener), ("reason", reason)]);
            }
        }
        for class in usual_classes() {
            let _ = entries.get_or_create(&labels_of(class));
        }
        for source in sources {
            for outcome in ["success", "failure"] {
                touch(&refreshes, [("source", source), ("outcome", outcome)]);
            }
        }
        let inputs = inputs
            .iter()
            .map(|input| ((*input).to_owned(), by_input.of(input, &deliveries)))
            .collect();
        Metrics {
            registry,
            inputs,
            deliveries,
            entries,
            not_tried,
            refused,
            connections_refused,
            handshakes_failed,
            refreshes,
            delivery_seconds,
            commit_seconds,
            commit_deliveries,
            commit_failures,
            gauges,
        }
    }
}

/// What is counted by input alone.
struct ByInput {
    duplicates: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    decoded_bytes: Family<Labels, Counter>,
    last_entry: Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl ByInput {
    fn register(registry: &mut Registry) -> ByInput {
        let bytes = |registry: &mut Registry, name: &str, help: &str| {
            with_unit(registry, name, help, Unit::Bytes, Family::default())
        };
        ByInput {
            duplicates: family(registry, "duplicates", "Lines that were stored already"),
            bytes: bytes(registry, "received", "Bodies of stored deliveries, as sent"),
            decoded_bytes: bytes(registry, "decoded", "Bodies of stored deliveries, when decoded"),
            last_entry: with_unit(
                registry,
                "last_entry_timestamp",
                "When an entry was received last, since the epoch; 0 is never",
                Unit::Seconds,
                Family::default(),
            ),
        }
    }

    fn of(&self, input: &str, deliveries: &Family<Labels, Counter>) -> Input {
        let name = labels([("input", input)]);
        Input {
            stored: deliveries.get_or_create_owned(&labels([("input", input), ("status", "200")])),
            duplicates: self.duplicates.get_or_create_owned(&name),
            bytes: self.bytes.get_or_create_owned(&name),
            decoded_bytes: self.decoded_bytes.get_or_create_owned(&name),
            last_entry: self.last_entry.get_or_create_owned(&name),
        }
    }
}

fn family(registry: &mut Registry, name: &str, help: &str) -> Family<Labels, Counter> {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn histogram<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    bounds: [f64; N],
) -> Histogram {
    with_unit(registry, name, help, Unit::Seconds, Histogram::new(bounds))
}

/// Registers a metric whose name ends in its unit.
fn with_unit<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
    metric: M,
) -> M {
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// A count as a gauge has it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Begins a time series.
fn touch<const N: usize>(family: &Family<Labels, Counter>, pairs: [(&'static str, &str); N]) {
    let _ = family.get_or_create(&labels(pairs));
}

/// The classes that entries may be of.
fn usual_classes() -> Vec<Class> {
    let mut classes = Vec::new();
    for format in Format::ALL {
        for kind in Kind::ALL {
            let verdicts = VerdictName::ALL.iter().filter(|one| **one != VerdictName::Malformed);
            classes.extend(verdicts.map(|verdict| (Some(*format), Some(*kind), *verdict)));
        }
    }
    let formats = Format::ALL.iter().copied().map(Some).chain([None]);
    classes.extend(formats.map(|format| (format, None, VerdictName::Malformed)));
    classes
}

fn labels_of((format, kind, verdict): Class) -> Labels {
    labels([
        ("format", Format::word(format)),
        ("kind", kind.map_or("none", Kind::as_str)),
        ("verdict", verdict.as_str()),
    ])
}
