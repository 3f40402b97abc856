//! The exposition: the text of all metrics. Gauges are read from their sources for each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::archive::ArchiveGauges;
use super::journal::JournalGauges;
use super::log::LogGauges;
use super::{
    Has, Labels, Metrics, ReceiverSources, Seconds, gauge_value, labels, register, set_counters,
    with_unit,
};
use crate::archive::archiver::status::ArchiveStatus;
use crate::clock::now;
use crate::entry::Millis;
use crate::keys::KeyRing;
use crate::log::party::PartyStatus;
use crate::log::status::LogStatus;
use crate::source::journal::status::SourceStatus;
use crate::store::{Health, OutputStanding, Reader, State, StoreError};

/// The media type of the exposition.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The gauges, set for each request.
#[derive(Debug)]
pub(super) struct Gauges {
    keys: Gauge,
    segments: Family<Labels, Gauge>,
    store_bytes: Gauge,
    free_bytes: Gauge,
    writable: Gauge,
    missing_ids: Gauge,
    outputs: OutputGauges,
    /// `None` if no source reads the journal.
    journal: Option<JournalGauges>,
    /// `None` if there is no archive.
    archive: Option<ArchiveGauges>,
    log: LogGauges,
}

impl Gauges {
    pub(super) fn register(all: &mut Registry, has: Has) -> Gauges {
        Gauges {
            keys: register(all, "keys", "Keys that verify new entries"),
            segments: register(all, "store_segments", "Segments of the store, by state"),
            store_bytes: with_unit(
                all,
                "store",
                "Size of the segments and the catalog on the disk",
                Unit::Bytes,
            ),
            free_bytes: with_unit(
                all,
                "store_free",
                "Space on the file system of the store that is free for this process",
                Unit::Bytes,
            ),
            writable: register(
                all,
                "store_writable",
                "1 if the last write to the store succeeded, 0 if it failed",
            ),
            missing_ids: register(
                all,
                "store_missing_ids",
                "Ids that no segment has and whose removal is not recorded",
            ),
            outputs: OutputGauges::register(all),
            journal: has.journal.then(|| JournalGauges::register(all)),
            archive: has.archive.then(|| ArchiveGauges::register(all)),
            log: LogGauges::register(all),
        }
    }
}

/// Where the gauges are read from.
#[derive(Debug)]
pub(crate) struct GaugeSources {
    pub(crate) receiver: ReceiverSources,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) health: Arc<Health>,
    /// How far the journal was read, if a source reads it.
    pub(crate) journal: Option<Arc<SourceStatus>>,
    /// How the archiver stands, if there is an archive.
    pub(crate) archive: Option<Arc<ArchiveStatus>>,
    /// How the signer of the transparency log stands.
    pub(crate) log: Arc<LogStatus>,
    /// How the witnesses and the time-stamping authority of the log stand.
    pub(crate) witnesses: Vec<Arc<PartyStatus>>,
    pub(crate) authority: Option<Arc<PartyStatus>>,
}

/// Writes the text of all metrics.
#[derive(Debug)]
pub(crate) struct Exposition {
    metrics: Arc<Metrics>,
    sources: GaugeSources,
}

impl Exposition {
    /// For these counters, and for gauges from these sources.
    pub(crate) fn new(metrics: Arc<Metrics>, sources: GaugeSources) -> Exposition {
        Exposition { metrics, sources }
    }

