//! What the leaves say that are not of entries: what was sealed, removed and lost, and which verdicts
//! changed. The memory grows with the number of these leaves.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::store::EntryState;
use crate::tlog::leaf::{Leaf, RetentionReason, Sha256};

/// What leaves say. A leaf may be added more than once.
#[derive(Default)]
pub(super) struct Said {
    pub(super) start: Option<Start>,
    /// The ids that retention removed, with the reason.
    removed: Vec<(RangeInclusive<u64>, RetentionReason)>,
    /// The ids that no entry has.
    gaps: Vec<RangeInclusive<u64>>,
    /// The leaves that lost their entries.
    lost: Vec<RangeInclusive<u64>>,
    /// The sealed files of each segment by its first id, each by its leaf.
    seals: BTreeMap<u64, BTreeMap<u64, Seal>>,
    /// The changes of each entry by their numbers.
    changes: HashMap<u64, BTreeMap<u64, Change>>,
}

/// The first leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The number of sealed segments that were there.
    pub(super) segments: u64,
    /// The last id that the store had.
    pub(super) last_id: u64,
    /// The hash of the list of these segments.
    pub(super) sha256: Sha256,
}

/// A sealed file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub(super) last_id: u64,
    pub(super) sha256: Sha256,
}

/// What an entry is after a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) leaf: u64,
    pub(super) state: EntryState,
    /// The entry that is shown instead of it; 0 if it is shown itself.
    pub(super) shown: u64,
}

/// Why the entry of a leaf is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    Removed(RetentionReason),
    Lost,
}

/// How far entries that are shown instead of one another are followed.
const CHAIN: usize = 1000;

impl Said {
    /// Adds what a leaf says. Returns what is wrong with it.
    pub(super) fn add(&mut self, index: u64, leaf: Leaf) -> Option<&'static str> {
        match leaf {
            Leaf::Start { segments, last_id, sha256 } if index == 0 => {
                self.start = Some(Start { segments, last_id, sha256 });
            }
            Leaf::Start { .. } => return Some("a start after the first leaf"),
            Leaf::Retention { first_id, last_id, reason, .. } => {
                self.removed.push((first_id..=last_id, reason));
            }
            Leaf::Gap { first_id, last_id } => self.gaps.push(first_id..=last_id),
            Leaf::Lost { first_leaf, last_leaf } => self.lost.push(first_leaf..=last_leaf),
            Leaf::Seal { first_id, last_id, sha256 } => {
                self.seals.entry(first_id).or_default().insert(index, Seal { last_id, sha256 });
            }
            Leaf::Verdict { id, change, verdict, key, shown, input } => {
                let state = EntryState { verdict, key, input: Some(input) };
                let of = self.changes.entry(id).or_default();
                of.insert(change, Change { leaf: index, state, shown });
            }
            Leaf::Entry(_) | Leaf::Backfill(_) | Leaf::Key { .. } | Leaf::Reconcile { .. } => {}
        }
        None
    }

    /// Prepares the ranges to be searched.
    pub(super) fn gone(&self) -> GoneRanges {
        let reasons = [RetentionReason::Retention, RetentionReason::Prune];
        let removed = reasons.map(|reason| {
            let ranges = self.removed.iter().filter(|(_, one)| *one == reason);
            (reason, Ranges::new(ranges.map(|(range, _)| range.clone())))
        });
        GoneRanges {
            removed,
            gaps: Ranges::new(self.gaps.iter().cloned()),
            lost: Ranges::new(self.lost.iter().cloned()),
        }
    }

    /// The sealed files of each segment, by its first id and then by the leaf.
    pub(super) fn seals(&self) -> &BTreeMap<u64, BTreeMap<u64, Seal>> {
        &self.seals
    }

    /// Each entry that has changed, with the number of its last change.
    pub(super) fn last_changes(&self) -> impl Iterator<Item = (u64, u64)> {
        let last = |(id, changes): (&u64, &BTreeMap<u64, _>)| {
            changes.last_key_value().map(|(number, _)| (*id, *number))
        };
        self.changes.iter().filter_map(last)
    }

    /// What an entry is after the change with this number, or after the last one before it.
    pub(super) fn change(&self, id: u64, number: u64) -> Option<(u64, &Change)> {
        let (number, change) = self.changes.get(&id)?.range(..=number).next_back()?;
        Some((*number, change))
    }

    /// Whether an entry ever was in this state.
    pub(super) fn was(&self, id: u64, state: &EntryState) -> bool {
        let changes = self.changes.get(&id);
        changes.is_some_and(|changes| changes.values().any(|change| change.state == *state))
    }

    /// Whether `shown` is the entry that is shown instead of the entry `hidden`, if this leaf says that
    /// it is `said`. That one may be hidden by now too.
    pub(super) fn is_shown(&self, said: u64, shown: u64) -> bool {
        let next = |id: &u64| {
            let (_, last) = self.changes.get(id)?.last_key_value()?;
            (last.shown != 0).then_some(last.shown)
        };
        std::iter::successors(Some(said), next).take(CHAIN).any(|id| id == shown)
    }
}

