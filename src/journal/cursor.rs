//! How far a store has read, and its comparison with a floor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::Version;
use super::error::JournalError;
use super::floor::Floor;

/// How far a store has read. Everything below is committed in the store, and archived if the store
/// has an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    version: Version,
    /// Every epoch below this number is read up to its seal.
    finished_below: u64,
    /// The other epochs of which something was read.
    epochs: BTreeMap<u64, EpochPosition>,
}

/// How far a store has read an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochPosition {
    /// Every object below this number is read.
    pub next: u64,
    /// Whether the object `next` is the seal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

impl Cursor {
    /// A cursor at these positions. Sealed epochs below the first open one are summed up.
    pub(crate) fn new(
        finished_below: u64,
        epochs: impl IntoIterator<Item = (u64, EpochPosition)>,
    ) -> Cursor {
        let epochs = epochs.into_iter().filter(|(epoch, _)| *epoch >= finished_below).collect();
        let mut cursor = Cursor { version: Version, finished_below, epochs };
        cursor.sum_up();
        cursor
    }

    /// Every epoch below this number is read up to its seal.
    pub(crate) fn finished_below(&self) -> u64 {
        self.finished_below
    }

    /// The other epochs of which something was read, in order.
    #[cfg(test)]
    pub(crate) fn epochs(&self) -> impl Iterator<Item = (u64, EpochPosition)> {
        self.epochs.iter().map(|(epoch, position)| (*epoch, *position))
    }

    /// How far an epoch was read; `None` if it is finished and summed up.
    pub(crate) fn position(&self, epoch: u64) -> Option<EpochPosition> {
        let known = || self.epochs.get(&epoch).copied().unwrap_or_default();
        (epoch >= self.finished_below).then(known)
    }

    /// Whether an epoch is read up to its seal.
    pub(crate) fn is_finished(&self, epoch: u64) -> bool {
        self.position(epoch).is_none_or(|position| position.sealed)
    }

    /// Notes that every object of an epoch below `next` is committed.
    pub(crate) fn read_below(&mut self, epoch: u64, next: u64) {
        // An epoch of which nothing is read has no position.
        if next > 0 && !self.is_finished(epoch) {
            let position = self.epochs.entry(epoch).or_default();
            position.next = position.next.max(next);
        }
    }

    /// Notes that everything below the seal of an epoch is committed. `number` is that of the seal.
    pub(crate) fn finish(&mut self, epoch: u64, number: u64) {
        if !self.is_finished(epoch) {
            self.epochs.insert(epoch, EpochPosition { next: number, sealed: true });
            self.sum_up();
        }
    }

    /// What both cursors have read.
    pub(crate) fn common(&self, other: &Cursor) -> Cursor {
        // Of an epoch that one of them lacks, and has not finished, it has read nothing.
        let keys = self.epochs.keys().chain(other.epochs.keys());
        let both = keys.map(|epoch| {
            let position = match (self.position(*epoch), other.position(*epoch)) {
                (Some(one), Some(another)) => EpochPosition {
                    next: one.next.min(another.next),
                    sealed: one.sealed && another.sealed,
                },
                (one, another) => one.or(another).unwrap_or_default(),
            };
            (*epoch, position)
        });
        let both = both.filter(|(_, position)| *position != EpochPosition::default());
        Cursor::new(self.finished_below.min(other.finished_below), both)
    }

