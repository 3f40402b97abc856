//! Guards against lists that do not end. The API names the next page. A page that was seen before,
//! and too many empty pages in a row, are errors.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::konnect::api::CursorPage;

/// The maximum number of pages of a list.
const MAX_PAGES: usize = 100_000;

/// The maximum number of empty pages in a row.
const MAX_EMPTY: usize = 100;

/// The maximum length of a cursor in bytes. It becomes part of a URL.
const MAX_CURSOR: usize = 8 << 10;

/// The pages of a list that were seen.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    hasher: RandomState,
    /// A hash of each cursor.
    cursors: HashSet<u64>,
    empty: usize,
}

/// The next page cannot be requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PagingError {
    #[error("the next page is one that was there before")]
    Circle,
    #[error("{MAX_EMPTY} pages in a row have nothing on them")]
    Empty,
    #[error("there are more than {MAX_PAGES} pages")]
    Many,
    #[error("there is a next page, and its URI has no page[after] that can be read")]
    NoCursor,
    #[error("the next page has a cursor of {0} bytes, expected {MAX_CURSOR} at most")]
    Cursor(usize),
}

impl Pages {
    /// Records the page at the cursor `at`, `None` for the first, with this number of `items`, and
    /// returns the cursor of the next page from `beside`; `None` after the last.
    pub(crate) fn note(
        &mut self,
        at: Option<&str>,
        items: usize,
        beside: &CursorPage,
    ) -> Result<Option<String>, PagingError> {
        self.empty = if items == 0 { self.empty + 1 } else { 0 };
        if beside.next.as_ref().is_none_or(String::is_empty) {
            return Ok(None);
        }
        // Treating this as the last page would truncate the list.
        let next = beside.after().ok_or(PagingError::NoCursor)?;
        if next.is_empty() {
            return Ok(None);
        }
        if next.len() > MAX_CURSOR {
            return Err(PagingError::Cursor(next.len()));
        }
        self.cursors.extend(at.map(|at| self.hasher.hash_one(at)));
        if !self.cursors.insert(self.hasher.hash_one(next.as_str())) {
            return Err(PagingError::Circle);
        }
        if self.empty >= MAX_EMPTY {
            return Err(PagingError::Empty);
        }
        if self.cursors.len() >= MAX_PAGES { Err(PagingError::Many) } else { Ok(Some(next)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(uri: &str) -> CursorPage {
        CursorPage { next: Some(uri.to_owned()), ..CursorPage::default() }
    }

    /// Follows pages of so many items, of which each names the one after it.
    fn check<'a>(
        items: usize,
        cursors: impl Iterator<Item = &'a str>,
        expected: Option<PagingError>,
    ) {
        let (mut pages, mut at) = (Pages::default(), None);
        let mut found = None;
        for next in cursors {
            match pages.note(at, items, &beside(&format!("/x?page[after]={next}"))) {
                Ok(cursor) => assert_eq!(cursor.as_deref(), Some(next)),
                Err(why) => {
                    found = Some(why);
                    break;
                }
            }
            at = Some(next);
        }
        assert_eq!(found, expected);
        if expected.is_none() {
            assert_eq!(pages.note(at, items, &CursorPage::default()), Ok(None));
        }
    }

    #[test]
    fn pages_come_to_an_end() {
        let numbers: Vec<_> = (0..MAX_PAGES + 1).map(|number| number.to_string()).collect();
        let numbers = || numbers.iter().map(String::as_str);
        check(1, numbers().take(1000), None);
        check(1, numbers(), Some(PagingError::Many));
        check(0, numbers().take(MAX_EMPTY - 1), None);
        check(0, numbers(), Some(PagingError::Empty));
        check(1, ["a", "a"].into_iter(), Some(PagingError::Circle));
        check(1, ["a", "b", "c", "a"].into_iter(), Some(PagingError::Circle));
        let long = "a".repeat(MAX_CURSOR + 1);
        check(1, [long.as_str()].into_iter(), Some(PagingError::Cursor(MAX_CURSOR + 1)));
    }

    #[test]
    fn a_next_page_that_cannot_be_told_is_no_end() {
        let note = |uri: &str| Pages::default().note(None, 1, &beside(uri));
        for uri in ["/x", "https://x", "/x?page[before]=a", "/x?page[after]=%G0"] {
            assert_eq!(note(uri), Err(PagingError::NoCursor), "{uri}");
        }
        for uri in ["", "/x?page[after]="] {
            assert_eq!(note(uri), Ok(None), "{uri}");
        }
    }

    #[test]
    fn a_list_that_is_taken_up_in_the_middle_may_not_return_there() {
        let mut pages = Pages::default();
        let next = pages.note(Some("m"), 1, &beside("/x?page[after]=n"));
        assert_eq!(next, Ok(Some("n".to_owned())));
        let back = pages.note(Some("n"), 1, &beside("/x?page[after]=m"));
        assert_eq!(back, Err(PagingError::Circle));
    }
}
