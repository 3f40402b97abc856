//! How the outputs stand. It is read from the catalog when somebody looks, so unlike the rest it counts
//! from when an output was new.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, labels, whole};
use crate::entry::Millis;
use crate::store::OutputStanding;

#[derive(Debug)]
pub(super) struct Outputs {
    lag_entries: Family<Labels, Gauge>,
    lag_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    failing: Family<Labels, Gauge>,
    failures: Family<Labels, Counter>,
    written: Family<Labels, Counter>,
    dead_letters: Family<Labels, Counter>,
    lost: Family<Labels, Counter>,
    shown: Mutex<()>,
}

impl Outputs {
    pub(super) fn register(registry: &mut Registry) -> Outputs {
        let outputs = Outputs {
            lag_entries: Family::default(),
            lag_seconds: Family::default(),
            failing: Family::default(),
            failures: Family::default(),
            written: Family::default(),
            dead_letters: Family::default(),
            lost: Family::default(),
            shown: Mutex::new(()),
        };
        registry.register(
            "output_lag_entries",
            "Entries that an output has not seen, those that do not match included",
            outputs.lag_entries.clone(),
        );
        registry.register_with_unit(
            "output_lag",
            "How long ago the first of them was received, 0 without any",
            Unit::Seconds,
            outputs.lag_seconds.clone(),
        );
        registry.register(
            "output_failing",
            "1 if an output failed and has not gone on since",
            outputs.failing.clone(),
        );
        let mut counter = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        counter("output_failures", "How often an output failed", &outputs.failures);
        counter("output_entries", "Entries that an output wrote", &outputs.written);
        counter(
            "output_dead_letters",
            "Entries refused for good by the other end",
            &outputs.dead_letters,
        );
        counter(
            "output_lost_entries",
            "Entries that retention deleted before an output saw them",
            &outputs.lost,
        );
        outputs
    }

    /// Takes over how they stand, until the guard is gone.
    pub(super) fn show(&self, standings: &[OutputStanding], now: Millis) -> MutexGuard<'_, ()> {
        let guard = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear();
        for standing in standings.iter().filter(|one| one.configured) {
            let labels = labels([("output", &standing.name)]);
            let lag = standing
                .behind_since
                .map_or(0, |since| now.get().saturating_sub(since.get()).max(0));
            self.lag_entries.get_or_create(&labels).set(whole(standing.behind));
            self.lag_seconds.get_or_create(&labels).set(lag as f64 / 1000.0);
            self.failing.get_or_create(&labels).set(i64::from(standing.error.is_some()));
            for (family, value) in [
                (&self.failures, standing.failures),
                (&self.written, standing.written),
                (&self.dead_letters, standing.dead_letters),
                (&self.lost, standing.lost),
            ] {
                family.get_or_create(&labels).inner().store(value, Ordering::Relaxed);
            }
        }
        guard
    }

    /// Those that are past are not shown.
    fn clear(&self) {
        self.lag_entries.clear();
        self.lag_seconds.clear();
        self.failing.clear();
        for family in [&self.failures, &self.written, &self.dead_letters, &self.lost] {
            family.clear();
        }
    }
}