    /// Checks that everything below a floor is read.
    ///
    /// # Errors
    /// [`JournalError::Behind`] names the first epoch that is not.
    pub(super) fn check(&self, floor: &Floor) -> Result<(), JournalError> {
        // `sum_up` has passed every finished epoch, so this one is not, and one look is enough.
        if self.finished_below < floor.finished_below {
            let epoch = self.finished_below;
            let next = self.position(epoch).unwrap_or_default().next;
            return Err(JournalError::Behind { epoch, next, floor: None });
        }
        for (&epoch, &floor) in &floor.epochs {
            match self.position(epoch) {
                Some(EpochPosition { next, .. }) if next < floor => {
                    return Err(JournalError::Behind { epoch, next, floor: Some(floor) });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sum_up(&mut self) {
        while let Some(first) = self.epochs.first_entry()
            && *first.key() == self.finished_below
            && first.get().sealed
            && self.finished_below < u64::MAX
        {
            first.remove();
            self.finished_below += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_epochs_are_summed_up_below_the_first_open_one() {
        let mut cursor = Cursor::default();
        cursor.read_below(0, 3);
        cursor.finish(1, 7);
        assert_eq!((cursor.finished_below(), cursor.epochs().count()), (0, 2));
        cursor.read_below(0, 2);
        assert_eq!(cursor.position(0), Some(EpochPosition { next: 3, sealed: false }));
        cursor.finish(0, 3);
        assert_eq!((cursor.finished_below(), cursor.epochs().count()), (2, 0));
        cursor.read_below(1, 9);
        assert_eq!(cursor.position(1), None);
        cursor.read_below(2, 0);
        assert_eq!(cursor, Cursor::new(2, []));
        assert!(cursor.is_finished(1) && !cursor.is_finished(2));
        let json = serde_json::to_string(&Cursor::new(2, [(1, EpochPosition::default())]));
        assert_eq!(json.unwrap(), r#"{"version":1,"finished_below":2,"epochs":{}}"#);
        let json = r#"{"version":1,"finished_below":2,"epochs":{"3":{"next":9,"sealed":true}}}"#;
        let read: Cursor = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn what_two_cursors_have_in_common_is_read_by_both() {
        let at = |next| EpochPosition { next, sealed: false };
        let end = |next| EpochPosition { next, sealed: true };
        let check = |one: &Cursor, other: &Cursor, expected: &Cursor| {
            assert_eq!(
                (one.common(other), other.common(one)),
                (expected.clone(), expected.clone())
            );
        };
        let one = Cursor::new(3, [(3, at(7)), (4, end(2)), (5, end(9)), (7, at(1))]);
        check(&one, &one, &one);
        check(&one, &Cursor::default(), &Cursor::default());
        let other = Cursor::new(1, [(1, at(2)), (3, at(9)), (4, at(1)), (5, end(9)), (6, at(3))]);
        check(&one, &other, &Cursor::new(1, [(1, at(2)), (3, at(7)), (4, at(1)), (5, end(9))]));
        // An end that is known to one alone is not read by both.
        check(&one, &Cursor::new(3, [(4, at(2))]), &Cursor::new(3, [(4, at(2))]));
        // Epochs that are summed up in one of them.
        check(&one, &Cursor::new(5, []), &Cursor::new(3, [(3, at(7)), (4, end(2))]));
        check(&Cursor::new(2, [(2, end(0)), (4, at(3))]), &Cursor::new(4, []), &Cursor::new(3, []));
    }

    #[test]
    fn a_cursor_is_behind_a_floor_or_not() {
        let check = |cursor: &Cursor, finished_below, epochs: &[(u64, u64)], behind: bool| {
            let floor = Floor::new(finished_below, epochs.iter().copied());
            assert_eq!(cursor.check(&floor).is_err(), behind, "{cursor:?} {floor:?}");
        };
        let mut cursor = Cursor::new(2, []);
        cursor.read_below(2, 5);
        cursor.finish(3, 4);
        check(&cursor, 0, &[], false);
        check(&cursor, 0, &[(1, 1000), (2, 5), (3, 4)], false);
        check(&cursor, 0, &[(2, 6)], true);
        // The seal that this store has seen was put where an object had been deleted.
        check(&cursor, 0, &[(3, 5)], true);
        check(&cursor, 0, &[(4, 1)], true);
        check(&cursor, 2, &[], false);
        check(&cursor, 3, &[], true);
        check(&cursor, u64::MAX, &[], true);
        check(&Cursor::default(), 0, &[(0, 1)], true);
        check(&Cursor::default(), 1, &[], true);
    }
}