    /// Reads from the store when each input last received an entry, because that may be before the start
    /// of the process.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn restore_last_received(&self, reader: &Reader) -> Result<(), StoreError> {
        let mut names: Vec<_> = self.metrics.inputs.keys().map(String::as_str).collect();
        names.sort_unstable();
        for (name, time) in reader.last_received(&names)? {
            if let Some(input) = self.metrics.inputs.get(&name) {
                input.received(time);
            }
        }
        Ok(())
    }

    /// The text. It reads the catalog and the sizes of files, so it may block.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn text(&self, reader: &Reader) -> Result<String, StoreError> {
        let (gauges, sources) = (&self.metrics.gauges, &self.sources);
        self.metrics.receiving.set(&sources.receiver);
        gauges.keys.set(gauge_value(sources.ring.len() as u64));
        gauges.writable.set(i64::from(sources.health.trouble().is_none()));
        let usage = reader.usage()?;
        for state in [State::Live, State::Closed, State::Sealed] {
            let count = usage.states.get(state.as_str()).copied().unwrap_or_default();
            let labels = labels([("state", state.as_str())]);
            gauges.segments.get_or_create(&labels).set(gauge_value(count));
        }
        gauges.store_bytes.set(gauge_value(usage.bytes));
        gauges.missing_ids.set(gauge_value(usage.missing_ids));
        gauges.free_bytes.set(gauge_value(usage.free_bytes));
        let now = now();
        let standings = reader.output_standings(now)?;
        if let (Some(gauges), Some(status)) = (&gauges.journal, &sources.journal) {
            gauges.set(&status.standing(), now);
        }
        if let (Some(gauges), Some(status)) = (&gauges.archive, &sources.archive) {
            gauges.set(&status.standing(), &reader.archive_progress(status.place())?);
        }
        gauges.log.set(&sources.log.standing());
        gauges.log.set_parties(&sources.witnesses, sources.authority.as_deref());
        let mut text = String::new();
        // Held until the text is written, so that another request does not change the gauges.
        let _guard = gauges.outputs.set(&standings, now);
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.metrics.registry);
        Ok(text)
    }
}

/// The state of the outputs, read from the catalog for each request. So these counters count from the
/// creation of an output, and not from the start of the process.
#[derive(Debug)]
struct OutputGauges {
    lag_entries: Family<Labels, Gauge>,
    lag_seconds: Family<Labels, Seconds>,
    failing: Family<Labels, Gauge>,
    failures: Family<Labels, Counter>,
    written: Family<Labels, Counter>,
    dead_letters: Family<Labels, Counter>,
    lost: Family<Labels, Counter>,
    in_use: Mutex<()>,
}

impl OutputGauges {
    fn register(all: &mut Registry) -> OutputGauges {
        OutputGauges {
            lag_entries: register(
                all,
                "output_lag_entries",
                "Entries that an output has not read yet, including those that its filter rejects",
            ),
            lag_seconds: with_unit(
                all,
                "output_lag",
                "Age of the first entry that an output has not read yet, 0 if there is none",
                Unit::Seconds,
            ),
            failing: register(
                all,
                "output_failing",
                "1 if an output failed and has not succeeded since, else 0",
            ),
            failures: register(all, "output_failures", "Failures of an output"),
            written: register(all, "output_entries", "Entries that an output wrote"),
            dead_letters: register(
                all,
                "output_dead_letters",
                "Entries that an output put among its dead letters",
            ),
            lost: register(
                all,
                "output_lost_entries",
                "Entries that retention deleted before an output read them",
            ),
            in_use: Mutex::new(()),
        }
    }

    /// Sets the gauges. Another call waits until the guard is dropped.
    fn set(&self, standings: &[OutputStanding], now: Millis) -> MutexGuard<'_, ()> {
        let guard = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        self.clear();
        for standing in standings.iter().filter(|one| one.configured) {
            let labels = labels([("output", &standing.name)]);
            let lag = standing
                .behind_since
                .map_or(0, |since| now.get().saturating_sub(since.get()).max(0));
            self.lag_entries.get_or_create(&labels).set(gauge_value(standing.behind));
            self.lag_seconds.get_or_create(&labels).set(lag as f64 / 1000.0);
            self.failing.get_or_create(&labels).set(i64::from(standing.error.is_some()));
            set_counters([
                (&*self.failures.get_or_create(&labels), standing.failures),
                (&*self.written.get_or_create(&labels), standing.written),
                (&*self.dead_letters.get_or_create(&labels), standing.dead_letters),
                (&*self.lost.get_or_create(&labels), standing.lost),
            ]);
        }
        guard
    }

    /// Removes all series, so that removed outputs are not shown.
    fn clear(&self) {
        self.lag_entries.clear();
        self.lag_seconds.clear();
        self.failing.clear();
        for family in [&self.failures, &self.written, &self.dead_letters, &self.lost] {
            family.clear();
        }
    }
}
