//! The entries: each must be as its leaf says.

use std::sync::Mutex;
use std::sync::PoisonError;

use data_encoding::HEXLOWER;
use rayon::prelude::*;

use super::{Findings, Kind, Steps};
use crate::entry::VerdictName;
use crate::log::LogError;
use crate::store::{Logged, LoggedEntry, Reader, Slice, StoreError, Tiles};
use crate::tlog::leaf::{EntryLeaf, Leaf, Sha256};
use crate::tlog::tile::{self, TilePath, WIDTH};

/// How many entries were compared.
#[derive(Clone, Copy, Default)]
pub(super) struct Compared {
    pub(super) entries: u64,
    /// Those that were stored before the log began.
    pub(super) older: u64,
    /// Those that changed after they were stored, by the catalog.
    pub(super) changed: u64,
}

/// Compares each entry with its leaf. `last_id` is the last id before the log began.
pub(super) fn check(
    reader: &Reader,
    tiles: &Tiles,
    found: &Findings,
    steps: &Steps<'_>,
    last_id: Option<u64>,
) -> Result<Compared, LogError> {
    let total = Mutex::new(Compared::default());
    reader.slices()?.into_par_iter().for_each(|slice| {
        let mut records = Records { reader, tiles, bundle: None };
        let entries = match reader.logged(&slice) {
            // Retention deleted it.
            Ok(entries) => entries.unwrap_or_default(),
            Err(error) => {
                let id = Some(*slice.ids.start());
                return found.add(Kind::Store, None, id, error.to_string());
            }
        };
        let mut compared = Compared::default();
        for entry in &entries {
            let LoggedEntry { id, logged } = entry;
            let Some(logged) = logged else {
                if last_id.is_some_and(|last| *id <= last) {
                    compared.older += 1;
                } else {
                    found.add(Kind::Added, None, Some(*id), "the entry has no leaf");
                }
                continue;
            };
            compared.entries += 1;
            compared.changed += u64::from(logged.is_changed);
            match records.of(&slice, logged.leaf) {
                Ok(Some(record)) => compare(*id, logged, &record, found),
                Ok(None) => {
                    let what = "the log has no such leaf";
                    found.add(Kind::Added, Some(logged.leaf), Some(*id), what);
                }
                Err(error) => {
                    found.add(Kind::Tile, Some(logged.leaf), Some(*id), error.to_string());
                }
            }
        }
        steps.add(entries.len() as u64);
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        total.entries += compared.entries;
        total.older += compared.older;
        total.changed += compared.changed;
    });
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Compares an entry with the record of its leaf.
fn compare(id: u64, entry: &Logged, record: &[u8], found: &Findings) {
    let note = |kind, what: String| found.add(kind, Some(entry.leaf), Some(id), what);
    let (said, stored_at) = match Leaf::parse(record) {
        Ok((Leaf::Entry(said) | Leaf::Backfill(said), stored_at)) => (said, stored_at),
        Ok((other, _)) => {
            return note(Kind::Added, format!("its leaf is of another kind: {other}"));
        }
        // The check of the tree notes it.
        Err(_) => return,
    };
    let EntryLeaf { id: of, received_at, verdict, line, input, key } = said;
    if of != id {
        return note(Kind::Added, format!("its leaf is of the entry {of}"));
    }
    let mut differences = Vec::new();
    let mut compare = |what: &str, found: String, said: String| {
        if found != said {
            differences.push(format!("{what} {found}, the leaf says {said}"));
        }
    };
    compare("received at", entry.received_at.to_string(), received_at.to_string());
    let at = entry.stored_at.map_or_else(|| "no delivery".to_owned(), |at| at.to_string());
    compare("stored at", at, stored_at.to_string());
    if !entry.is_changed {
        compare("verdict", shown(entry.verdict, entry.key), shown(verdict, key));
    }
    match entry.salted {
        None => differences.push("it has no salt".to_owned()),
        Some((of_line, of_input)) => {
            if of_line != line {
                differences.push("its line is not the one that its leaf commits to".to_owned());
            }
            if of_input != input && !entry.is_changed {
                differences.push("its input is not the one that its leaf commits to".to_owned());
            }
        }
    }
    if !differences.is_empty() {
        note(Kind::Entry, differences.join("; "));
    }
}

/// A verdict with the thumbprint of its key.
fn shown(verdict: VerdictName, key: Option<Sha256>) -> String {
    match key {
        Some(key) => format!("{verdict} (key {})", HEXLOWER.encode(&key)),
        None => verdict.to_string(),
    }
}

/// Reads records, mostly one after the other.
struct Records<'a> {
    reader: &'a Reader,
    tiles: &'a Tiles,
    /// The bundle that was read last: its index, its width and its bytes.
    bundle: Option<(u64, u16, Vec<u8>)>,
}

