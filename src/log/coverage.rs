//! Coverage: which times are proved complete, which were only received, and when there was no receiver.
//!
//! A comparison with Konnect proves the range that it is of, by what its leaf says. The catalog only says
//! where the leaf is, and a row that the leaf does not confirm does not count. Of the comparisons of a
//! time the last one counts. Where there is none, the up-time of `serve` says whether deliveries could be
//! received.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::now;
use crate::entry::Millis;
use crate::entry::words::words;
use crate::store::{Reader, ReconciledRange, Scope, StoreError, TimeRange, Uptime};
use crate::tlog::leaf::Leaf;

/// How often `serve` records that it runs, in milliseconds.
pub(crate) const BEAT: i64 = 60_000;

words! {
    /// What is known of a time.
    pub(crate) enum Covered {
        /// Every entry that Konnect lists was in the store, or a replay brought it.
        Complete = "complete",
        /// Konnect sent the entries again, to the end. Those of a Dev Portal cannot be listed.
        Replayed = "replayed",
        /// There was a receiver. Nothing was compared.
        Received = "received",
        /// Entries were missing when it was compared, and no replay brought them.
        Incomplete = "incomplete",
        /// There was no receiver. Nothing was compared.
        Down = "down",
        /// Nothing is recorded.
        Unknown = "unknown",
    }
}

/// A time of which one thing is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Interval {
    /// Its beginning.
    pub(crate) since: Millis,
    /// The first millisecond after it.
    pub(crate) until: Millis,
    /// What is known.
    #[serde(rename = "state")]
    pub(crate) covered: Covered,
    /// The leaves of the comparisons that say so.
    pub(crate) leaves: Vec<u64>,
}

/// The coverage of one region or Dev Portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coverage {
    /// `None`: no region or Dev Portal was ever compared, and none is configured.
    pub(crate) scope: Option<Scope>,
    /// Without gaps, oldest first.
    pub(crate) intervals: Vec<Interval>,
}

/// The coverage of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CoverageReport {
    /// By region and Dev Portal. Empty if nothing is recorded in the range.
    pub(crate) coverages: Vec<Coverage>,
    /// The leaves of comparisons that the catalog has and the log does not confirm.
    pub(crate) unconfirmed: Vec<u64>,
}

/// What is painted over a time: what is known, and the leaf that says so.
type Paint = (Covered, Option<u64>);

impl CoverageReport {
    /// Reads the coverage of a range. `region` is the one that is configured. A range without a beginning
    /// begins where the records do. It ends at the last sign of life of a `serve` that runs, because what
    /// is later is not known yet.
    pub(crate) fn read(
        reader: &Reader,
        range: TimeRange,
        region: Option<String>,
    ) -> Result<CoverageReport, StoreError> {
        let (uptimes, all) = (reader.uptimes()?, reader.reconciled()?);
        let configured = region.map(|region| Scope { region, portal: None });
        let scopes = all.iter().map(|one| one.scope.clone()).chain(configured);
        let scopes: BTreeSet<Scope> = scopes.collect();
        let Some((since, until)) = ends(range, &uptimes, &all, now().get()) else {
            return Ok(CoverageReport::default());
        };
        let is_in = |one: &ReconciledRange| one.since.get() < until && one.until.get() > since;
        let ranges: Vec<_> = all.into_iter().filter(is_in).collect();
        let leaves: Vec<_> = ranges.iter().map(|one| one.leaf).collect();
        let (mut confirmed, mut unconfirmed) = (Vec::new(), Vec::new());
        for (one, record) in ranges.into_iter().zip(reader.leaf_records(&leaves)?) {
            match record.and_then(|record| confirm(&one, &record)) {
                Some(covered) => confirmed.push((one, covered)),
                None => unconfirmed.push(one.leaf),
            }
        }
        let base = of_uptimes(&uptimes, (since, until));
        let scopes: Vec<_> = match scopes.is_empty() {
            true => vec![None],
            false => scopes.into_iter().map(Some).collect(),
        };
        let coverage = |scope: Option<Scope>| {
            let mut times = base.clone();
            for (one, covered) in
                confirmed.iter().filter(|(one, _)| Some(&one.scope) == scope.as_ref())
            {
                times.paint(one.since.get(), one.until.get(), (*covered, Some(one.leaf)));
            }
            Coverage { scope, intervals: times.intervals() }
        };
        Ok(CoverageReport { coverages: scopes.into_iter().map(coverage).collect(), unconfirmed })
    }
}

