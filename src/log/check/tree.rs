//! The tree: each hash of the tiles is computed again, and each leaf of an entry must have its
//! entry.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::{Findings, Kind, Steps};
use crate::log::LogError;
use crate::store::{Reader, StoreError, Tiles};
use crate::tlog::leaf::Leaf;
use crate::tlog::tile::{self, TilePath, WIDTH};
use crate::tlog::tree::{Hash, HashReader, leaf_hash, root_of};

/// The leaves of a full tile, and its hashes.
const FULL: u64 = WIDTH as u64;

/// The levels of the tree that a tile spans.
const HEIGHT: u32 = 8;

/// Checks the tiles, and that the entries of leaves are there. Returns the last id that the store
/// had when the log began.
pub(super) fn check(
    reader: &Reader,
    tiles: &Tiles,
    found: &Findings,
    steps: &Steps<'_>,
) -> Result<Option<u64>, LogError> {
    let tree = Tree { reader, tiles, found, steps, said: Mutex::default() };
    let bundles = tiles.size().div_ceil(FULL);
    // The leaves of one tile of level 1 at a time.
    (0..bundles.div_ceil(FULL)).into_par_iter().for_each(|chunk| {
        let first = chunk * FULL;
        let bundles = first..bundles.min(first + FULL);
        let entries: Vec<_> =
            bundles.into_par_iter().flat_map_iter(|one| tree.bundle(one)).collect();
        if let Err(error) = tree.entries(&entries) {
            found.add(Kind::Store, None, None, error.to_string());
        }
    });
    for level in 1_u8.. {
        let full = (tiles.size() >> (HEIGHT * u32::from(level))) / FULL;
        if full == 0 {
            break;
        }
        (0..full).into_par_iter().for_each(|index| {
            tree.readable(tile::Kind::Hashes(level), index, |path, bytes| {
                tree.parent(path, &hashes(bytes));
            });
        });
    }
    let said = tree.said.into_inner().unwrap_or_else(PoisonError::into_inner);
    if tiles.size() > 0 && said.last_id.is_none() {
        found.add(Kind::Leaf, Some(0), None, "the log does not begin with a start");
    }
    said.missing(reader.removed()?, found);
    Ok(said.last_id)
}

/// A check of the tree in progress.
struct Tree<'a> {
    reader: &'a Reader,
    tiles: &'a Tiles,
    found: &'a Findings,
    steps: &'a Steps<'a>,
    said: Mutex<Said>,
}

/// What leaves say of others and of ids, and which leaves have no entry.
#[derive(Default)]
struct Said {
    /// The last id when the log began.
    last_id: Option<u64>,
    /// The ids that retention removed.
    removed: Vec<RangeInclusive<u64>>,
    /// The leaves that lost their entries.
    lost: Vec<RangeInclusive<u64>>,
    without_entry: Vec<Run>,
}

/// Leaves and ids that both follow one another.
#[derive(Clone, Copy)]
struct Run {
    leaf: u64,
    id: u64,
    count: u64,
}

