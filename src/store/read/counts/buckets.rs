//! A range of time in stretches of equal width.
//!
//! Widths are whole minutes, as the summaries are, and begin at multiples of themselves since the
//! epoch, so that a bucket is the same stretch whenever it is asked for.

use crate::entry::Millis;

pub(super) const MINUTE: i64 = 60_000;
pub(super) const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The widths that people read easily; beyond them doublings of the last.
const WIDTHS: [i64; 15] = [
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    28 * DAY,
];

/// Stretches of equal width over a range of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// When the first begins, in milliseconds since the epoch.
    pub first: i64,
    /// How wide each is, in milliseconds.
    pub width: i64,
    /// How many there are.
    pub count: usize,
}

impl Buckets {
    /// At most `most` buckets, of the least width of which so few cover `since` to `last`, both of
    /// which belong to it. At least one, whatever `most` is.
    pub fn over(since: i64, last: i64, most: usize) -> Buckets {
        Buckets::of_width(MINUTE, since, last, most)
    }

    /// The same, with a width of at least `least`.
    pub(super) fn of_width(least: i64, since: i64, last: i64, most: usize) -> Buckets {
        // No entry has another time.
        let (since, last) = (since.max(Millis::MIN.get()), last.min(Millis::MAX.get()));
        let most = i64::try_from(most.max(1)).unwrap_or(i64::MAX);
        let count = |width: i64| {
            last.div_euclid(width).saturating_sub(since.div_euclid(width)).saturating_add(1)
        };
        let doubled = std::iter::successors(Some(56 * DAY), |width| width.checked_mul(2));
        let mut widths = WIDTHS.into_iter().chain(doubled).filter(|width| *width >= least);
        let width = widths.find(|width| count(*width) <= most).unwrap_or(i64::MAX);
        Buckets {
            first: since.div_euclid(width).saturating_mul(width),
            width,
            count: usize::try_from(count(width)).unwrap_or(1),
        }
    }

    /// Which one `time` lies in.
    pub fn of(self, time: i64) -> Option<usize> {
        let at = usize::try_from(time.checked_sub(self.first)?.div_euclid(self.width)).ok()?;
        (at < self.count).then_some(at)
    }

    /// When each begins, in milliseconds since the epoch.
    pub fn starts(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |at| {
            self.first.saturating_add(self.width.saturating_mul(i64::try_from(at).unwrap_or(0)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(since: i64, last: i64, most: usize, first: i64, width: i64, count: usize) {
        let buckets = Buckets::over(since, last, most);
        assert_eq!(buckets, Buckets { first, width, count }, "{since} to {last}");
        assert_eq!(buckets.of(since), Some(0));
        assert_eq!(buckets.of(last), Some(count - 1));
        assert_eq!(buckets.of(first - 1), None);
        assert_eq!(buckets.starts().count(), count);
    }

    #[test]
    fn buckets_are_as_narrow_as_they_may_be() {
        check(0, 0, 60, 0, MINUTE, 1);
        check(59_999, 60_000, 60, 0, MINUTE, 2);
        check(0, HOUR - 1, 60, 0, MINUTE, 60);
        check(0, HOUR, 60, 0, 2 * MINUTE, 31);
        check(30_000, DAY, 60, 0, 30 * MINUTE, 49);
        check(0, Millis::MAX.get(), 60, 0, 56 * DAY * 1024, 52);
    }

    #[test]
    fn the_widest_range_has_buckets_too() {
        let all = Buckets::over(i64::MIN, i64::MAX, 60);
        assert!(all.count <= 60 && all.of(0) == Some(0));
    }
}
