//! The metrics of the archive. They exist if there is an archive.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Seconds, gauge_value, register, set_counters, time_value, with_unit};
use crate::archive::archiver::status::ArchiveStanding;
use crate::store::ArchiveProgress;

/// The gauges, set for each request.
#[derive(Debug)]
pub(super) struct ArchiveGauges {
    segments: Gauge,
    waiting_segments: Gauge,
    waiting_entries: Gauge,
    files: Counter,
    bytes: Counter,
    failures: Counter,
    failing: Gauge,
    stopped: Gauge,
    succeeded_at: Seconds,
}

impl ArchiveGauges {
    /// Registers the metrics.
    pub(super) fn register(all: &mut Registry) -> ArchiveGauges {
        ArchiveGauges {
            segments: register(
                all,
                "archive_segments",
                "Segments that are in the archive and were read back, with those that retention \
                 deleted",
            ),
            waiting_segments: register(
                all,
                "archive_waiting_segments",
                "Closed segments of the store that are not in the archive yet",
            ),
            waiting_entries: register(
                all,
                "archive_waiting_entries",
                "Entries of the store that are not in the archive yet, so that a rebuild would lose \
                 them",
            ),
            files: register(all, "archive_files_written", "Parquet files added to the archive"),
            bytes: with_unit(
                all,
                "archive_written",
                "Size of the Parquet files added to the archive",
                Unit::Bytes,
            ),
            failures: register(all, "archive_failures", "How often archiving failed"),
            failing: register(
                all,
                "archive_failing",
                "1 if archiving failed and has not succeeded since, else 0",
            ),
            stopped: register(
                all,
                "archive_stopped",
                "1 if the archiver has stopped for good, and nothing is archived, else 0",
            ),
            succeeded_at: with_unit(
                all,
                "archive_last_success_timestamp",
                "When a segment was last archived or nothing was due, since the epoch; 0 if never",
                Unit::Seconds,
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn set(&self, standing: &ArchiveStanding, progress: &ArchiveProgress) {
        set_counters([
            (&self.files, standing.files),
            (&self.bytes, standing.bytes),
            (&self.failures, standing.failures),
        ]);
        self.segments.set(gauge_value(progress.segments));
        self.waiting_segments.set(gauge_value(progress.waiting_segments));
        self.waiting_entries.set(gauge_value(progress.waiting_entries));
        self.failing.set(i64::from(standing.failing.is_some()));
        self.stopped.set(i64::from(standing.stopped.is_some()));
        self.succeeded_at.set(time_value(standing.succeeded_at));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::entry::Millis;

    #[test]
    fn the_standing_is_shown() {
        let mut registry = Registry::with_prefix("vidimus");
        let gauges = ArchiveGauges::register(&mut registry);
        let check = |standing: &ArchiveStanding, progress: &ArchiveProgress, expected: &[&str]| {
            gauges.set(standing, progress);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            for expected in expected {
                assert!(text.lines().any(|line| line == *expected), "{expected}\n{text}");
            }
        };
        let expected = [
            "vidimus_archive_segments 0",
            "vidimus_archive_failing 0",
            "vidimus_archive_stopped 0",
            "vidimus_archive_last_success_timestamp_seconds 0.0",
        ];
        check(&ArchiveStanding::default(), &ArchiveProgress::default(), &expected);
        let standing = ArchiveStanding {
            files: 3,
            bytes: 40,
            failures: 2,
            succeeded_at: Some(Millis::saturating(1500)),
            failing: Some("gone".into()),
            stopped: Some("collision".into()),
        };
        let progress = ArchiveProgress {
            segments: 5,
            waiting_segments: 1,
            waiting_entries: 70,
            ..ArchiveProgress::default()
        };
        let expected = [
            "vidimus_archive_segments 5",
            "vidimus_archive_waiting_segments 1",
            "vidimus_archive_waiting_entries 70",
            "vidimus_archive_files_written_total 3",
            "vidimus_archive_written_bytes_total 40",
            "vidimus_archive_failures_total 2",
            "vidimus_archive_failing 1",
            "vidimus_archive_stopped 1",
            "vidimus_archive_last_success_timestamp_seconds 1.5",
        ];
        check(&standing, &progress, &expected);
    }
}