impl Tree<'_> {
    /// Reads a tile or a bundle, and notes if that fails.
    fn readable(&self, kind: tile::Kind, index: u64, work: impl FnOnce(TilePath, &[u8])) {
        let Some(path) = TilePath::new(kind, index, self.tiles.size()) else { return };
        match self.tiles.file(&path) {
            Ok(bytes) => work(path, &bytes.unwrap_or_default()),
            Err(error) => self.found.add(Kind::Tile, None, None, format!("{path}: {error}")),
        }
    }

    /// Checks a bundle with its tile. Returns the leaves and the ids of its entries.
    fn bundle(&self, index: u64) -> Vec<(u64, u64)> {
        let mut of_tile = Vec::new();
        self.readable(tile::Kind::Hashes(0), index, |path, bytes| {
            of_tile = hashes(bytes);
            if path.width() == WIDTH {
                self.parent(path, &of_tile);
            }
        });
        let mut entries = Vec::new();
        self.readable(tile::Kind::Entries, index, |path, bundle| {
            match tile::entries(bundle, path.width()) {
                Ok(records) => {
                    for ((leaf, record), hash) in (index * FULL..).zip(&records).zip(&of_tile) {
                        entries.extend(self.record(leaf, record, hash));
                    }
                    self.steps.add(records.len() as u64);
                }
                Err(error) => {
                    let leaf = Some(index * FULL);
                    self.found.add(Kind::Leaf, leaf, None, format!("{path}: {error}"));
                }
            }
        });
        entries
    }

    /// Checks the record of a leaf with its hash. Returns the leaf and the id if it is of an entry.
    fn record(&self, leaf: u64, record: &[u8], hash: &Hash) -> Option<(u64, u64)> {
        if leaf_hash(record) != *hash {
            let what = "its record does not have the hash that the tile of level 0 has";
            self.found.add(Kind::Leaf, Some(leaf), None, what);
        }
        let said = match Leaf::parse(record) {
            Ok((Leaf::Entry(entry) | Leaf::Backfill(entry), _)) => return Some((leaf, entry.id)),
            Ok((said, _)) => said,
            Err(error) => {
                self.found.add(Kind::Leaf, Some(leaf), None, error.to_string());
                return None;
            }
        };
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said {
            Leaf::Start { last_id, .. } if leaf == 0 => all.last_id = Some(last_id),
            Leaf::Start { .. } => {
                self.found.add(Kind::Leaf, Some(leaf), None, "a start after the first leaf");
            }
            Leaf::Retention { first_id, last_id, .. } => all.removed.push(first_id..=last_id),
            Leaf::Lost { first_leaf, last_leaf } => all.lost.push(first_leaf..=last_leaf),
            _ => {}
        }
        None
    }

    /// Checks that the tile above a full one has the root of it.
    fn parent(&self, path: TilePath, hashes: &[Hash]) {
        let tile::Kind::Hashes(level) = path.kind() else { return };
        let above = self.tiles.hash(HEIGHT * (u32::from(level) + 1), path.index());
        let what = match above {
            Ok(above) if above == root_of(hashes.iter().copied()) => return,
            Ok(_) => format!("{path}: the tile above it has another root of it"),
            Err(error) => format!("{path}: the tile above it: {error}"),
        };
        self.found.add(Kind::Tile, None, None, what);
    }

    /// Checks that the entries with these leaves and ids are there.
    fn entries(&self, entries: &[(u64, u64)]) -> Result<(), StoreError> {
        let mut ids: Vec<u64> = entries.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let leaves: HashMap<u64, u64> = self.reader.leaves_of(&ids)?;
        let mut missing: Vec<Run> = Vec::new();
        for (leaf, id) in entries {
            match (leaves.get(id), missing.last_mut()) {
                (Some(found), _) if found == leaf => {}
                (Some(found), _) => {
                    let what = format!("it is of an entry that has the leaf {found}");
                    self.found.add(Kind::Leaf, Some(*leaf), Some(*id), what);
                }
                (None, Some(run)) if (run.leaf + run.count, run.id + run.count) == (*leaf, *id) => {
                    run.count += 1;
                }
                (None, _) => missing.push(Run { leaf: *leaf, id: *id, count: 1 }),
            }
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.without_entry.extend(missing);
        Ok(())
    }
}

impl Said {
    /// Notes the entries that are not there, and of which neither the log nor the catalog, by which
    /// `removed` were, says why.
    fn missing(&self, removed: Vec<RangeInclusive<u64>>, found: &Findings) {
        let removed = Ranges::new(self.removed.iter().cloned().chain(removed));
        let lost = Ranges::new(self.lost.iter().cloned());
        for Run { leaf, id, count } in &self.without_entry {
            let mut at = 0;
            while at < *count {
                let (leaf, id) = (leaf + at, id + at);
                let by_id = removed.end(id).map(|end| end - id);
                match by_id.max(lost.end(leaf).map(|end| end - leaf)) {
                    Some(explained) => at = at.saturating_add(explained).saturating_add(1),
                    None => {
                        let what = "the entry is not there, and nothing says that it was removed";
                        found.add(Kind::Missing, Some(leaf), Some(id), what);
                        at += 1;
                    }
                }
            }
        }
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

/// The hashes of a tile.
fn hashes(tile: &[u8]) -> Vec<Hash> {
    tile.as_chunks().0.iter().copied().map(Hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_explains_is_not_missing() {
        let check = |said: &Said, removed: &[RangeInclusive<u64>], expected: &[(u64, u64)]| {
            let found = Findings { shown: 100, ..Findings::default() };
            said.missing(removed.to_vec(), &found);
            let inner = found.inner.into_inner().unwrap();
            let listed = inner.first.iter().map(|one| (one.leaf.unwrap(), one.id.unwrap()));
            assert_eq!(listed.collect::<Vec<_>>(), expected);
            assert_eq!(inner.differences, expected.len() as u64);
        };
        let without_entry =
            vec![Run { leaf: 11, id: 1, count: 5 }, Run { leaf: 20, id: 9, count: 1 }];
        let said = |removed: &[RangeInclusive<u64>], lost: &[RangeInclusive<u64>]| Said {
            last_id: None,
            removed: removed.to_vec(),
            lost: lost.to_vec(),
            without_entry: without_entry.clone(),
        };
        let all = [(11, 1), (12, 2), (13, 3), (14, 4), (15, 5), (20, 9)];
        check(&said(&[], &[]), &[], &all);
        check(&said(&[4..=8], &[]), &[], &[(11, 1), (12, 2), (13, 3), (20, 9)]);
        check(&said(&[4..=5, 2..=3], &[]), &[6..=9], &all[..1]);
        check(&said(&[], &[10..=13]), &[5..=5], &[(14, 4), (20, 9)]);
        check(&said(&[], &[0..=u64::MAX]), &[], &[]);
        check(&said(&[0..=u64::MAX], &[]), &[], &[]);
    }
}
