//! The histogram: entries over time as bars, stacked by verdict or another property, and as a table.
//! Each bar links to its range. A strip below has the bars with entries that are not valid. The page
//! of entries has one, and the overview has three.

use std::collections::BTreeMap;

use super::link::Link;
use super::text::{SafeText, TimeTag, VERDICTS, count, duration};
use crate::entry::Millis;
use crate::store::{Counts, TimeRange};

/// The height of the image in SVG units.
const HEIGHT: f64 = 100.0;

/// The distance from bar to bar in SVG units, and the gap that it includes.
const STEP: usize = 10;
const GAP: usize = 1;

/// The number of ticks below the bars, at most.
const TICKS: i64 = 8;

/// The distances between ticks that people read easily, in milliseconds.
const TICK_STEPS: [i64; 16] = [
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    7_200_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    2_419_200_000,
    4_838_400_000,
    9_676_800_000,
    38_707_200_000,
];

const DAY: i64 = 86_400_000;

/// The classes of values that have no colour of their own.
pub(super) const COLOURS: [&str; 6] =
    ["colour-0", "colour-1", "colour-2", "colour-3", "colour-4", "colour-5"];

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
    /// The values that occur, for the legend and the table.
    pub(super) series: Vec<Series>,
    pub(super) ticks: Vec<Tick>,
    /// Whether a bar has entries that are not valid.
    pub(super) has_strip: bool,
}

/// A value that the bars are stacked by.
#[derive(Clone, Debug)]
pub(super) struct Series {
    key: String,
    pub(super) name: SafeText,
    pub(super) class: &'static str,
    pub(super) entries: String,
}

/// A mark on the axis.
#[derive(Debug)]
pub(super) struct Tick {
    /// In percent of the width.
    pub(super) x: String,
    pub(super) at: Millis,
    pub(super) label: String,
    /// Whether the ticks are whole days apart.
    pub(super) days: bool,
}

#[derive(Debug)]
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) width: usize,
    /// From the bottom up.
    pub(super) parts: Vec<BarPart>,
    pub(super) start: TimeTag,
    /// The entries of the bar.
    pub(super) link: Link,
    pub(super) entries: String,
    /// The number of entries of each series.
    pub(super) numbers: Vec<String>,
    pub(super) not_valid: u64,
}

/// The part of a bar for one series.
#[derive(Debug)]
pub(super) struct BarPart {
    pub(super) class: &'static str,
    /// The upper edge.
    pub(super) y: String,
    pub(super) height: String,
}

/// A bucket of [`Counts`]: its start, and the number of entries with each value.
type Bucket = (i64, BTreeMap<String, u64>);

impl Histogram {
    /// The histogram of `counts`, which are those of `range`. `link` leads to the entries between two
    /// times. `None` if there is neither a range nor an entry.
    pub(super) fn new(
        counts: &Counts,
        range: TimeRange,
        link: impl Fn(&str, &str) -> Link,
    ) -> Option<Histogram> {
        let sum = |found: &BTreeMap<String, u64>| found.values().sum::<u64>();
        let highest = counts.buckets.iter().map(|(_, found)| sum(found)).max()?;
        let (first, last) = (counts.buckets.first()?.0, counts.buckets.last()?.0);
        let end = last.saturating_add(counts.width);
        let series = series(&counts.buckets);
        let bar = |(at, (start, found)): (usize, &Bucket)| {
            let end = Millis::saturating(start.saturating_add(counts.width));
            // The range may cut off a part of the first and the last bar.
            let (since, until) = (range.since.unwrap_or(i64::MIN), range.until.unwrap_or(i64::MAX));
            let (from, to) = ((*start).max(since), end.get().min(until));
            let (from, to) = (Millis::saturating(from), Millis::saturating(to));
            let numbers: Vec<u64> =
                series.iter().map(|one| found.get(&one.key).copied().unwrap_or(0)).collect();
            Bar {
                x: at * STEP,
                width: STEP - GAP,
                parts: parts(&series, &numbers, highest),
                start: TimeTag(Millis::saturating(*start)),
                link: link(&from.to_string(), &to.to_string()),
                entries: count(sum(found)),
                numbers: numbers.into_iter().map(count).collect(),
                not_valid: counts.not_valid.get(at).copied().unwrap_or(0),
            }
        };
        let bars: Vec<_> = counts.buckets.iter().enumerate().map(bar).collect();
        Some(Histogram {
            width: counts.buckets.len() * STEP,
            has_strip: bars.iter().any(|bar| bar.not_valid > 0),
            bars,
            from: TimeTag(Millis::saturating(first)),
            to: TimeTag(Millis::saturating(end)),
            step: duration(counts.width),
            highest: count(highest),
            ticks: ticks(first, end),
            series,
        })
    }
}

/// The values that occur. Verdicts have their own order and colours, and other values stand in the
/// order of their names.
fn series(buckets: &[Bucket]) -> Vec<Series> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for (value, entries) in buckets.iter().flat_map(|(_, found)| found) {
        *totals.entry(value).or_default() += entries;
    }
    let one = |key: &str, class, entries| Series {
        key: key.to_owned(),
        name: SafeText::truncated(key, 40),
        class,
        entries: count(entries),
    };
    let is_verdict = |name: &str| VERDICTS.iter().any(|(verdict, _)| *verdict == name);
    if totals.keys().all(|name| is_verdict(name)) {
        let verdicts = VERDICTS.iter();
        let found = verdicts.filter_map(|(name, _)| Some(one(name, name, *totals.get(name)?)));
        return found.collect();
    }
    let classes = COLOURS.iter().cycle();
    totals
        .into_iter()
        .zip(classes)
        .map(|((key, entries), class)| one(key, class, entries))
        .collect()
}