impl Records<'_> {
    /// The record of a leaf of an entry in this slice. `None` if there is none.
    fn of(&mut self, slice: &Slice, leaf: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if leaf < self.tiles.size() {
            return self.in_bundle(leaf);
        }
        // It was committed, and the tiles do not have it yet, or have it since the check began.
        match self.reader.pending_record(slice.segment, leaf)? {
            None => {
                let tiles = self.reader.tiles()?;
                if leaf < tiles.size() { tiles.record(leaf).map(Some) } else { Ok(None) }
            }
            pending => Ok(pending),
        }
    }

    fn in_bundle(&mut self, leaf: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let index = leaf / u64::from(WIDTH);
        if self.bundle.as_ref().is_none_or(|(read, ..)| *read != index) {
            let path = TilePath::new(tile::Kind::Entries, index, self.tiles.size());
            let Some(path) = path else { return Ok(None) };
            let bytes = self.tiles.file(&path)?.unwrap_or_default();
            self.bundle = Some((index, path.width(), bytes));
        }
        let Some((_, width, bundle)) = &self.bundle else { return Ok(None) };
        let records = tile::entries(bundle, *width)?;
        let at = usize::try_from(leaf % u64::from(WIDTH)).unwrap_or(usize::MAX);
        Ok(records.get(at).map(|record| record.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;

    const KEY: Sha256 = [7; 32];

    fn leaf() -> EntryLeaf {
        EntryLeaf {
            id: 5,
            received_at: Millis::saturating(1),
            verdict: VerdictName::Valid,
            line: [1; 32],
            input: [2; 32],
            key: Some(KEY),
        }
    }

    fn entry() -> Logged {
        Logged {
            leaf: 9,
            received_at: Millis::saturating(1),
            stored_at: Some(Millis::saturating(2)),
            verdict: VerdictName::Valid,
            key: Some(KEY),
            salted: Some(([1; 32], [2; 32])),
            is_changed: false,
        }
    }

    fn check(id: u64, entry: &Logged, leaf: &Leaf, expected: &[(Kind, &str)]) {
        let found = Findings { shown: 10, ..Findings::default() };
        compare(id, entry, &leaf.record(Millis::saturating(2)), &found);
        let listed = found.inner.into_inner().unwrap().first;
        assert_eq!(listed.len(), expected.len(), "{listed:?}");
        for (one, (kind, what)) in listed.iter().zip(expected) {
            assert_eq!((one.kind, one.leaf, one.id), (*kind, Some(9), Some(id)));
            assert!(one.what.contains(what), "{}", one.what);
        }
    }

    #[test]
    fn an_entry_is_as_its_leaf_says() {
        let of = |change: &dyn Fn(&mut Logged)| {
            let mut entry = entry();
            change(&mut entry);
            entry
        };
        let leaf = Leaf::Entry(leaf());
        check(5, &entry(), &leaf, &[]);
        check(6, &entry(), &leaf, &[(Kind::Added, "of the entry 5")]);
        let at = Millis::saturating(3);
        let differ = |what| [(Kind::Entry, what)];
        check(5, &of(&|one| one.received_at = at), &leaf, &differ("received at 1970"));
        check(5, &of(&|one| one.stored_at = Some(at)), &leaf, &differ("stored at 1970"));
        check(5, &of(&|one| one.stored_at = None), &leaf, &differ("no delivery"));
        let unsigned = of(&|one| (one.verdict, one.key) = (VerdictName::Unsigned, None));
        check(5, &unsigned, &leaf, &differ("verdict unsigned, the leaf says valid"));
        check(5, &of(&|one| one.key = Some([8; 32])), &leaf, &differ("key 0808"));
        check(5, &of(&|one| one.salted = Some(([3; 32], [2; 32]))), &leaf, &differ("line"));
        check(5, &of(&|one| one.salted = Some(([1; 32], [3; 32]))), &leaf, &differ("input"));
        check(5, &of(&|one| one.salted = None), &leaf, &differ("no salt"));
        // The catalog says that it changed. Its line never does.
        check(5, &Logged { is_changed: true, ..unsigned.clone() }, &leaf, &[]);
        let other = of(&|one| one.salted = Some(([3; 32], [3; 32])));
        check(5, &Logged { is_changed: true, ..other }, &leaf, &differ("line"));
        let gap = Leaf::Gap { first_id: 1, last_id: 2 };
        check(5, &entry(), &gap, &[(Kind::Added, "another kind: gap")]);
    }
}
