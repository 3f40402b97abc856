//! The entries: each must be as its leaf says, and as the leaves of its later changes say.

use std::sync::{Mutex, PoisonError};

use data_encoding::HEXLOWER;
use rayon::prelude::*;

use super::Steps;
use super::findings::{Difference, Findings, Kind};
use super::said::{Change, Said};
use super::tree::{Records, Tree};
use crate::entry::Millis;
use crate::store::{EntryState, Logged, LoggedEntry, Reader, Slice, StoreCheck, StoreError};
use crate::tlog::leaf::{EntryLeaf, Leaf};

/// How many entries were compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) entries: u64,
    /// Those that were stored before the log began.
    pub(crate) older: u64,
    /// Those that changed after they were stored, as the log says.
    pub(crate) changed: u64,
}

/// What entries are compared with.
pub(super) struct Entries<'a> {
    pub(super) reader: &'a Reader,
    pub(super) tree: &'a Tree<'a>,
    pub(super) comparison: Comparison<'a>,
    pub(super) compared: Mutex<Compared>,
}

/// What an entry is compared with besides its leaf.
#[derive(Clone, Copy)]
pub(super) struct Comparison<'a> {
    pub(super) said: &'a Said,
    pub(super) found: &'a Findings,
    /// The number of the last change that the catalog had when the check began. Of later ones the
    /// leaves may not be known.
    pub(super) last_change: u64,
}

impl Entries<'_> {
    /// Compares the entries of some slices, and verifies them.
    pub(super) fn check(&self, slices: &[Slice], store: &StoreCheck<'_>, steps: &Steps<'_>) {
        slices.par_iter().for_each(|slice| {
            store.entries(slice);
            self.slice(slice);
            steps.add(slice.count());
        });
        self.comparison.found.take_from(store);
    }

    fn slice(&self, slice: &Slice) {
        let Comparison { said, found, .. } = self.comparison;
        let entries = match self.reader.logged(slice) {
            // `None`: retention deleted it.
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                let difference = Difference::new(Kind::Store, error.to_string());
                return found.add(difference.id(*slice.ids.start()));
            }
        };
        let mut records = Records::new(self.tree);
        let mut compared = Compared::default();
        for LoggedEntry { id, logged } in &entries {
            let Some(logged) = logged else {
                let is_older = said.start.is_some_and(|start| *id <= start.last_id);
                compared.older += u64::from(is_older);
                if !is_older {
                    let what = "the entry has no leaf";
                    found.add(Difference::new(Kind::Added, what).id(*id));
                }
                continue;
            };
            compared.entries += 1;
            compared.changed += u64::from(said.change(*id, u64::MAX).is_some());
            let differs = |kind, what: String| {
                found.add(Difference::new(kind, what).leaf(logged.leaf).id(*id));
            };
            match self.record(&mut records, slice, logged.leaf) {
                Ok(Some(record)) => self.comparison.compare(*id, logged, &record),
                Ok(None) => differs(Kind::Added, "the log has no such leaf".to_owned()),
                Err(error) => differs(Kind::Tile, error.to_string()),
            }
        }
        let mut total = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        total.entries += compared.entries;
        total.older += compared.older;
        total.changed += compared.changed;
    }

    /// The record of a leaf of an entry in this slice. `None` if there is none.
    fn record(
        &self,
        records: &mut Records<'_>,
        slice: &Slice,
        leaf: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(record) = records.of(leaf)? {
            return Ok(Some(record.to_vec()));
        }
        if leaf < self.tree.tiles.size() {
            return Ok(None);
        }
        // It was committed, and the tiles do not have it yet, or have it since the check began.
        match self.reader.pending_record(slice.segment, leaf)? {
            None => {
                let tiles = self.reader.tiles()?;
                if leaf < tiles.readable()? { tiles.record(leaf).map(Some) } else { Ok(None) }
            }
            pending => Ok(pending),
        }
    }
}

