//! Metrics for Prometheus.
//!
//! The format is OpenMetrics 1.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>). Names follow
//! Prometheus's conventions (<https://prometheus.io/docs/practices/naming/>): base units, and `_total` for
//! counters. All counters but those of the outputs count from the start of the process.
//!
//! The values of labels come from the configuration or from fixed lists. Nothing that a sender chooses
//! creates a time series. Other modules do not know Prometheus: `observers` implements their observers,
//! and [`exposition`] reads the gauges when the metrics are requested. `receiving` has what every
//! receiver counts, and `receive` the metrics of a receiver without a store. `journal` has those of the
//! source that reads the journal, `archive` those of the archiver, and `log` those of the transparency
//! log.

mod archive;
pub(crate) mod exposition;
mod journal;
mod log;
mod observers;
mod receive;
mod receiving;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub(crate) use exposition::{Exposition, GaugeSources};
pub(crate) use observers::{CountingDeliveryObserver, CountingListenerObserver};
pub(crate) use receive::ReceiveMetrics;
pub(crate) use receiving::{ReceiverSources, Receiving};

use crate::entry::{Format, Kind, Millis, VerdictName};
use crate::store::observer::Class;

/// The labels of a time series.
type Labels = Vec<(&'static str, String)>;

/// A gauge of a duration, or of a time since the epoch.
type Seconds = Gauge<f64, AtomicU64>;

/// The upper bounds of the buckets for durations, in seconds: from a fast disk to a time-out.
const SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The upper bounds of the buckets for deliveries in one transaction.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What a server has besides inputs and outputs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Has {
    /// A source reads the journal.
    pub(crate) journal: bool,
    /// The store is archived.
    pub(crate) archive: bool,
}

/// The counters and gauges.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    inputs: HashMap<String, InputCounters>,
    receiving: Arc<Receiving>,
    entries: Family<Labels, Counter>,
    not_tried: Counter,
    refreshes: Family<Labels, Counter>,
    delivery_seconds: Histogram,
    commit_seconds: Histogram,
    commit_deliveries: Histogram,
    commit_failures: Counter,
    gauges: exposition::Gauges,
}

/// The counters of one input. Each delivery updates them, so they are looked up once and need no lock.
#[derive(Debug)]
struct InputCounters {
    stored: Counter,
    duplicates: Counter,
    bytes: Counter,
    decoded_bytes: Counter,
    last_entry: Seconds,
}

impl InputCounters {
    /// An entry was received. Deliveries are observed in any order, and one may have waited in quarantine.
    fn received(&self, at: Millis) {
        self.last_entry.set(self.last_entry.get().max(time_value(Some(at))));
    }
}

impl Metrics {
    /// Metrics for these inputs and key sources. Every time series begins at zero, because Prometheus
    /// does not see the first event of a series that begins with it.
    pub(crate) fn new(inputs: &[&str], sources: &[String], has: Has) -> Metrics {
        let mut registry = Registry::with_prefix("vidimus");
        let all = &mut registry;
        let receiving = Receiving::register(all, inputs);
        let entries: Family<Labels, Counter> =
            register(all, "entries", "New entries stored, by format, kind and verdict on receipt");
        let not_tried = register(
            all,
            "entries_not_tried",
            "New entries stored whose signature was not tried, because too many others in their \
             delivery failed",
        );
        let refreshes =
            register(all, "key_refreshes", "Reads of the key sources, by source and outcome");
        let by_input = InputFamilies::register(all);
        let delivery_seconds = histogram(
            all,
            "delivery_duration",
            "Time from the end of a delivery's header to its entries on the disk",
            SECONDS,
        );
        let commit_seconds = histogram(
            all,
            "store_commit_duration",
            "Time from the beginning of a transaction to its end on the disk",
            SECONDS,
        );
        let commit_deliveries = Histogram::new(GROUP_SIZES);
        all.register(
            "store_commit_deliveries",
            "Deliveries stored in one transaction",
            commit_deliveries.clone(),
        );
        let commit_failures = register(
            all,
            "store_commit_failures",
            "Deliveries and transactions that could not be written",
        );
        let gauges = exposition::Gauges::register(all, has);

        for class in all_classes() {
            let _ = entries.get_or_create(&labels_of(class));
        }
        for source in sources {
            for outcome in ["success", "failure"] {
                create_series(&refreshes, [("source", source), ("outcome", outcome)]);
            }
        }
        let inputs = inputs
            .iter()
            .map(|input| ((*input).to_owned(), by_input.counters(input, &receiving.deliveries)))
            .collect();
        Metrics {
            registry,
            inputs,
            receiving: Arc::new(receiving),
            entries,
            not_tried,
            refreshes,
            delivery_seconds,
            commit_seconds,
            commit_deliveries,
            commit_failures,
            gauges,
        }
    }

    /// What every receiver counts.
    pub(crate) fn receiving(&self) -> &Arc<Receiving> {
        &self.receiving
    }
}

/// The families of counters by input.
struct InputFamilies {
    duplicates: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    decoded_bytes: Family<Labels, Counter>,
    last_entry: Family<Labels, Seconds>,
}

impl InputFamilies {
    fn register(all: &mut Registry) -> InputFamilies {
        InputFamilies {
            duplicates: register(all, "duplicates", "Received lines that were stored already"),
            bytes: with_unit(
                all,
                "received",
                "Size of the bodies of stored deliveries, as sent",
                Unit::Bytes,
            ),
            decoded_bytes: with_unit(
                all,
                "decoded",
                "Size of the bodies of stored deliveries, decoded",
                Unit::Bytes,
            ),
            last_entry: with_unit(
                all,
                "last_entry_timestamp",
                "When an entry was last received, since the epoch; 0 if never",
                Unit::Seconds,
            ),
        }
    }

    fn counters(&self, input: &str, deliveries: &Family<Labels, Counter>) -> InputCounters {
        let name = labels([("input", input)]);
        InputCounters {
            stored: deliveries.get_or_create_owned(&labels([("input", input), ("status", "200")])),
            duplicates: self.duplicates.get_or_create_owned(&name),
            bytes: self.bytes.get_or_create_owned(&name),
            decoded_bytes: self.decoded_bytes.get_or_create_owned(&name),
            last_entry: self.last_entry.get_or_create_owned(&name),
        }
    }
}

/// Registers the version of the program.
fn register_build(registry: &mut Registry) {
    registry.register(
        "build",
        "Version of the program",
        Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
    );
}

/// Registers a metric.
fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a metric whose name ends in its unit.
fn with_unit<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

/// Registers durations.
fn histogram<const N: usize>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    bounds: [f64; N],
) -> Histogram {
    let histogram = Histogram::new(bounds);
    registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
    histogram
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// The value of a gauge. It is capped at the largest `i64`.
fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The value of a gauge for a time: seconds since the epoch, or 0 if there is none.
fn time_value(time: Option<Millis>) -> f64 {
    time.map_or(0.0, |time| time.get() as f64 / 1000.0)
}

/// Sets counters whose values are kept elsewhere.
fn set_counters<const N: usize>(counters: [(&Counter, u64); N]) {
    for (counter, value) in counters {
        counter.inner().store(value, Ordering::Relaxed);
    }
}

/// Creates a time series with the value zero.
fn create_series<const N: usize>(
    family: &Family<Labels, Counter>,
    pairs: [(&'static str, &str); N],
) {
    let _ = family.get_or_create(&labels(pairs));
}

/// Every class of entries.
fn all_classes() -> Vec<Class> {
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
