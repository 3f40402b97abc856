//! Where deliveries stood in a journal, and how far a journal was read.
//!
//! A journal has epochs. An epoch has objects, numbered from 0. An object has deliveries, at positions
//! from 0. A store stores every position of an object before it goes on to the next number. It never
//! stores a position twice. This file reads no journal. docs/journal.md defines it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::entry::Millis;

/// Where a delivery stood in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The epoch.
    pub epoch: u64,
    /// The number of the object in the epoch.
    pub number: u64,
    /// The position in the object.
    pub position: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}, number {}, position {}", self.epoch, self.number, self.position)
    }
}

/// A set of positions, kept as ranges. Written as `0-17 19`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// The last position of each range, by its first. Ranges do not touch.
    ranges: BTreeMap<u32, u32>,
}

impl Positions {
    /// Adds a position.
    pub fn insert(&mut self, position: u32) {
        self.insert_range(position, position);
    }

    /// Whether a position is in the set.
    pub fn contains(&self, position: u32) -> bool {
        self.ranges.range(..=position).next_back().is_some_and(|(_, last)| position <= *last)
    }

    /// Whether the set has no position.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The number of positions.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// Adds all positions of another set.
    pub fn merge(&mut self, other: &Positions) {
        other.ranges.iter().for_each(|(first, last)| self.insert_range(*first, *last));
    }

    fn insert_range(&mut self, mut first: u32, mut last: u32) {
        // Those that overlap or touch become one.
        let end = last.saturating_add(1);
        while let Some((one, its_last)) =
            self.ranges.range(..=end).next_back().map(|(one, its_last)| (*one, *its_last))
            && its_last.saturating_add(1) >= first
        {
            self.ranges.remove(&one);
            (first, last) = (first.min(one), last.max(its_last));
        }
        self.ranges.insert(first, last);
    }
}

impl FromIterator<u32> for Positions {
    fn from_iter<T: IntoIterator<Item = u32>>(positions: T) -> Positions {
        let mut set = Positions::default();
        positions.into_iter().for_each(|position| set.insert(position));
        set
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            match first == last {
                true => write!(f, "{space}{first}")?,
                false => write!(f, "{space}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// A text that is no set of positions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of positions; expected a number, or two with a hyphen between them")]
pub struct BadPositions(String);

impl FromStr for Positions {
    type Err = BadPositions;

    fn from_str(text: &str) -> Result<Positions, BadPositions> {
        let mut set = Positions::default();
        for range in text.split_whitespace() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) if first <= last => set.insert_range(first, last),
                _ => return Err(BadPositions(range.to_owned())),
            }
        }
        Ok(set)
    }
}

/// How far an epoch was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochCursor {
    /// The epoch.
    pub epoch: u64,
    /// The highest number from which something is stored, in quarantine, dropped or skipped. Everything
    /// of the numbers below it is.
    pub number: u64,
    /// The positions of that number that are stored, in quarantine or dropped.
    pub positions: Positions,
    /// Whether that number was skipped as a whole.
    pub skipped: bool,
}

impl EpochCursor {
    /// A cursor at the beginning of the number.
    pub(in crate::store) fn at(epoch: u64, number: u64) -> EpochCursor {
        EpochCursor { epoch, number, positions: Positions::default(), skipped: false }
    }

    /// The cursor that is further; of two at the same number, one with the positions of both.
    pub(in crate::store) fn further(mut self, other: EpochCursor) -> EpochCursor {
        match self.number.cmp(&other.number) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => {
                self.positions.merge(&other.positions);
                self.skipped |= other.skipped;
                self
            }
        }
    }
}

/// The end of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: u64,
    /// The number of the seal. All deliveries have lower numbers.
    pub number: u64,
    /// When the store found it.
    pub found_at: Millis,
}

/// An object that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skip {
    /// The epoch.
    pub epoch: u64,
    /// The number of the object.
    pub number: u64,
    /// When it was skipped.
    pub skipped_at: Millis,
    /// Why.
    pub reason: String,
    /// The copy of the object that was kept. `None` if there was nothing to keep.
    pub file: Option<String>,
    /// The size of the object, in bytes.
    pub bytes: Option<u64>,
    /// The SHA-256 of the object, in hexadecimal.
    pub sha256: Option<String>,
}

/// What a store has read of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalState {
    /// How far each epoch was read, in order. An epoch without deliveries has none.
    pub cursors: Vec<EpochCursor>,
    /// The epochs that have ended, in order.
    pub ends: Vec<EpochEnd>,
    /// The objects that were skipped, in order.
    pub skips: Vec<Skip>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_kept_as_ranges() {
        #[track_caller]
        fn check(positions: &[u32], expected: &str) {
            let set: Positions = positions.iter().copied().collect();
            assert_eq!(set.to_string(), expected);
            assert_eq!(expected.parse(), Ok(set.clone()));
            let mut different = positions.to_vec();
            different.sort_unstable();
            different.dedup();
            assert_eq!(set.len(), different.len() as u64);
            for position in 0..30 {
                assert_eq!(set.contains(position), different.contains(&position), "{position}");
            }
        }
        check(&[], "");
        check(&[0, 1, 2], "0-2");
        check(&[2, 0, 1], "0-2");
        check(&[5, 5, 7], "5 7");
        check(&[5, 7, 6], "5-7");
        check(&[1, 3, 5, 2, 4], "1-5");
        check(&[u32::MAX, 0, u32::MAX - 1], "0 4294967294-4294967295");
    }

    #[test]
    fn sets_of_positions_are_merged() {
        let mut set: Positions = "0-3 10-12 20".parse().unwrap();
        set.merge(&"2-5 6 9 21-22".parse().unwrap());
        assert_eq!(set.to_string(), "0-6 9-12 20-22");
    }

    #[test]
    fn other_texts_are_no_positions() {
        for (text, named) in
            [("x", "x"), ("0-", "0-"), ("3-2", "3-2"), ("0 -1", "-1"), ("1-2-3", "1-2-3")]
        {
            assert_eq!(text.parse::<Positions>(), Err(BadPositions(named.to_owned())));
        }
    }

    #[test]
    fn the_further_of_two_cursors_counts() {
        let cursor = |number, positions: &str, skipped| EpochCursor {
            epoch: 1,
            number,
            positions: positions.parse().unwrap(),
            skipped,
        };
        let further = |one: &EpochCursor, other: &EpochCursor| one.clone().further(other.clone());
        let (low, high) = (cursor(1, "0-5", false), cursor(2, "0", false));
        assert_eq!(further(&low, &high), high);
        assert_eq!(further(&high, &low), high);
        let same = cursor(2, "3", true);
        assert_eq!(further(&high, &same), cursor(2, "0 3", true));
    }
}