/// The parts of a bar. The highest bar fills the image.
fn parts(series: &[Series], numbers: &[u64], highest: u64) -> Vec<BarPart> {
    let mut top = HEIGHT;
    let mut parts = Vec::new();
    for (series, number) in series.iter().zip(numbers).filter(|(_, number)| **number > 0) {
        // Even a single entry among many is visible.
        let height = (*number as f64 / highest as f64 * HEIGHT).max(2.0).min(top);
        top -= height;
        let (y, height) = (format!("{top:.2}"), format!("{height:.2}"));
        parts.push(BarPart { class: series.class, y, height });
    }
    parts
}

/// The ticks between two times, at whole multiples of their distance.
pub(super) fn ticks(first: i64, end: i64) -> Vec<Tick> {
    let width = end.saturating_sub(first).max(1);
    let step = TICK_STEPS.into_iter().find(|step| width / step <= TICKS);
    let Some(step) = step else { return Vec::new() };
    let start = first.div_euclid(step).saturating_add(1).saturating_mul(step);
    let times = (0..TICKS + 1).map(|n| start.saturating_add(n.saturating_mul(step)));
    let tick = |at: i64| {
        let exact = Millis::saturating(at).to_string();
        let (date, clock) = exact.split_once('T').unwrap_or((&exact, ""));
        let label = if at.rem_euclid(DAY) == 0 { date.get(5..) } else { clock.get(..5) };
        Tick {
            x: format!("{:.2}", (at - first) as f64 / width as f64 * 100.0),
            at: Millis::saturating(at),
            label: label.unwrap_or_default().to_owned(),
            days: step >= DAY,
        }
    };
    // A label at the very end would be cut.
    times.filter(|at| *at < end - width / 40 && *at > first + width / 40).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::pages::link::Selection;

    fn counts(buckets: &[(i64, &[(&str, u64)])]) -> Counts {
        let named = |(name, number): &(&str, u64)| ((*name).to_owned(), *number);
        let bucket = |(start, verdicts): &(i64, &[(&str, u64)])| {
            (*start, verdicts.iter().map(named).collect())
        };
        let buckets = buckets.iter().map(bucket).collect();
        Counts { width: 60_000, buckets, ..Counts::default() }
    }

    fn drawn(counts: &Counts, range: TimeRange) -> Option<Histogram> {
        let query = || Selection { query: "x".into(), ..Selection::default() };
        Histogram::new(counts, range, |since, until| query().between(since, until).here())
    }

    #[test]
    fn bars_are_stacked_and_lead_to_their_entries() {
        let counts = counts(&[(0, &[("invalid", 1), ("valid", 3)]), (60_000, &[])]);
        let histogram = drawn(&counts, TimeRange::default()).unwrap();
        let bar = &histogram.bars[0];
        let parts: Vec<_> = bar.parts.iter().map(|part| (part.class, part.y.as_str())).collect();
        assert_eq!(parts, [("valid", "25.00"), ("invalid", "0.00")]);
        assert_eq!(bar.numbers, ["3", "1"]);
        assert_eq!(
            bar.link.to_string(),
            "/?q=x&since=1970-01-01T00%3A00%3A00.000Z&until=1970-01-01T00%3A01%3A00.000Z"
        );
        assert!(histogram.bars[1].parts.is_empty());
        assert_eq!(histogram.width, 2 * STEP);
        assert!(drawn(&Counts::default(), TimeRange::default()).is_none());
    }

    #[test]
    fn a_range_without_entries_has_its_bars_and_links_stay_within_it() {
        let counts = counts(&[(0, &[]), (60_000, &[])]);
        let range = TimeRange { since: Some(30_000), until: Some(90_000) };
        let histogram = drawn(&counts, range).unwrap();
        let links: Vec<_> = histogram.bars.iter().map(|bar| bar.link.to_string()).collect();
        assert!(links[0].contains("since=1970-01-01T00%3A00%3A30"), "{links:?}");
        assert!(links[1].contains("until=1970-01-01T00%3A01%3A30"), "{links:?}");
        assert!(histogram.bars.iter().all(|bar| bar.parts.is_empty()));
    }

    #[test]
    fn ticks_are_at_whole_times() {
        let ticks = |first, end| -> Vec<(String, String)> {
            ticks(first, end).into_iter().map(|tick| (tick.label, tick.x)).collect()
        };
        let hours = ticks(30 * 60_000, 6 * 3_600_000 + 30 * 60_000);
        assert_eq!(hours[0], ("01:00".to_owned(), "8.33".to_owned()));
        assert_eq!(hours.len(), 6);
        let days = ticks(DAY / 2, 8 * DAY);
        assert_eq!(days[0].0, "01-02");
        assert!(ticks(0, i64::MAX).is_empty());
    }

    #[test]
    fn other_values_have_colours_in_turn() {
        let counts = counts(&[(0, &[("2xx", 2), ("4xx", 1)])]);
        let histogram = drawn(&counts, TimeRange::default()).unwrap();
        let series: Vec<_> =
            histogram.series.iter().map(|one| (one.name.to_string(), one.class)).collect();
        assert_eq!(series, [("2xx".to_owned(), "colour-0"), ("4xx".to_owned(), "colour-1")]);
    }
}
