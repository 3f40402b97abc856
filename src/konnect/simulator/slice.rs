//! A page of a list that is ordered by numbers, and the cursors of the pages beside it.
//!
//! A cursor is the number of an item, and stays good when the item goes or others come.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where a page begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// At the start of the list.
    Start,
    /// After the item with this number.
    After(u64),
    /// Before the item with this number.
    Before(u64),
}

/// A page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice<T> {
    /// Its items.
    pub(super) items: Vec<T>,
    /// The last of them, if there are more after it.
    pub(super) next: Option<u64>,
    /// The first of them, if there are more before it.
    pub(super) previous: Option<u64>,
}

/// The page of at most `size` items at `position` of a list, of which `from` gives the items from a
/// number on, and `before` those before a number, the nearest first.
pub(super) fn slice<T, F, B>(
    position: Position,
    size: usize,
    from: impl Fn(u64) -> F,
    before: impl Fn(u64) -> B,
) -> Slice<T>
where
    F: Iterator<Item = (u64, T)>,
    B: Iterator<Item = (u64, T)>,
{
    let page: Vec<(u64, T)> = match position {
        Position::Start => from(0).take(size).collect(),
        Position::After(number) => from(number.saturating_add(1)).take(size).collect(),
        Position::Before(number) => {
            let mut page: Vec<_> = before(number).take(size).collect();
            page.reverse();
            page
        }
    };
    let last = page.last().map(|(number, _)| *number);
    let first = page.first().map(|(number, _)| *number);
    Slice {
        next: last.filter(|number| from(number.saturating_add(1)).next().is_some()),
        previous: first.filter(|number| before(*number).next().is_some()),
        items: page.into_iter().map(|(_, item)| item).collect(),
    }
}

/// A cursor as it is given out. Nobody is to look into it.
pub(super) fn cursor(number: u64) -> String {
    URL_SAFE_NO_PAD.encode(format!("{{\"after\":{number}}}"))
}

/// The number in a cursor; `None` if it is none that was given out.
pub(super) fn number(cursor: &str) -> Option<u64> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("{\"after\":")?.strip_suffix('}')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(position: Position, expected: (&[u64], Option<u64>, Option<u64>)) {
        // Numbers may be missing.
        const LIST: [u64; 6] = [1, 2, 5, 6, 8, 9];
        let from =
            |number| LIST.into_iter().filter(move |one| *one >= number).map(|one| (one, one));
        let before =
            |number| LIST.into_iter().rev().filter(move |one| *one < number).map(|one| (one, one));
        let (items, next, previous) = expected;
        let expected = Slice { items: items.to_vec(), next, previous };
        assert_eq!(slice(position, 2, from, before), expected, "{position:?}");
    }

    #[test]
    fn pages_and_those_beside_them() {
        check(Position::Start, (&[1, 2], Some(2), None));
        check(Position::After(2), (&[5, 6], Some(6), Some(5)));
        check(Position::After(3), (&[5, 6], Some(6), Some(5)));
        check(Position::After(6), (&[8, 9], None, Some(8)));
        check(Position::After(9), (&[], None, None));
        check(Position::Before(8), (&[5, 6], Some(6), Some(5)));
        check(Position::Before(5), (&[1, 2], Some(2), None));
        check(Position::Before(0), (&[], None, None));
    }

    #[test]
    fn cursors_are_read_again() {
        for one in [0, 7, u64::MAX] {
            assert_eq!(number(&cursor(one)), Some(one));
        }
        for bad in ["", "x", "ewogICJpZCI6ICJoZWxsbyB3b3JsZCIKfQ", "7"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