/// The ends of the range that can be told of. `None` if there is none.
fn ends(
    range: TimeRange,
    uptimes: &[Uptime],
    ranges: &[ReconciledRange],
    now: i64,
) -> Option<(i64, i64)> {
    let starts = uptimes.iter().map(|one| one.started_at);
    let first = starts.chain(ranges.iter().map(|one| one.since)).min();
    let since = range.since.or(first.map(Millis::get))?;
    let seen = uptimes.last().map(|one| one.last_seen_at.get());
    let known = seen.filter(|seen| (0..=2 * BEAT).contains(&now.saturating_sub(*seen)));
    let until = range.until.unwrap_or(i64::MAX).min(known.unwrap_or(now));
    (since < until).then_some((since, until))
}

/// What a comparison says by its leaf. `None` if the leaf is of something else.
fn confirm(range: &ReconciledRange, record: &[u8]) -> Option<Covered> {
    let (leaf, _) = Leaf::parse(record).ok()?;
    let Leaf::Reconcile { since, until, missing, fetched, name, .. } = leaf else { return None };
    if (since, until, name) != (range.since, range.until, range.scope.sha256()) {
        return None;
    }
    Some(Covered::of(&range.scope, missing, fetched))
}

impl Covered {
    /// What a comparison says of its range.
    pub(crate) fn of(scope: &Scope, missing: u64, fetched: u64) -> Covered {
        match (missing > fetched, &scope.portal) {
            (true, _) => Covered::Incomplete,
            (false, None) => Covered::Complete,
            (false, Some(_)) => Covered::Replayed,
        }
    }
}

/// What the up-time alone says.
fn of_uptimes(uptimes: &[Uptime], (since, until): (i64, i64)) -> Times {
    let mut times = Times::new(since, until);
    // While a journal is read, other receivers may have run.
    let without = |has_journal| if has_journal { Covered::Unknown } else { Covered::Down };
    let next = uptimes.iter().skip(1).map(Some).chain([None]);
    for (one, next) in uptimes.iter().zip(next) {
        let end = next.map_or(until, |next| next.started_at.get());
        let has_journal = one.has_journal || next.is_some_and(|next| next.has_journal);
        let between = match next.is_some_and(|next| next.is_clock_set) {
            true => Covered::Unknown,
            false => without(has_journal),
        };
        times.paint(one.last_seen_at.get(), end, (between, None));
        if !one.has_receiver {
            let (started_at, last_seen_at) = (one.started_at.get(), one.last_seen_at.get());
            times.paint(started_at, last_seen_at, (without(one.has_journal), None));
        }
    }
    // If the clock was set back, runs overlap, and there was a receiver if one of them had one.
    for one in uptimes.iter().filter(|one| one.has_receiver) {
        let (started_at, last_seen_at) = (one.started_at.get(), one.last_seen_at.get());
        times.paint(started_at, last_seen_at, (Covered::Received, None));
    }
    times
}

/// What is known of a range: each time from which on it is something else.
#[derive(Clone, Debug)]
struct Times {
    until: i64,
    starts: BTreeMap<i64, Paint>,
}

impl Times {
    fn new(since: i64, until: i64) -> Times {
        Times { until, starts: BTreeMap::from([(since, (Covered::Unknown, None))]) }
    }

    /// Sets what is known of the time from `since` to just before `until`.
    fn paint(&mut self, since: i64, until: i64, paint: Paint) {
        let first = self.starts.first_key_value().map_or(self.until, |(first, _)| *first);
        let (since, until) = (since.max(first), until.min(self.until));
        if since >= until {
            return;
        }
        let after = self.starts.range(..=until).next_back().map(|(_, after)| *after);
        if until < self.until
            && let Some(after) = after
        {
            self.starts.insert(until, after);
        }
        self.starts.retain(|start, _| !(since..until).contains(start));
        self.starts.insert(since, paint);
    }

    /// The intervals. Neighbours of which the same is known are one.
    fn intervals(&self) -> Vec<Interval> {
        let ends = self.starts.keys().skip(1).copied().chain([self.until]);
        let mut intervals: Vec<Interval> = Vec::new();
        for ((since, (covered, leaf)), until) in self.starts.iter().zip(ends) {
            let until = Millis::saturating(until);
            match intervals.last_mut().filter(|last| last.covered == *covered) {
                Some(last) => {
                    last.until = until;
                    last.leaves.extend(leaf.filter(|leaf| !last.leaves.contains(leaf)));
                }
                None => intervals.push(Interval {
                    since: Millis::saturating(*since),
                    until,
                    covered: *covered,
                    leaves: leaf.iter().copied().collect(),
                }),
            }
        }
        intervals
    }
}

