//! The report about the deliveries.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::super::exit::Exit;
use crate::konnect::deliver::Attempt;

/// The report about the deliveries.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Batches, without counting retries.
    pub(super) deliveries: u64,
    /// Batches answered with 2xx.
    pub(super) acknowledged: u64,
    /// Entries in all batches.
    pub(super) entries: u64,
    /// Entries in acknowledged batches.
    pub(super) entries_acknowledged: u64,
    pub(super) retries: u64,
    /// The number of responses by status; `no_answer` for failed connections.
    pub(super) statuses: BTreeMap<String, u64>,
    /// The time from the first request to the last response.
    pub(super) seconds: f64,
    /// The rate of acknowledged entries.
    pub(super) entries_per_second: f64,
    /// The time from a request to its response, in milliseconds.
    pub(super) latency_ms: Option<Latency>,
    /// The seed that generates these entries, if they were generated.
    pub(super) seed: Option<u64>,
    pub(super) interrupted: bool,
    #[serde(skip)]
    answered_in: Vec<Duration>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// The key in `statuses` for an attempt without a response.
const NO_ANSWER: &str = "no_answer";

impl Report {
    /// Adds a delivery.
    pub(super) fn add(&mut self, entries: u64, attempts: &[Attempt]) {
        self.deliveries += 1;
        self.entries += entries;
        self.retries += attempts.len().saturating_sub(1) as u64;
        if attempts.last().is_some_and(Attempt::acknowledged) {
            self.acknowledged += 1;
            self.entries_acknowledged += entries;
        }
        for attempt in attempts {
            let status = match attempt.answer {
                Ok(status) => {
                    self.answered_in.push(attempt.took);
                    status.to_string()
                }
                Err(_) => NO_ANSWER.to_owned(),
            };
            *self.statuses.entry(status).or_default() += 1;
        }
    }

    /// Computes the rate and the latency.
    pub(super) fn sum_up(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        self.entries_per_second = self.entries_acknowledged as f64 / self.seconds.max(1e-6);
        self.answered_in.sort_unstable();
        self.latency_ms = percentiles(&self.answered_in);
    }

    pub(super) fn exit(&self) -> Exit {
        let answered = self.statuses.keys().any(|status| status != NO_ANSWER);
        match () {
            () if self.deliveries > 0 && !answered => Exit::Failed,
            () if self.acknowledged < self.deliveries || self.interrupted => Exit::Negative,
            () => Exit::Done,
        }
    }
}

/// Nearest-rank percentiles of sorted durations.
fn percentiles(sorted: &[Duration]) -> Option<Latency> {
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).map(|took| took.as_secs_f64() * 1000.0)
    };
    Some(Latency { p50: at(50)?, p90: at(90)?, p99: at(99)?, max: at(100)? })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<_> = self.statuses.iter().map(|(s, n)| format!("{s} {n}")).collect();
        writeln!(f, "deliveries  {}, {} acknowledged", self.deliveries, self.acknowledged)?;
        writeln!(f, "entries     {}, {} acknowledged", self.entries, self.entries_acknowledged)?;
        writeln!(f, "retries     {}", self.retries)?;
        writeln!(f, "statuses    {}", statuses.join(", "))?;
        write!(f, "rate        {:.0} entries per second", self.entries_per_second)?;
        writeln!(f, " in {:.1} s", self.seconds)?;
        if let Some(Latency { p50, p90, p99, max }) = &self.latency_ms {
            write!(f, "latency     p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, ")?;
            writeln!(f, "max {max:.1} ms")?;
        }
        if let Some(seed) = self.seed {
            writeln!(f, "seed        {seed}")?;
        }
        if self.interrupted {
            writeln!(f, "interrupted before the end")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ClientError;

    /// A report about deliveries with these statuses; 0 is no response.
    fn report(deliveries: &[&[u16]]) -> Report {
        let mut report = Report::default();
        for answers in deliveries {
            let attempts: Vec<_> = answers
                .iter()
                .map(|status| Attempt {
                    answer: match status {
                        0 => Err(ClientError::Connect { url: "u".into(), why: "refused".into() }),
                        status => Ok(*status),
                    },
                    took: Duration::from_millis((*status).into()),
                })
                .collect();
            report.add(10, &attempts);
        }
        report
    }

    #[test]
    fn the_exit_code_depends_on_the_acknowledged_batches() {
        let check = |deliveries: &[&[u16]], expected| {
            assert_eq!(report(deliveries).exit(), expected, "{deliveries:?}");
        };
        check(&[], Exit::Done);
        check(&[&[200], &[0, 500, 200]], Exit::Done);
        check(&[&[200], &[0, 0]], Exit::Negative);
        check(&[&[401], &[401]], Exit::Negative);
        check(&[&[0, 0], &[0, 0]], Exit::Failed);
        let interrupted = Report { interrupted: true, ..report(&[&[200]]) };
        assert_eq!(interrupted.exit(), Exit::Negative);
    }

    #[test]
    fn a_report_has_all_figures() {
        let mut report = report(&[&[200], &[0, 500, 200], &[400]]);
        report.sum_up(Duration::from_secs(2));
        assert_eq!(
            report.to_string(),
            "deliveries  3, 2 acknowledged\n\
             entries     30, 20 acknowledged\n\
             retries     2\n\
             statuses    200 2, 400 1, 500 1, no_answer 1\n\
             rate        10 entries per second in 2.0 s\n\
             latency     p50 200.0 ms, p90 500.0 ms, p99 500.0 ms, max 500.0 ms\n"
        );
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let expected = Latency { p50: 50.0, p90: 90.0, p99: 99.0, max: 100.0 };
        assert_eq!(percentiles(&sorted), Some(expected));
        assert_eq!(percentiles(&[]), None);
    }
}
