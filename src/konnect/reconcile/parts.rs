//! Cuts the list of pulled entries into parts that can be compared one by one, so that a list of any
//! length is compared in bounded memory.
//!
//! The list is in the order of the times, newest or oldest first. Entries that may be confused have
//! the same time, give or take the rounding to milliseconds. So a part ends where the times are
//! further apart.

use serde::{Deserialize, Serialize};

use super::Pulled;
use crate::entry::Millis;

/// The number of entries from which a part is cut.
const PART: usize = 20_000;

/// Entries whose times are no further apart are in one part, in milliseconds.
const NEAR: i64 = 2;

/// The maximum number of entries in a part.
const MAX_PART: usize = 1_000_000;

/// The end of a list that was read, as far as no part has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Parts {
    rest: Vec<Pulled>,
    /// The direction of the list, and the time at the end of the last part.
    cut: Option<(Direction, i64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Direction {
    NewestFirst,
    OldestFirst,
}

/// The list cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error(
        "the list of Konnect is not in the order of the times: use a shorter range with --since and \
         --until"
    )]
    Unordered,
    #[error(
        "Konnect lists more than {MAX_PART} entries that cannot be compared in parts: use a shorter \
         range with --since and --until"
    )]
    TooLong,
}

impl Direction {
    /// Whether `one` comes in the list before `other`, and is not near it.
    fn is_before(self, one: Millis, other: Millis) -> bool {
        let later = other.get().saturating_sub(one.get());
        match self {
            Direction::OldestFirst => later > NEAR,
            Direction::NewestFirst => later < -NEAR,
        }
    }
}

impl Parts {
    /// Adds a page, and returns a part if one is complete. `is_last` is whether the list ends here.
    pub(crate) fn add(
        &mut self,
        page: impl IntoIterator<Item = Pulled>,
        is_last: bool,
    ) -> Result<Vec<Pulled>, PartError> {
        self.rest.extend(page);
        if self.rest.len() > MAX_PART {
            return Err(PartError::TooLong);
        }
        if let Some((direction, cut)) = self.cut
            && self
                .rest
                .iter()
                .any(|one| !direction.is_before(Millis::saturating(cut), one.identity.at))
        {
            return Err(PartError::Unordered);
        }
        if is_last {
            return Ok(std::mem::take(&mut self.rest));
        }
        let Some(last) = self.rest.last().filter(|_| self.rest.len() >= PART) else {
            return Ok(Vec::new());
        };
        let last = last.identity.at;
        for direction in [Direction::NewestFirst, Direction::OldestFirst] {
            let is_before = |one: &&Pulled| direction.is_before(one.identity.at, last);
            let count = self.rest.iter().take_while(is_before).count();
            let (part, rest) = self.rest.split_at(count);
            // The least distance from the rest is what the next part must keep too.
            let end = match direction {
                Direction::NewestFirst => part.iter().map(|one| one.identity.at).min(),
                Direction::OldestFirst => part.iter().map(|one| one.identity.at).max(),
            };
            let Some(end) = end else { continue };
            if rest.iter().all(|one| direction.is_before(end, one.identity.at)) {
                self.cut = Some((direction, end.get()));
                let rest = self.rest.split_off(count);
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
        }
        // A list in no order is one part.
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use serde_json::json;

    use super::*;

    fn entry(at: i64, number: usize) -> Pulled {
        let time = Millis::saturating(1_747_426_194_000 + at).to_string();
        Pulled::read(&json!({"ts": time, "n": number}).to_string()).unwrap()
    }

    /// Adds the list page by page, and returns the parts.
    fn parts(list: &[Pulled], page: usize) -> Result<Vec<Vec<Pulled>>, PartError> {
        let (mut parts, mut found) = (Parts::default(), Vec::new());
        let pages: Vec<_> = list.chunks(page).collect();
        for (at, page) in pages.iter().enumerate() {
            let part = parts.add(page.to_vec(), at + 1 == pages.len())?;
            // The rest can be written down and read again.
            parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            found.extend(Some(part).filter(|part| !part.is_empty()));
        }
        Ok(found)
    }

    #[test]
    fn parts_have_every_entry_and_near_ones_together() {
        for (seed, newest_first) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
            let mut random = Rng::with_seed(seed);
            let mut at = 0;
            let mut list: Vec<_> = (0..3 * PART + 500)
                .map(|number| {
                    at += if random.f64() < 0.3 { random.i64(1..6) } else { 0 };
                    entry(at, number)
                })
                .collect();
            if newest_first {
                list.reverse();
            }
            let parts = parts(&list, 1000).unwrap();
            assert!(parts.len() >= 3, "{}", parts.len());
            assert_eq!(parts.concat(), list);
            for pair in parts.windows(2) {
                let (last, first) = (pair[0].last().unwrap(), pair[1].first().unwrap());
                let distance = (last.identity.at.get() - first.identity.at.get()).abs();
                assert!(distance > NEAR, "{distance}");
            }
        }
    }

    #[test]
    fn a_list_that_cannot_be_cut_is_one_part() {
        let same: Vec<_> = (0..2 * PART).map(|number| entry(7, number)).collect();
        assert_eq!(parts(&same, 1000).unwrap(), [same]);
        let mut random = Rng::with_seed(1);
        let shuffled: Vec<_> =
            (0..2 * PART).map(|number| entry(random.i64(0..1_000_000), number)).collect();
        assert_eq!(parts(&shuffled, 1000).unwrap(), [shuffled]);
    }

    #[test]
    fn a_list_that_turns_back_is_an_error() {
        let list: Vec<_> = (0..PART + 1000)
            .map(|number| entry(if number < PART + 500 { 10 * number as i64 } else { 5 }, number))
            .collect();
        assert_eq!(parts(&list, 1000), Err(PartError::Unordered));
    }
}