/// The ids and leaves of which the log says why they are not there.
pub(super) struct GoneRanges {
    removed: [(RetentionReason, Ranges); 2],
    gaps: Ranges,
    lost: Ranges,
}

impl GoneRanges {
    /// Why the entry `id` with this leaf is not there, and how many after it are gone for the same
    /// reason. `None` if the log does not say.
    pub(super) fn reason(&self, leaf: u64, id: u64) -> Option<(Gone, u64)> {
        for (reason, ranges) in &self.removed {
            if let Some(end) = ranges.end(id) {
                return Some((Gone::Removed(*reason), end - id));
            }
        }
        let lost = self.lost.end(leaf).map(|end| end - leaf);
        lost.or(self.gaps.end(id).map(|end| end - id)).map(|more| (Gone::Lost, more))
    }

    /// Whether the log says that all these ids were removed.
    pub(super) fn are_removed(&self, ids: &RangeInclusive<u64>) -> bool {
        self.removed.iter().any(|(_, ranges)| ranges.end(*ids.start()) >= Some(*ids.end()))
    }

    /// Whether the log says that no entry has any of these ids.
    pub(super) fn are_gaps(&self, ids: &RangeInclusive<u64>) -> bool {
        self.gaps.end(*ids.start()) >= Some(*ids.end())
    }
}

/// Ranges of numbers, in order and apart from one another.
struct Ranges(Vec<RangeInclusive<u64>>);

impl Ranges {
    fn new(ranges: impl Iterator<Item = RangeInclusive<u64>>) -> Ranges {
        let mut all: Vec<_> = ranges.collect();
        all.sort_unstable_by_key(|range| *range.start());
        let mut apart: Vec<RangeInclusive<u64>> = Vec::new();
        for range in all {
            match apart.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=(*last.end()).max(*range.end());
                }
                _ => apart.push(range),
            }
        }
        Ranges(apart)
    }

    /// The end of the range that has the number.
    fn end(&self, number: u64) -> Option<u64> {
        let after = self.0.partition_point(|range| *range.start() <= number);
        let range = after.checked_sub(1).and_then(|at| self.0.get(at))?;
        range.contains(&number).then_some(*range.end())
    }
}

/// Leaves and ids of entries that are not there. Both follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) leaf: u64,
    pub(super) id: u64,
    pub(super) count: u64,
}