impl Comparison<'_> {
    /// Compares an entry with the record of its leaf.
    fn compare(&self, id: u64, entry: &Logged, record: &[u8]) {
        let differs = |kind, what: &str| Difference::new(kind, what).leaf(entry.leaf).id(id);
        let add = |difference| self.found.add(difference);
        let (said, stored_at) = match Leaf::parse(record) {
            Ok((Leaf::Entry(said), stored_at)) => (said, Some(stored_at)),
            // It got its leaf after it was stored.
            Ok((Leaf::Backfill(said), _)) => (said, None),
            Ok((other, _)) => {
                let what = "its leaf is of another kind";
                return add(differs(Kind::Added, what).values(other, format!("entry {id}")));
            }
            // The check of the tree notes it.
            Err(_) => return,
        };
        if said.id != id {
            let what = format!("its leaf is of the entry {}", said.id);
            return add(differs(Kind::Added, &what));
        }
        let compare = |what: &str, found: String, expected: String| {
            if found != expected {
                add(differs(Kind::Entry, what).values(found, expected));
            }
        };
        let at = |at: Option<Millis>| at.map_or("no delivery".to_owned(), |at| at.to_string());
        compare("its time of receipt", at(Some(entry.received_at)), at(Some(said.received_at)));
        if stored_at.is_some() {
            compare("its time of storing", at(entry.stored_at), at(stored_at));
        }
        match entry.line {
            None => add(differs(Kind::Entry, "it has no salt")),
            Some(line) if line == said.line => {}
            Some(line) => {
                let what = "its line is not the one that its leaf commits to";
                add(differs(Kind::Entry, what).values(hex(&line), hex(&said.line)));
            }
        }
        if let Some(later) = &entry.later {
            let [found, expected] = [later.received_at, said.received_at].map(Some);
            compare("the time of receipt of its later version", at(found), at(expected));
            let [found, expected] = [later.delivery, entry.delivery].map(|one| one.to_string());
            compare("the delivery of its later version", found, expected);
        }
        self.state(id, entry, &said, stored_at.is_none());
    }

    /// Compares what an entry is with what the log says that it is now. `is_backfill` is whether its leaf says
    /// what it was when the log began, which may be newer than what its segment has.
    fn state(&self, id: u64, entry: &Logged, said: &EntryLeaf, is_backfill: bool) {
        // The next check compares it.
        if entry.change > self.last_change {
            return;
        }
        let add = |leaf: u64, what: &str, found: String, expected: String| {
            let difference = Difference::new(Kind::Entry, what).leaf(leaf).id(id);
            self.found.add(difference.values(found, expected));
        };
        let first = EntryState { verdict: said.verdict, key: said.key, input: Some(said.input) };
        let first = Change { leaf: entry.leaf, state: first, shown: 0 };
        let Change { leaf, state, shown } =
            *self.said.change(id, entry.change).map_or(&first, |(_, change)| change);
        let is_as_said = match entry.shown {
            0 => shown == 0,
            other => shown != 0 && self.said.is_shown(shown, other),
        };
        if !is_as_said {
            let what = "the entry that is shown instead of it";
            add(leaf, what, shown_instead(entry.shown), shown_instead(shown));
        }
        let compare = |what: &str, found: EntryState, expected: EntryState| {
            if (found.verdict, found.key) != (expected.verdict, expected.key) {
                add(leaf, what, verdict(found), verdict(expected));
            }
            if found.input.is_some() && found.input != expected.input {
                let what = "its input is not the one that its leaf commits to";
                let [found, expected] = [found, expected].map(|one| one.input.unwrap_or_default());
                add(leaf, what, hex(&found), hex(&expected));
            }
        };
        // A hidden entry is not shown, whatever its verdict would be.
        let hidden = entry.shown != 0;
        let is_known = self.said.was(id, &entry.stored) || entry.stored == first.state;
        let by_segment = !is_known && !is_backfill;
        match entry.later {
            Some(later) if !hidden => {
                compare("its verdict", later.state, state);
                if by_segment {
                    compare("the verdict that its segment has", entry.stored, first.state);
                }
            }
            None if !hidden => compare("its verdict", entry.stored, state),
            _ if by_segment => compare("the verdict that its segment has", entry.stored, state),
            _ => {}
        }
    }
}

fn hex(hash: &[u8; 32]) -> String {
    HEXLOWER.encode(hash)
}

fn shown_instead(id: u64) -> String {
    if id == 0 { "none".to_owned() } else { id.to_string() }
}

