//! That the pages of a list come to an end. Where the next page is says the API: one that names a
//! page that was there already, or page after page with nothing on it, is not followed for ever.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// The most pages of a list.
const MAX_PAGES: usize = 100_000;

/// The most pages in a row that have nothing on them.
const MAX_EMPTY: usize = 100;

/// The longest cursor, in bytes: it has to stand in a URL.
const MAX_CURSOR: usize = 8 << 10;

/// The pages of one list that were seen.
#[derive(Debug, Default)]
pub struct Pages {
    hasher: RandomState,
    /// A hash of each cursor.
    cursors: HashSet<u64>,
    empty: usize,
}

/// Why the next page is not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Endless {
    /// Its cursor was there before.
    #[error("the next page is one that was there before")]
    Circle,
    /// There is nothing on them.
    #[error("{MAX_EMPTY} pages in a row have nothing on them")]
    Empty,
    /// There are too many.
    #[error("there are more than {MAX_PAGES} pages")]
    Many,
    /// The cursor is too long.
    #[error("the next page has a cursor of {0} bytes, expected {MAX_CURSOR} at most")]
    Cursor(usize),
}

impl Pages {
    /// Notes the page at `at`, the first without a cursor, with so many `items` on it and `next`
    /// after it.
    ///
    /// # Errors
    /// When the next page is not worth asking for.
    pub fn note(
        &mut self,
        at: Option<&str>,
        items: usize,
        next: Option<&str>,
    ) -> Result<(), Endless> {
        self.empty = if items == 0 { self.empty + 1 } else { 0 };
        let Some(next) = next else { return Ok(()) };
        if next.len() > MAX_CURSOR {
            return Err(Endless::Cursor(next.len()));
        }
        self.cursors.extend(at.map(|at| self.hasher.hash_one(at)));
        if !self.cursors.insert(self.hasher.hash_one(next)) {
            return Err(Endless::Circle);
        }
        if self.empty >= MAX_EMPTY {
            return Err(Endless::Empty);
        }
        if self.cursors.len() >= MAX_PAGES { Err(Endless::Many) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows pages of so many items, of which each names the one after it.
    fn check<'a>(items: usize, cursors: impl Iterator<Item = &'a str>, expected: Option<Endless>) {
        let (mut pages, mut at) = (Pages::default(), None);
        let mut found = None;
        for next in cursors {
            found = pages.note(at, items, Some(next)).err();
            if found.is_some() {
                break;
            }
            at = Some(next);
        }
        assert_eq!(found, expected);
        if expected.is_none() {
            assert_eq!(pages.note(at, items, None), Ok(()));
        }
    }

    #[test]
    fn pages_come_to_an_end() {
        let numbers: Vec<_> = (0..MAX_PAGES + 1).map(|number| number.to_string()).collect();
        let numbers = || numbers.iter().map(String::as_str);
        check(1, numbers().take(1000), None);
        check(1, numbers(), Some(Endless::Many));
        check(0, numbers().take(MAX_EMPTY - 1), None);
        check(0, numbers(), Some(Endless::Empty));
        check(1, ["a", "a"].into_iter(), Some(Endless::Circle));
        check(1, ["a", "b", "c", "a"].into_iter(), Some(Endless::Circle));
        let long = "a".repeat(MAX_CURSOR + 1);
        check(1, [long.as_str()].into_iter(), Some(Endless::Cursor(MAX_CURSOR + 1)));
    }

    #[test]
    fn a_list_that_is_taken_up_in_the_middle_may_not_return_there() {
        let mut pages = Pages::default();
        assert_eq!(pages.note(Some("m"), 1, Some("n")), Ok(()));
        assert_eq!(pages.note(Some("n"), 1, Some("m")), Err(Endless::Circle));
    }
}
