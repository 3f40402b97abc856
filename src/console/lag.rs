//! Samples of how far the outputs are behind, for a chart. They are in memory only, so a restart
//! loses them, and no disk is written for them.
//!
//! There is one sample every ten seconds. After an hour only the worst of each minute is left, and
//! after a day none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Console;
use crate::clock::now;
use crate::entry::Millis;
use crate::net::Shutdown;
use crate::store::OutputStanding;

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(10);

/// The age after which samples are thinned, and the distance that they then have, in milliseconds.
const FULL: i64 = 3_600_000;
const THIN: i64 = 60_000;

/// The age after which samples are dropped, in milliseconds.
const KEPT: i64 = 24 * 3_600_000;

/// How far an output was behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    pub(super) at: i64,
    /// The age of the oldest entry that it had not seen, in milliseconds. 0 if it had seen all.
    pub(super) behind: i64,
}

/// The samples of all outputs.
#[derive(Debug, Default)]
pub(super) struct LagSamples(Mutex<BTreeMap<String, Samples>>);

/// The samples of an output, oldest first.
#[derive(Debug, Default)]
struct Samples {
    thinned: VecDeque<Lag>,
    recent: VecDeque<Lag>,
}

/// How far an output is behind, in milliseconds.
pub(super) fn behind(standing: &OutputStanding, now: Millis) -> i64 {
    standing.behind_since.map_or(0, |since| now.get().saturating_sub(since.get()).max(0))
}

impl LagSamples {
    /// Adds a sample of each configured output.
    pub(super) fn add(&self, standings: &[OutputStanding], now: Millis) {
        let mut all = self.locked();
        for standing in standings.iter().filter(|one| one.configured) {
            let lag = Lag { at: now.get(), behind: behind(standing, now) };
            match all.get_mut(&standing.name) {
                Some(samples) => samples.recent.push_back(lag),
                None => {
                    let samples = Samples { recent: [lag].into(), ..Samples::default() };
                    all.insert(standing.name.clone(), samples);
                }
            }
        }
        all.retain(|_, samples| {
            samples.thin(now.get());
            !samples.recent.is_empty() || !samples.thinned.is_empty()
        });
    }

    /// The samples of each output, oldest first.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<Lag>> {
        let copied = |samples: &Samples| {
            samples.thinned.iter().chain(&samples.recent).copied().collect::<Vec<_>>()
        };
        self.locked().iter().map(|(name, samples)| (name.clone(), copied(samples))).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Samples>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Samples {
    fn thin(&mut self, now: i64) {
        let is_older = |lag: &Lag, age: i64| lag.at < now.saturating_sub(age);
        while let Some(lag) = self.recent.front().copied().filter(|lag| is_older(lag, FULL)) {
            self.recent.pop_front();
            let same = |last: &&mut Lag| last.at.div_euclid(THIN) == lag.at.div_euclid(THIN);
            match self.thinned.back_mut().filter(same) {
                Some(last) => last.behind = last.behind.max(lag.behind),
                None => self.thinned.push_back(lag),
            }
        }
        while self.thinned.front().is_some_and(|lag| is_older(lag, KEPT)) {
            self.thinned.pop_front();
        }
    }
}

impl Console {
    /// Takes samples until the shutdown begins.
    pub(crate) async fn sample_lag(self: Arc<Console>, mut shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = shutdown.begun() => return,
            }
            let read = |reader: &crate::store::Reader| reader.output_standings(now());
            match self.read_for_metrics(read).await {
                Ok(standings) => self.lag.add(&standings, now()),
                Err(error) => tracing::debug!(error.detail, "no sample of the outputs' lag"),
            }
        }
    }
}

/// A shorter lag of an output is normal and not shown, in milliseconds.
const NEGLIGIBLE: i64 = 15_000;

/// Whether an output is far enough behind to be worth a word.
pub(super) fn is_behind(standing: &OutputStanding, now: Millis) -> bool {
    behind(standing, now) > NEGLIGIBLE
}

/// The number of configured outputs, and of those that are behind or have failed.
pub(super) fn behind_of(standings: &[OutputStanding], now: Millis) -> (u64, u64) {
    let (mut all, mut some) = (0, 0);
    for one in standings.iter().filter(|one| one.configured) {
        all += 1;
        some += u64::from(one.error.is_some() || is_behind(one, now));
    }
    (all, some)
}

/// An output that is behind since then, or not. That of the name `past` is not configured.
#[cfg(test)]
pub(super) fn standing(name: &str, since: Option<i64>) -> OutputStanding {
    OutputStanding {
        name: name.to_owned(),
        configured: name != "past",
        next_id: 1,
        change: 0,
        behind: since.map_or(0, |_| 1234),
        behind_since: since.map(Millis::saturating),
        rate: 0.0,
        written: 0,
        dead_letters: 0,
        lost: 0,
        failures: 0,
        saved_at: Millis::MIN,
        error: None,
        failed_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;

    /// Samples every ten seconds of an output that is behind by as many milliseconds as there were
    /// samples before.
    fn sampled(seconds: i64) -> Vec<Lag> {
        let samples = LagSamples::default();
        for (number, second) in (0..seconds).step_by(10).enumerate() {
            let now = second * SECOND + 120_000;
            let since = Some(now - number as i64);
            samples.add(&[standing("a", since), standing("past", None)], Millis::saturating(now));
        }
        let all = samples.all();
        assert_eq!(all.len(), 1);
        all["a"].clone()
    }

    #[test]
    fn an_hour_is_kept_in_full_and_a_day_by_the_minute() {
        assert_eq!(sampled(3600).len(), 360);
        let two_hours = sampled(7200);
        assert_eq!(two_hours.len(), 361 + 60);
        // The worst of a minute is left.
        assert_eq!(two_hours[1], Lag { at: 180_000, behind: 11 });
        assert!(two_hours.is_sorted_by_key(|lag| lag.at));
        let days = sampled(3 * 24 * 3600);
        assert_eq!(days.len(), 361 + 23 * 60);
    }

    #[test]
    fn an_output_without_a_lag_has_samples_and_one_that_is_gone_is_forgotten() {
        let samples = LagSamples::default();
        samples.add(&[standing("a", None)], Millis::saturating(0));
        assert_eq!(samples.all()["a"], [Lag { at: 0, behind: 0 }]);
        samples.add(&[standing("b", Some(0))], Millis::saturating(KEPT + 1));
        let lag = Lag { at: KEPT + 1, behind: KEPT + 1 };
        assert_eq!(samples.all(), BTreeMap::from([("b".to_owned(), vec![lag])]));
    }
}
