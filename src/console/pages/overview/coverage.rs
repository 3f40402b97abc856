//! The coverage: a bar over time for each region and Dev Portal, its shares, and a table of intervals.

use crate::console::pages::histogram::{Tick, ticks};
use crate::console::pages::text::{SafeText, TimeTag, plural};
use crate::log::coverage::{Coverage, CoverageReport, Covered, Interval};

/// The number of columns of a bar, in SVG units.
const COLUMNS: i64 = 300;

/// The height of a bar in SVG units.
const HEIGHT: i64 = 10;

/// The maximum number of intervals in the table.
const MOST: usize = 200;

/// What each word means.
const MEANINGS: [(Covered, &str); 6] = [
    (Covered::Complete, "nothing that Konnect lists was missing, or a replay brought it"),
    (
        Covered::Replayed,
        "Konnect sent everything again; the entries of a Dev Portal cannot be listed",
    ),
    (Covered::Received, "there was a receiver; nothing was compared"),
    (Covered::Incomplete, "entries were missing, and no replay brought them"),
    (Covered::Down, "there was no receiver; nothing was compared"),
    (Covered::Unknown, "nothing is recorded"),
];

pub(in crate::console::pages) struct CoverageChart {
    /// Empty if nothing is recorded in the range.
    pub(in crate::console::pages) bars: Vec<CoverageBar>,
    pub(in crate::console::pages) ticks: Vec<Tick>,
    /// The words that occur, each with what it means.
    pub(in crate::console::pages) words: Vec<(Covered, &'static str)>,
    /// The newest first.
    pub(in crate::console::pages) intervals: Vec<IntervalRow>,
    /// What the table leaves out; may be empty.
    pub(in crate::console::pages) rest: String,
    /// What the log does not confirm.
    pub(in crate::console::pages) fault: Option<String>,
}

/// A region or a Dev Portal.
pub(in crate::console::pages) struct CoverageBar {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) pieces: Vec<BarPiece>,
    /// The words that occur, each with its share of the time in percent.
    pub(in crate::console::pages) shares: Vec<(Covered, String)>,
}

/// A part of a bar of which one thing is known.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::console::pages) struct BarPiece {
    pub(in crate::console::pages) x: i64,
    pub(in crate::console::pages) width: i64,
    /// The upper edge. The word can be told by the height too, and not by the colour alone.
    pub(in crate::console::pages) y: i64,
    pub(in crate::console::pages) height: i64,
    pub(in crate::console::pages) covered: Covered,
}

pub(in crate::console::pages) struct IntervalRow {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) since: TimeTag,
    pub(in crate::console::pages) until: TimeTag,
    pub(in crate::console::pages) covered: Covered,
}

impl CoverageChart {
    pub(super) fn new(report: &CoverageReport) -> CoverageChart {
        let each = || report.coverages.iter().flat_map(|one| &one.intervals);
        let words = MEANINGS.into_iter();
        let words: Vec<_> =
            words.filter(|(covered, _)| each().any(|one| one.covered == *covered)).collect();
        let first = each().map(|one| one.since.get()).min().unwrap_or(0);
        let last = each().map(|one| one.until.get()).max().unwrap_or(0);
        let mut intervals: Vec<_> = report.coverages.iter().flat_map(rows).collect();
        intervals.sort_by_key(|row| std::cmp::Reverse(row.until.0));
        let rest = match intervals.len().saturating_sub(MOST) {
            0 => String::new(),
            more => format!(
                "and {}: vidimus log coverage shows all",
                plural(more as u64, "older one", "older ones")
            ),
        };
        intervals.truncate(MOST);
        let bar = |one: &Coverage| CoverageBar {
            name: SafeText::truncated(&one.name(), 120),
            pieces: pieces(&one.intervals, (first, last)),
            shares: one.shares(),
        };
        let fault = |count: usize| {
            let comparisons = plural(count as u64, "comparison", "comparisons");
            format!("The log does not confirm {comparisons} of the catalog, which do not count.")
        };
        CoverageChart {
            bars: report.coverages.iter().map(bar).collect(),
            ticks: ticks(first, last),
            words,
            intervals,
            rest,
            fault: Some(report.unconfirmed.len()).filter(|count| *count > 0).map(fault),
        }
    }
}

fn rows(coverage: &Coverage) -> impl Iterator<Item = IntervalRow> {
    let row = |one: &Interval| IntervalRow {
        name: SafeText::truncated(&coverage.name(), 120),
        since: TimeTag(one.since),
        until: TimeTag(one.until),
        covered: one.covered,
    };
    coverage.intervals.iter().map(row)
}

