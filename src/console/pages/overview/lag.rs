//! The chart of how far the outputs are behind: a line for each.

use std::collections::BTreeMap;

use crate::console::lag::{Lag, behind};
use crate::console::pages::histogram::{COLOURS, Tick, ticks};
use crate::console::pages::text::{SafeText, ago, plural};
use crate::entry::Millis;
use crate::store::{OutputStanding, TimeRange};

/// The size of the image in SVG units. A line has at most one point in each unit of the width.
const WIDTH: i64 = 300;
const HEIGHT: f64 = 100.0;

/// The lag that fills the image if no output is further behind, in milliseconds.
const LEAST: i64 = 10_000;

pub(in crate::console::pages) struct LagChart {
    /// Empty if there are no samples in the range.
    pub(in crate::console::pages) lines: Vec<LagLine>,
    pub(in crate::console::pages) ticks: Vec<Tick>,
    /// The lag at the upper edge.
    pub(in crate::console::pages) top: String,
}

/// The lag of an output.
pub(in crate::console::pages) struct LagLine {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) class: &'static str,
    /// The points of the polyline.
    pub(in crate::console::pages) points: String,
    pub(in crate::console::pages) now: String,
    pub(in crate::console::pages) most: String,
}

impl LagChart {
    /// The chart of the configured outputs, from their samples in `range`. `None` without outputs.
    pub(super) fn new(
        samples: &BTreeMap<String, Vec<Lag>>,
        standings: &[OutputStanding],
        range: TimeRange,
        now: Millis,
    ) -> Option<LagChart> {
        let configured: Vec<_> = standings.iter().filter(|one| one.configured).collect();
        if configured.is_empty() {
            return None;
        }
        let since = range.since.unwrap_or(i64::MIN);
        let until = range.until.unwrap_or(i64::MAX).min(now.get().saturating_add(1));
        let shown = |standing: &OutputStanding| {
            let current = Lag { at: now.get(), behind: behind(standing, now) };
            let own = samples.get(&standing.name).into_iter().flatten();
            let own = own.copied().chain([current]);
            own.filter(|lag| (since..until).contains(&lag.at)).collect::<Vec<_>>()
        };
        let all: Vec<_> = configured.iter().map(|standing| shown(standing)).collect();
        let each = || all.iter().flatten();
        let (first, last) = (each().map(|lag| lag.at).min(), each().map(|lag| lag.at).max());
        let most = each().map(|lag| lag.behind).max().unwrap_or(0).max(LEAST);
        let (Some(first), Some(last)) = (first, last) else {
            return Some(LagChart { lines: Vec::new(), ticks: Vec::new(), top: String::new() });
        };
        let classes = COLOURS.iter().cycle();
        let line = |((standing, lags), class): ((&&OutputStanding, &Vec<Lag>), &&'static str)| {
            let entries = match standing.behind {
                0 => String::new(),
                number => format!(", {}", plural(number, "entry", "entries")),
            };
            LagLine {
                name: SafeText::truncated(&standing.name, 60),
                class,
                points: points(lags, (first, last), most),
                now: format!("{}{entries}", ago(behind(standing, now))),
                most: ago(lags.iter().map(|lag| lag.behind).max().unwrap_or(0)),
            }
        };
        Some(LagChart {
            lines: configured.iter().zip(&all).zip(classes).map(line).collect(),
            ticks: ticks(first, last),
            top: ago(most),
        })
    }
}

/// The points of a line between two times: the worst sample of each unit of the width.
fn points(lags: &[Lag], (first, last): (i64, i64), most: i64) -> String {
    let span = i128::from(last.saturating_sub(first).max(1));
    let mut columns: BTreeMap<i128, i64> = BTreeMap::new();
    for lag in lags {
        let x = i128::from(lag.at.saturating_sub(first)) * i128::from(WIDTH) / span;
        let column = columns.entry(x).or_default();
        *column = lag.behind.max(*column);
    }
    let y = |behind: i64| HEIGHT - behind as f64 / most as f64 * HEIGHT;
    let points = columns.into_iter().map(|(x, behind)| format!("{x},{:.1}", y(behind)));
    points.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::lag::standing;

    fn lags(of: &[(i64, i64)]) -> Vec<Lag> {
        of.iter().map(|(at, behind)| Lag { at: at * 1000, behind: behind * 1000 }).collect()
    }

    #[test]
    fn a_line_goes_from_the_first_sample_to_now() {
        let samples = BTreeMap::from([
            ("a".to_owned(), lags(&[(0, 0), (10, 20), (20, 5)])),
            ("past".to_owned(), lags(&[(0, 900)])),
        ]);
        let standings = [standing("a", Some(20_000)), standing("past", None)];
        let at = |range, now| {
            LagChart::new(&samples, &standings, range, Millis::saturating(now)).unwrap()
        };
        let chart = at(TimeRange::default(), 30_000);
        let [line] = &chart.lines[..] else { panic!("{}", chart.lines.len()) };
        assert_eq!(line.points, "0,100.0 100,0.0 200,75.0 300,50.0");
        assert_eq!((&*line.now, &*line.most, &*chart.top), ("10 s, 1,234 entries", "20 s", "20 s"));
        let chart = at(TimeRange { since: Some(15_000), until: Some(21_000) }, 30_000);
        assert_eq!((&*chart.lines[0].points, &*chart.top), ("0,50.0", "10 s"));
        // Nothing was sampled before the first sample.
        let chart = at(TimeRange { since: None, until: Some(0) }, 30_000);
        assert!(chart.lines.is_empty());
        assert!(LagChart::new(&samples, &[], TimeRange::default(), Millis::MIN).is_none());
    }

    #[test]
    fn many_samples_are_drawn_as_their_worst() {
        let many: Vec<_> = (0..8000).map(|n| (n, n % 100)).collect();
        let line = points(&lags(&many), (0, 8_000_000), 99_000);
        assert_eq!(line.split(' ').count(), 300);
        assert!(line.contains(",0.0 "), "{line}");
    }
}