impl Run {
    /// Splits the run by what the log says of its entries.
    pub(super) fn split(self, gone: &GoneRanges) -> Vec<(Run, Option<Gone>)> {
        let mut parts: Vec<(Run, Option<Gone>)> = Vec::new();
        let mut at = 0;
        while at < self.count {
            let (leaf, id) = (self.leaf + at, self.id + at);
            let (reason, more) =
                gone.reason(leaf, id).map_or((None, 0), |(one, more)| (Some(one), more));
            let count = more.saturating_add(1).min(self.count - at);
            match parts.last_mut() {
                Some((run, before)) if *before == reason => run.count += count,
                _ => parts.push((Run { leaf, id, count }, reason)),
            }
            at += count;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::VerdictName;

    fn verdict(id: u64, change: u64, shown: u64) -> Leaf {
        let (verdict, input) = (VerdictName::Unsigned, [0; 32]);
        Leaf::Verdict { id, change, verdict, key: None, shown, input }
    }

    fn said(leaves: impl IntoIterator<Item = Leaf>) -> Said {
        let mut said = Said::default();
        for (index, leaf) in (1..).zip(leaves) {
            assert_eq!(said.add(index, leaf), None);
        }
        said
    }

    #[test]
    fn what_the_log_explains_is_not_missing() {
        let check = |leaves: &[Leaf], expected: &[(u64, u64, Option<Gone>)]| {
            let gone = said(leaves.to_vec()).gone();
            let parts = Run { leaf: 11, id: 1, count: 5 }.split(&gone);
            let parts: Vec<_> =
                parts.iter().map(|(run, gone)| (run.id, run.count, *gone)).collect();
            assert_eq!(parts, expected, "{leaves:?}");
        };
        let retention =
            |first_id, last_id, reason| Leaf::Retention { first_id, last_id, reason, sha256: None };
        let (old, pruned) = (RetentionReason::Retention, RetentionReason::Prune);
        check(&[], &[(1, 5, None)]);
        let some = [retention(4, 8, old)];
        check(&some, &[(1, 3, None), (4, 2, Some(Gone::Removed(old)))]);
        let both = [retention(4, 5, old), retention(2, 3, pruned)];
        let expected =
            [(1, 1, None), (2, 2, Some(Gone::Removed(pruned))), (4, 2, Some(Gone::Removed(old)))];
        check(&both, &expected);
        let lost = [Leaf::Lost { first_leaf: 10, last_leaf: 13 }];
        check(&lost, &[(1, 3, Some(Gone::Lost)), (4, 2, None)]);
        let gap = [Leaf::Gap { first_id: 2, last_id: u64::MAX }];
        check(&gap, &[(1, 1, None), (2, 4, Some(Gone::Lost))]);
        check(&[retention(0, u64::MAX, old)], &[(1, 5, Some(Gone::Removed(old)))]);
        let gone = said(both).gone();
        let removed = [(2..=3, true), (4..=5, true), (2..=5, false), (5..=6, false)];
        for (ids, expected) in removed {
            assert_eq!(gone.are_removed(&ids), expected, "{ids:?}");
        }
    }

    #[test]
    fn an_entry_is_what_the_last_change_made_it() {
        let said = said([verdict(5, 3, 0), verdict(5, 9, 2), verdict(2, 4, 0), verdict(5, 3, 0)]);
        let number =
            |id, number| said.change(id, number).map(|(number, change)| (number, change.leaf));
        assert_eq!(
            [number(5, 2), number(5, 3), number(5, 8), number(5, 10), number(6, 9)],
            [None, Some((3, 4)), Some((3, 4)), Some((9, 2)), None]
        );
        let mut last: Vec<_> = said.last_changes().collect();
        last.sort_unstable();
        assert_eq!(last, [(2, 4), (5, 9)]);
        assert_eq!(
            Said::default().add(1, Leaf::Start { segments: 0, last_id: 0, sha256: [0; 32] }),
            Some("a start after the first leaf")
        );
    }

    #[test]
    fn hidden_entries_are_followed_and_not_for_ever() {
        let said = said([verdict(9, 1, 5), verdict(5, 2, 3), verdict(7, 3, 8), verdict(8, 4, 7)]);
        assert!(said.is_shown(5, 5) && said.is_shown(5, 3));
        assert!(!said.is_shown(3, 5) && !said.is_shown(5, 9));
        assert!(said.is_shown(7, 8) && !said.is_shown(7, 9));
    }
}