/// A verdict with the thumbprint of its key.
fn verdict(state: EntryState) -> String {
    match state.key {
        Some(key) => format!("{} (key {})", state.verdict, hex(&key)),
        None => state.verdict.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::VerdictName;
    use crate::store::LaterVersion;
    use crate::tlog::leaf::Sha256;

    const KEY: Sha256 = [7; 32];
    const VALID: EntryState =
        EntryState { verdict: VerdictName::Valid, key: Some(KEY), input: Some([2; 32]) };
    const NO_KEY: EntryState =
        EntryState { verdict: VerdictName::NoKey, key: None, input: Some([2; 32]) };

    fn leaf() -> Leaf {
        Leaf::Entry(EntryLeaf {
            id: 5,
            received_at: Millis::saturating(1),
            verdict: VerdictName::NoKey,
            line: [1; 32],
            input: [2; 32],
            key: None,
        })
    }

    fn entry() -> Logged {
        Logged {
            leaf: 9,
            received_at: Millis::saturating(1),
            stored_at: Some(Millis::saturating(2)),
            delivery: 3,
            line: Some([1; 32]),
            stored: NO_KEY,
            later: None,
            change: 0,
            shown: 0,
        }
    }

    fn verdict(id: u64, change: u64, state: EntryState, shown: u64) -> Leaf {
        let EntryState { verdict, key, input } = state;
        Leaf::Verdict { id, change, verdict, key, shown, input: input.unwrap() }
    }

    /// Changes the entry, and checks what differs from its leaf and from these leaves of changes.
    fn check(leaf: &Leaf, changes: &[Leaf], change: fn(&mut Logged), expected: &[(Kind, &str)]) {
        let (found, mut said) = (Findings::new(10), Said::default());
        for (index, leaf) in (20..).zip(changes) {
            assert_eq!(said.add(index, leaf.clone()), None);
        }
        let comparison = Comparison { said: &said, found: &found, last_change: 8 };
        let mut entry = entry();
        change(&mut entry);
        comparison.compare(5, &entry, &leaf.record(Millis::saturating(2)));
        let (count, listed) = found.take();
        assert_eq!(count, expected.len() as u64, "{listed:?}");
        for (kind, what) in expected {
            assert!(
                listed.iter().any(|one| one.kind == *kind
                    && one.id == Some(5)
                    && format!("{} {:?} {:?}", one.what, one.found, one.expected).contains(what)),
                "{what}: {listed:?}"
            );
        }
    }

    #[test]
    fn an_entry_is_as_its_leaf_says() {
        let check = |change: fn(&mut Logged), expected| check(&leaf(), &[], change, expected);
        check(|_| (), &[]);
        check(|one| one.received_at = Millis::MIN, &[(Kind::Entry, "its time of receipt")]);
        check(|one| one.stored_at = Some(Millis::MIN), &[(Kind::Entry, "its time of storing")]);
        check(|one| one.stored_at = None, &[(Kind::Entry, "no delivery")]);
        check(|one| one.line = Some([3; 32]), &[(Kind::Entry, "its line is not the one")]);
        check(|one| one.line = None, &[(Kind::Entry, "it has no salt")]);
        check(|one| one.stored = VALID, &[(Kind::Entry, "its verdict Some(\"valid (key 0707")]);
        check(|one| one.stored.input = Some([3; 32]), &[(Kind::Entry, "its input is not the one")]);
        // The catalog alone says so.
        check(is_valid, &[(Kind::Entry, "its verdict Some(\"valid")]);
        check(
            |one| one.shown = 4,
            &[(Kind::Entry, "shown instead of it Some(\"4\") Some(\"none\")")],
        );
    }

    /// The overlay has another version of it.
    fn is_valid(entry: &mut Logged) {
        let (received_at, delivery) = (entry.received_at, entry.delivery);
        entry.later = Some(LaterVersion { received_at, delivery, state: VALID });
        entry.change = 4;
    }

    #[test]
    fn an_entry_that_changed_is_as_the_leaf_of_its_change_says() {
        let changes = [verdict(5, 4, VALID, 0), verdict(5, 6, VALID, 2), verdict(2, 7, NO_KEY, 1)];
        let check = |change: fn(&mut Logged), expected| check(&leaf(), &changes, change, expected);
        check(is_valid, &[]);
        let back: fn(&mut Logged) = |one| {
            is_valid(one);
            one.later.as_mut().unwrap().received_at = Millis::MIN;
        };
        check(back, &[(Kind::Entry, "the time of receipt of its later version")]);
        let moved: fn(&mut Logged) = |one| {
            is_valid(one);
            one.delivery = 2;
        };
        check(moved, &[(Kind::Entry, "the delivery of its later version")]);
        let other: fn(&mut Logged) = |one| {
            is_valid(one);
            one.later.as_mut().unwrap().state.key = Some([8; 32]);
        };
        check(other, &[(Kind::Entry, "key 0808")]);
        // Its segment was rewritten with it, or was not.
        check(|one| (one.change, one.stored) = (4, VALID), &[]);
        check(|one| one.change = 4, &[(Kind::Entry, "its verdict Some(\"no_key\")")]);
        let unsigned: fn(&mut Logged) = |one| {
            is_valid(one);
            one.stored.verdict = VerdictName::Unsigned;
        };
        check(unsigned, &[(Kind::Entry, "the verdict that its segment has")]);
        // It is hidden, by an entry that was hidden later.
        check(|one| (one.change, one.shown) = (6, 2), &[]);
        check(|one| (one.change, one.shown) = (6, 1), &[]);
        check(|one| (one.change, one.shown) = (6, 3), &[(Kind::Entry, "Some(\"3\") Some(\"2\")")]);
        check(|one| (one.change, one.stored) = (6, VALID), &[(Kind::Entry, "shown instead")]);
        // It changed since the check began.
        check(|one| one.change = 9, &[]);
    }

    #[test]
    fn a_leaf_is_of_its_entry() {
        let gap = Leaf::Gap { first_id: 1, last_id: 2 };
        check(&gap, &[], |_| (), &[(Kind::Added, "another kind")]);
        let Leaf::Entry(mut other) = leaf() else { unreachable!() };
        other.id = 6;
        check(&Leaf::Entry(other), &[], |_| (), &[(Kind::Added, "of the entry 6")]);
    }
}