/// The pieces of a bar. A column shows the worst that is known of its time, so that nothing short hides.
fn pieces(intervals: &[Interval], (first, last): (i64, i64)) -> Vec<BarPiece> {
    let span = i128::from(last.saturating_sub(first).max(1));
    let column = |at: i64| i128::from(at.saturating_sub(first)) * i128::from(COLUMNS);
    let mut columns = vec![None; COLUMNS as usize];
    for one in intervals {
        let from = usize::try_from(column(one.since.get()) / span).unwrap_or(0);
        let until = (column(one.until.get()) + span - 1) / span;
        let until = usize::try_from(until).unwrap_or(0).min(columns.len());
        for shown in columns.get_mut(from..until).into_iter().flatten() {
            *shown = (*shown).max(Some((badness(one.covered), one.covered)));
        }
    }
    let mut pieces: Vec<BarPiece> = Vec::new();
    for (x, shown) in (0..).zip(columns) {
        let Some((_, covered)) = shown else { continue };
        match pieces.last_mut().filter(|last| last.covered == covered) {
            Some(last) => last.width += 1,
            None => {
                let height = height(covered);
                pieces.push(BarPiece { x, width: 1, y: HEIGHT - height, height, covered });
            }
        }
    }
    pieces
}

/// The worse of two has the greater number.
fn badness(covered: Covered) -> u8 {
    match covered {
        Covered::Complete => 0,
        Covered::Replayed => 1,
        Covered::Received => 2,
        Covered::Unknown => 3,
        Covered::Down => 4,
        Covered::Incomplete => 5,
    }
}

fn height(covered: Covered) -> i64 {
    match covered {
        Covered::Complete | Covered::Incomplete => HEIGHT,
        Covered::Replayed => 8,
        Covered::Received => 5,
        Covered::Down => 2,
        Covered::Unknown => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::store::Scope;

    fn interval(since: i64, until: i64, covered: Covered) -> Interval {
        let at = Millis::saturating;
        Interval { since: at(since), until: at(until), covered, leaves: Vec::new() }
    }

    fn piece(x: i64, width: i64, height: i64, covered: Covered) -> BarPiece {
        BarPiece { x, width, y: HEIGHT - height, height, covered }
    }

    #[test]
    fn what_is_short_and_bad_is_seen() {
        let intervals = [
            interval(0, 1000, Covered::Complete),
            interval(1000, 1001, Covered::Down),
            interval(1001, 3000, Covered::Complete),
        ];
        let expected = [
            piece(0, 100, 10, Covered::Complete),
            piece(100, 1, 2, Covered::Down),
            piece(101, 199, 10, Covered::Complete),
        ];
        assert_eq!(pieces(&intervals, (0, 3000)), expected);
        // More intervals than columns.
        let many: Vec<_> = (0..3000)
            .map(|at| {
                let covered = if at % 10 == 0 { Covered::Incomplete } else { Covered::Received };
                interval(at, at + 1, covered)
            })
            .collect();
        assert_eq!(pieces(&many, (0, 3000)), [piece(0, 300, 10, Covered::Incomplete)]);
        assert_eq!(pieces(&[], (0, 0)), []);
    }

    #[test]
    fn the_table_has_the_newest_and_says_how_many_are_left_out() {
        let intervals = (0..300).map(|at| {
            let covered = if at % 2 == 0 { Covered::Down } else { Covered::Received };
            interval(at, at + 1, covered)
        });
        let scope = Some(Scope { region: "eu".into(), portal: None });
        let coverages = vec![Coverage { scope, intervals: intervals.collect() }];
        let report = CoverageReport { coverages, unconfirmed: vec![7] };
        let chart = CoverageChart::new(&report);
        assert_eq!((chart.intervals.len(), chart.intervals[0].until.0.get()), (MOST, 300));
        assert_eq!(chart.rest, "and 100 older ones: vidimus log coverage shows all");
        assert_eq!(chart.words.len(), 2);
        let shares = [(Covered::Received, "50.0".into()), (Covered::Down, "50.0".into())];
        assert_eq!(chart.bars[0].shares, shares);
        assert!(chart.fault.is_some_and(|fault| fault.contains("1 comparison of the catalog")));
        let empty = CoverageChart::new(&CoverageReport::default());
        assert!(empty.bars.is_empty() && empty.fault.is_none());
    }
}
