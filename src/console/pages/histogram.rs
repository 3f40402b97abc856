//! The histogram: entries over time as bars, stacked by verdict, and as a table. Each bar links to
//! its range.

use std::collections::BTreeMap;

use super::link::{Link, Selection};
use super::text::{Badge, TimeTag, VERDICTS, count, duration};
use crate::entry::Millis;
use crate::store::{Counts, TimeRange};

/// The height of the image in SVG units.
const HEIGHT: f64 = 100.0;

/// The distance from bar to bar in SVG units, and the gap that it includes.
const STEP: usize = 10;
const GAP: usize = 1;

#[derive(Debug)]
pub(super) struct Histogram {
    /// The width of the image in SVG units.
    pub(super) width: usize,
    /// Oldest first.
    pub(super) bars: Vec<Bar>,
    /// The start of the first bar.
    pub(super) from: TimeTag,
    /// The end of the last bar.
    pub(super) to: TimeTag,
    /// The length of time of a bar.
    pub(super) step: String,
    /// The number of entries of the highest bar.
    pub(super) highest: String,
    /// The verdicts that occur, for the legend and the table.
    pub(super) verdicts: Vec<Badge>,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) width: usize,
    /// From the bottom up.
    pub(super) parts: Vec<Part>,
    pub(super) start: TimeTag,
    /// The entries of the bar.
    pub(super) link: Link,
    pub(super) entries: String,
    /// The number of entries with each verdict of the legend.
    pub(super) numbers: Vec<String>,
}

/// The part of a bar for one verdict.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) verdict: &'static str,
    /// The upper edge.
    pub(super) y: String,
    pub(super) height: String,
}

impl Histogram {
    /// The histogram of `counts`, the counts of `selection` in `range`. `None` if there is neither
    /// a range nor an entry.
    pub(super) fn new(
        counts: &Counts,
        selection: &Selection,
        range: TimeRange,
    ) -> Option<Histogram> {
        let sum = |verdicts: &BTreeMap<String, u64>| verdicts.values().sum::<u64>();
        let highest = counts.buckets.iter().map(|(_, verdicts)| sum(verdicts)).max()?;
        let (first, last) = (counts.buckets.first()?.0, counts.buckets.last()?.0);
        let there = |name: &str| counts.buckets.iter().any(|(_, one)| one.contains_key(name));
        let verdicts: Vec<_> =
            VERDICTS.into_iter().map(|(name, _)| name).filter(|name| there(name)).collect();
        let bar = |(at, (start, found)): (usize, &(i64, BTreeMap<String, u64>))| {
            let end = Millis::saturating(start.saturating_add(counts.width));
            // The range may cut off a part of the first and the last bar.
            let (since, until) = (range.since.unwrap_or(i64::MIN), range.until.unwrap_or(i64::MAX));
            let (from, to) = ((*start).max(since), end.get().min(until));
            let (from, to) = (Millis::saturating(from), Millis::saturating(to));
            let start = Millis::saturating(*start);
            let numbers: Vec<u64> =
                verdicts.iter().map(|name| found.get(*name).copied().unwrap_or(0)).collect();
            let entries = count(sum(found));
            Bar {
                x: at * STEP,
                width: STEP - GAP,
                parts: parts(&verdicts, &numbers, highest),
                start: TimeTag(start),
                link: selection.between(&from.to_string(), &to.to_string()).link("/", ("", "")),
                entries,
                numbers: numbers.into_iter().map(count).collect(),
            }
        };
        Some(Histogram {
            width: counts.buckets.len() * STEP,
            bars: counts.buckets.iter().enumerate().map(bar).collect(),
            from: TimeTag(Millis::saturating(first)),
            to: TimeTag(Millis::saturating(last.saturating_add(counts.width))),
            step: duration(counts.width),
            highest: count(highest),
            verdicts: verdicts.into_iter().map(Badge::of).collect(),
        })
    }
}

/// The parts of a bar. The highest bar fills the image.
fn parts(verdicts: &[&'static str], numbers: &[u64], highest: u64) -> Vec<Part> {
    let mut top = HEIGHT;
    let mut parts = Vec::new();
    for (verdict, number) in verdicts.iter().zip(numbers).filter(|(_, number)| **number > 0) {
        // Even a single entry among many is visible.
        let height = (*number as f64 / highest as f64 * HEIGHT).max(2.0).min(top);
        top -= height;
        parts.push(Part { verdict, y: format!("{top:.2}"), height: format!("{height:.2}") });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(buckets: &[(i64, &[(&str, u64)])]) -> Counts {
        let named = |(name, number): &(&str, u64)| ((*name).to_owned(), *number);
        let bucket = |(start, verdicts): &(i64, &[(&str, u64)])| {
            (*start, verdicts.iter().map(named).collect())
        };
        let buckets = buckets.iter().map(bucket).collect();
        Counts { width: 60_000, buckets, ..Counts::default() }
    }

    #[test]
    fn bars_are_stacked_and_lead_to_their_entries() {
        let counts = counts(&[(0, &[("invalid", 1), ("valid", 3)]), (60_000, &[])]);
        let selection = Selection { query: "x".into(), ..Selection::default() };
        let histogram = Histogram::new(&counts, &selection, TimeRange::default()).unwrap();
        let bar = &histogram.bars[0];
        let parts: Vec<_> = bar.parts.iter().map(|part| (part.verdict, part.y.as_str())).collect();
        assert_eq!(parts, [("valid", "25.00"), ("invalid", "0.00")]);
        assert_eq!(bar.numbers, ["3", "1"]);
        assert_eq!(
            bar.link.to_string(),
            "/?q=x&since=1970-01-01T00%3A00%3A00.000Z&until=1970-01-01T00%3A01%3A00.000Z"
        );
        assert!(histogram.bars[1].parts.is_empty());
        assert_eq!(histogram.width, 2 * STEP);
        assert!(Histogram::new(&Counts::default(), &selection, TimeRange::default()).is_none());
    }

    #[test]
    fn a_range_without_entries_has_its_bars_and_links_stay_within_it() {
        let counts = counts(&[(0, &[]), (60_000, &[])]);
        let range = TimeRange { since: Some(30_000), until: Some(90_000) };
        let histogram = Histogram::new(&counts, &Selection::default(), range).unwrap();
        let links: Vec<_> = histogram.bars.iter().map(|bar| bar.link.to_string()).collect();
        assert!(links[0].contains("since=1970-01-01T00%3A00%3A30"), "{links:?}");
        assert!(links[1].contains("until=1970-01-01T00%3A01%3A30"), "{links:?}");
        assert!(histogram.bars.iter().all(|bar| bar.parts.is_empty()));
    }
}