impl Coverage {
    /// How much of the time is covered in each way that occurs, in percent, in the order of [`Covered`].
    /// A share is rounded down, so that only the whole is 100, but not to nothing.
    pub(crate) fn shares(&self) -> Vec<(Covered, String)> {
        let length = |one: &Interval| i128::from(one.until.get()) - i128::from(one.since.get());
        let all: i128 = self.intervals.iter().map(length).sum();
        let share = |covered: &Covered| {
            let some = self.intervals.iter().filter(|one| one.covered == *covered);
            let permille = match some.map(length).sum::<i128>() {
                0 => return None,
                some if some == all => return Some((*covered, "100".to_owned())),
                some => (some * 1000 / all).max(1),
            };
            Some((*covered, format!("{}.{}", permille / 10, permille % 10)))
        };
        Covered::ALL.iter().filter_map(share).collect()
    }

    /// The name for people.
    pub(crate) fn name(&self) -> String {
        self.scope.as_ref().map_or_else(|| "no region".to_owned(), Scope::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Directory, Options, Reconciled, Store};

    const HOUR: i64 = 3_600_000;

    fn uptime(from: i64, to: i64) -> Uptime {
        Uptime {
            started_at: Millis::saturating(from),
            last_seen_at: Millis::saturating(to),
            has_receiver: true,
            has_journal: false,
            is_clock_set: false,
        }
    }

    fn shown(intervals: &[Interval]) -> String {
        let one = |one: &Interval| {
            let (since, until) = (one.since.get(), one.until.get());
            format!("{since}-{until} {}", one.covered)
        };
        intervals.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn check_uptimes(uptimes: &[Uptime], expected: &str) {
        assert_eq!(shown(&of_uptimes(uptimes, (0, 100)).intervals()), expected);
    }

    #[test]
    fn a_receiver_that_did_not_run_was_down_from_its_last_sign_of_life() {
        check_uptimes(&[], "0-100 unknown");
        check_uptimes(
            &[uptime(10, 30), uptime(40, 60)],
            "0-10 unknown, 10-30 received, 30-40 down, 40-60 received, 60-100 down",
        );
        let set = |uptime| Uptime { is_clock_set: true, ..uptime };
        // The clock was set back: 40 to 50 came twice.
        check_uptimes(
            &[uptime(10, 50), set(uptime(40, 90))],
            "0-10 unknown, 10-90 received, 90-100 down",
        );
        // It ran ahead for a while.
        check_uptimes(
            &[uptime(10, 20), set(uptime(70, 80)), set(uptime(22, 30))],
            "0-10 unknown, 10-20 received, 20-22 unknown, 22-30 received, 30-70 down, \
             70-80 received, 80-100 down",
        );
        check_uptimes(&[uptime(-9, 200)], "0-100 received");
    }

    #[test]
    fn other_receivers_may_run_while_a_journal_is_read() {
        let journal = |uptime| Uptime { has_journal: true, ..uptime };
        let none = |uptime| Uptime { has_receiver: false, ..uptime };
        check_uptimes(
            &[uptime(10, 20), uptime(30, 40), journal(none(uptime(50, 60))), uptime(80, 100)],
            "0-10 unknown, 10-20 received, 20-30 down, 30-40 received, 40-80 unknown, \
             80-100 received",
        );
        check_uptimes(&[none(uptime(10, 20))], "0-10 unknown, 10-100 down");
    }

    #[test]
    fn the_end_is_the_last_sign_of_life() {
        let all = TimeRange::default();
        let check = |range, uptimes: &[Uptime], expected| {
            assert_eq!(ends(range, uptimes, &[], 10 * HOUR), expected);
        };
        check(all, &[], None);
        check(all, &[uptime(5, 10 * HOUR - 9)], Some((5, 10 * HOUR - 9)));
        check(all, &[uptime(5, 9 * HOUR)], Some((5, 10 * HOUR)));
        // The clock was set back after the last sign.
        check(all, &[uptime(5, 11 * HOUR)], Some((5, 10 * HOUR)));
        let range = TimeRange { since: Some(7), until: Some(8) };
        check(range, &[], Some((7, 8)));
        check(TimeRange { since: Some(11 * HOUR), until: None }, &[], None);
    }

    #[test]
    fn a_share_is_rounded_down_but_not_to_nothing() {
        let check = |until: i64, expected: &[&str]| {
            let mut times = Times::new(0, 10_000);
            times.paint(0, until, (Covered::Complete, None));
            let coverage = Coverage { scope: None, intervals: times.intervals() };
            let shares: Vec<_> = coverage.shares().into_iter().map(|(_, share)| share).collect();
            assert_eq!(shares, expected);
        };
        check(10_000, &["100"]);
        check(9_999, &["99.9", "0.1"]);
        check(1, &["0.1", "99.9"]);
        check(3_333, &["33.3", "66.6"]);
    }

    #[test]
    fn what_is_painted_last_counts() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let (mut times, mut expected) = (Times::new(0, 50), [Covered::Unknown; 50]);
            for _ in 0..random.usize(0..12) {
                let (since, length) = (random.i64(-5..55), random.i64(0..30));
                let covered = Covered::ALL[random.usize(0..Covered::ALL.len())];
                times.paint(since, since + length, (covered, None));
                for at in since.max(0)..(since + length).min(50) {
                    expected[usize::try_from(at).unwrap()] = covered;
                }
            }
            let intervals = times.intervals();
            let each = intervals
                .iter()
                .flat_map(|one| (one.since.get()..one.until.get()).map(|_| one.covered));
            assert_eq!(each.collect::<Vec<_>>(), expected);
            assert!(intervals.windows(2).all(|two| two[0].covered != two[1].covered));
        }
    }

    /// A store with a comparison of the first hour of 1970 and of the second.
    fn store() -> (tempfile::TempDir, Directory, Store) {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        (home, directory, store)
    }

    fn reconciled(region: &str, hour: i64, missing: u64, fetched: u64) -> Reconciled {
        Reconciled {
            scope: Scope { region: region.into(), portal: None },
            since: hour * HOUR,
            until: (hour + 1) * HOUR,
            compared: 9,
            missing,
            fetched,
        }
    }

    fn states(report: &CoverageReport) -> Vec<String> {
        let one = |one: &Coverage| {
            let states = one.intervals.iter().map(|interval| {
                let hours = (interval.until.get() - interval.since.get()) / HOUR;
                format!("{hours} {} {:?}", interval.covered, interval.leaves)
            });
            format!("{}: {}", one.name(), states.collect::<Vec<_>>().join(", "))
        };
        report.coverages.iter().map(one).collect()
    }

    #[test]
    fn the_last_comparison_of_a_time_counts_for_its_region() {
        let (_home, directory, store) = store();
        let reader = Reader::open(&directory).unwrap();
        let range = TimeRange { since: Some(0), until: Some(4 * HOUR) };
        let read = |region: Option<&str>| {
            CoverageReport::read(&reader, range, region.map(str::to_owned)).unwrap()
        };
        assert_eq!(states(&read(None)), ["no region: 4 unknown []"]);
        for (region, hour, missing, fetched) in
            [("eu", 0, 0, 0), ("eu", 1, 2, 1), ("us", 3, 0, 0), ("eu", 2, 3, 3)]
        {
            store.record_reconciled(&reconciled(region, hour, missing, fetched)).unwrap();
        }
        let portal = Scope { region: "eu".into(), portal: Some("7".into()) };
        store.record_reconciled(&Reconciled { scope: portal, ..reconciled("", 0, 1, 1) }).unwrap();
        let expected = [
            "au: 4 unknown []",
            "eu: 1 complete [1], 1 incomplete [2], 1 complete [4], 1 unknown []",
            "eu/7: 1 replayed [5], 3 unknown []",
            "us: 3 unknown [], 1 complete [3]",
        ];
        assert_eq!(states(&read(Some("au"))), expected);
        // The files of the log have the leaves now.
        store.write_tiles().unwrap();
        store.record_reconciled(&reconciled("eu", 1, 0, 0)).unwrap();
        let report = read(None);
        assert_eq!(states(&report)[0], "eu: 3 complete [1, 6, 4], 1 unknown []");
        let shares = [(Covered::Complete, "75.0".into()), (Covered::Unknown, "25.0".into())];
        assert_eq!(report.coverages[0].shares(), shares);
        assert_eq!(report.unconfirmed, [0; 0]);
    }
}
