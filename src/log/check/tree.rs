//! The tree: each hash of the tiles is computed again, each record is read, and each leaf of an entry
//! must have its entry.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::findings::{Difference, Findings, Kind};
use super::said::{Gone, GoneRanges, Run, Said};
use super::{Steps, span};
use crate::log::LogError;
use crate::store::{Reader, StoreError, StreamLength, Tiles};
use crate::tlog::leaf::{Leaf, RetentionReason};
use crate::tlog::tile::{self, TilePath, WIDTH};
use crate::tlog::tree::{self, Hash, HashReader, leaf_hash, root_of};

/// The leaves of a full tile, and its hashes.
const FULL: u64 = WIDTH as u64;

/// The levels of the tree that a tile spans.
const HEIGHT: u32 = 8;

/// The files of the log, as they were opened once.
pub(super) struct Tree<'a> {
    reader: &'a Reader,
    found: &'a Findings,
    pub(super) tiles: Tiles,
    /// The number of leaves that can be read. What the file `size` says may be far from it.
    pub(super) leaves: u64,
    lengths: Vec<StreamLength>,
}

/// What the leaves of the tree say.
pub(super) struct Leaves {
    pub(super) said: Said,
    /// The leaves without entries.
    pub(super) without_entry: Vec<Run>,
}

/// How many entries are gone, as the log says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GoneEntries {
    /// By the rules of retention.
    pub(crate) retention: u64,
    /// By `vidimus store prune`.
    pub(crate) prune: u64,
    /// Lost.
    pub(crate) lost: u64,
}

impl<'a> Tree<'a> {
    /// Opens the files, and compares their lengths with what they should be.
    pub(super) fn open(reader: &'a Reader, found: &'a Findings) -> Result<Tree<'a>, StoreError> {
        let tiles = reader.tiles()?;
        let (leaves, lengths) = (tiles.readable()?, tiles.lengths()?);
        for StreamLength { name, found: bytes, expected, .. } in &lengths {
            if bytes < expected {
                let what = "it has fewer bytes than the file log/size says";
                found.add(Difference::new(Kind::Tile, what).file(name).values(bytes, expected));
            }
        }
        Ok(Tree { reader, found, tiles, leaves, lengths })
    }

    /// Checks the tiles, and that the entries of leaves are there.
    pub(super) fn check(&self, steps: &Steps<'_>) -> Leaves {
        let leaves = Mutex::new(Leaves { said: Said::default(), without_entry: Vec::new() });
        let bundles = self.leaves.div_ceil(FULL);
        // The leaves of one tile of level 1 at a time.
        (0..bundles.div_ceil(FULL)).into_par_iter().for_each(|chunk| {
            let first = chunk * FULL;
            let bundles = first..bundles.min(first + FULL);
            let entries: Vec<_> = bundles
                .into_par_iter()
                .flat_map_iter(|one| {
                    let entries = self.bundle(one, &leaves);
                    steps.add(FULL.min(self.leaves - one * FULL));
                    entries
                })
                .collect();
            match self.without_entry(&entries) {
                Ok(runs) => lock(&leaves).without_entry.extend(runs),
                Err(error) => self.found.add(Difference::new(Kind::Store, error.to_string())),
            }
        });
        for level in 1_u8.. {
            let full = (self.leaves >> (HEIGHT * u32::from(level))) / FULL;
            if full == 0 {
                break;
            }
            (0..full).into_par_iter().for_each(|index| {
                self.readable(tile::Kind::Hashes(level), index, |path, bytes| {
                    self.parent(path, &hashes(bytes));
                });
            });
        }
        self.recorded_root();
        let leaves = leaves.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.leaves > 0 && leaves.said.start.is_none() {
            let what = "the log does not begin with a start";
            self.found.add(Difference::new(Kind::Leaf, what).leaf(0));
        }
        leaves
    }

    /// Adds the leaves that the segments have and these files do not have yet, and compares those that
    /// both have.
    pub(super) fn kept(&self, said: &mut Said) -> Result<(), LogError> {
        let mut records = Records::new(self);
        let (mut next, mut bytes) = (self.leaves, 0_u64);
        for segment in self.reader.catalog_lists()?.segments {
            let read = self.reader.kept_records(segment.first_id, 0, |leaf, record| {
                let add = |what: &str| {
                    let difference = Difference::new(Kind::Leaf, what).leaf(leaf);
                    self.found.add(difference.file(format!("segments/{}", segment.file)));
                };
                if leaf < self.leaves {
                    // What cannot be read was found before.
                    if records.of(leaf).is_ok_and(|of| of.is_some_and(|of| of != record)) {
                        add("its record in the segment is not that in the files of the log");
                    }
                    return;
                }
                // They may have been written since, and sealed.
                if leaf > next && leaf > self.reader.tiles().map_or(0, |now| now.size()) {
                    add("the leaf before it is neither in a segment nor in the files of the log");
                }
                next = next.max(leaf.saturating_add(1));
                bytes = bytes.saturating_add(2 + record.len() as u64);
                self.special(said, leaf, record);
            });
            if let Err(error) = read {
                let file = format!("segments/{}", segment.file);
                self.found.add(Difference::new(Kind::Leaf, error.to_string()).file(file));
            }
        }
        for length in &self.lengths {
            let most = length.most(next, bytes);
            if length.found > most {
                let what = "it has more bytes than an interrupted write can have left";
                let difference = Difference::new(Kind::Tile, what).file(&length.name);
                self.found.add(difference.values(length.found, most));
            }
        }
        Ok(())
    }

    /// Adds the leaves that came since. What is wrong with them, the next check finds.
    pub(super) fn newer(&self, said: &mut Said) -> Result<(), StoreError> {
        let mut add = |leaf: u64, record: &[u8]| {
            if let Ok((parsed, _)) = Leaf::parse(record) {
                said.add(leaf, parsed);
            }
        };
        for segment in self.reader.catalog_lists()?.segments {
            // What cannot be read was found before.
            let _ = self.reader.kept_records(segment.first_id, self.leaves, &mut add);
        }
        let tiles = self.reader.tiles()?;
        let leaves = tiles.readable()?;
        let mut records = Records { tiles: &tiles, leaves, bundle: None };
        for leaf in self.leaves..leaves {
            if let Ok(Some(record)) = records.of(leaf) {
                add(leaf, record);
            }
        }
        Ok(())
    }

    /// Compares the root of the tree with the one that was recorded with its size.
    fn recorded_root(&self) {
        // If there are fewer leaves, that is noted.
        if self.leaves < self.tiles.size() {
            return;
        }
        let recorded = self.tiles.root();
        let what = match tree::root(&self.tiles, self.leaves) {
            Ok(root) if root == recorded => return,
            Ok(root) => Difference::new(Kind::Tile, "the recorded root").values(recorded, root),
            Err(error) => Difference::new(Kind::Tile, error.to_string()),
        };
        self.found.add(what.file("log/size"));
    }

    /// Reads a tile or a bundle, and notes if that fails.
    fn readable(&self, kind: tile::Kind, index: u64, work: impl FnOnce(TilePath, &[u8])) {
        let Some(path) = TilePath::new(kind, index, self.tiles.size()) else { return };
        match self.tiles.file(&path) {
            Ok(bytes) => work(path, &bytes.unwrap_or_default()),
            Err(error) => {
                self.found.add(Difference::new(Kind::Tile, format!("{path}: {error}")));
            }
        }
    }

    /// Checks a bundle with its tile. Returns the leaves and the ids of its entries.
    fn bundle(&self, index: u64, leaves: &Mutex<Leaves>) -> Vec<EntryOfLeaf> {
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
                        entries.extend(self.record(leaf, record, hash, leaves));
                    }
                }
                Err(error) => {
                    let difference = Difference::new(Kind::Leaf, format!("{path}: {error}"));
                    self.found.add(difference.leaf(index * FULL));
                }
            }
        });
        entries
    }

    /// Checks the record of a leaf with its hash. Returns the entry if it is of one.
    fn record(
        &self,
        leaf: u64,
        record: &[u8],
        hash: &Hash,
        leaves: &Mutex<Leaves>,
    ) -> Option<EntryOfLeaf> {
        let computed = leaf_hash(record);
        if computed != *hash {
            let what = "its record does not have the hash that the tile of level 0 has";
            self.found.add(Difference::new(Kind::Leaf, what).leaf(leaf).values(computed, hash));
        }
        match Leaf::parse(record) {
            Ok((Leaf::Entry(entry), _)) => {
                Some(EntryOfLeaf { leaf, id: entry.id, may_be_repeated: false })
            }
            Ok((Leaf::Backfill(entry), _)) => {
                Some(EntryOfLeaf { leaf, id: entry.id, may_be_repeated: true })
            }
            _ => {
                self.special(&mut lock(leaves).said, leaf, record);
                None
            }
        }
    }

    /// Adds what a leaf says that is not of an entry.
    fn special(&self, said: &mut Said, leaf: u64, record: &[u8]) {
        let wrong = match Leaf::parse(record) {
            Ok((parsed, _)) => said.add(leaf, parsed).map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = wrong {
            self.found.add(Difference::new(Kind::Leaf, what).leaf(leaf));
        }
    }

    /// Checks that the tile above a full one has the root of it.
    fn parent(&self, path: TilePath, hashes: &[Hash]) {
        let tile::Kind::Hashes(level) = path.kind() else { return };
        let add = |difference: Difference| self.found.add(difference);
        let root = root_of(hashes.iter().copied());
        match self.tiles.hash(HEIGHT * (u32::from(level) + 1), path.index()) {
            Ok(above) if above == root => {}
            Ok(above) => {
                let what = format!("{path}: the tile above it has another root of it");
                add(Difference::new(Kind::Tile, what).values(above, root));
            }
            Err(error) => {
                add(Difference::new(Kind::Tile, format!("{path}: the tile above it: {error}")));
            }
        }
    }

    /// The leaves of these that do not have their entries.
    fn without_entry(&self, entries: &[EntryOfLeaf]) -> Result<Vec<Run>, StoreError> {
        let mut ids: Vec<u64> = entries.iter().map(|one| one.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let leaves = self.reader.leaves_of(&ids)?;
        let mut missing: Vec<Run> = Vec::new();
        for EntryOfLeaf { leaf, id, may_be_repeated } in entries {
            let add = |what: String| {
                self.found.add(Difference::new(Kind::Leaf, what).leaf(*leaf).id(*id));
            };
            match (leaves.get(id), missing.last_mut()) {
                (Some(Some(found)), _) if found == leaf => {}
                // The later one counts.
                (Some(Some(found)), _) if *may_be_repeated && found > leaf => {}
                (Some(Some(found)), _) => {
                    add(format!("it is of an entry that has the leaf {found}"));
                }
                (Some(None), _) => add("it is of an entry that has no leaf".to_owned()),
                (None, Some(run)) if (run.leaf + run.count, run.id + run.count) == (*leaf, *id) => {
                    run.count += 1;
                }
                (None, _) => missing.push(Run { leaf: *leaf, id: *id, count: 1 }),
            }
        }
        Ok(missing)
    }

    /// Notes the leaves whose entries are not there if the log does not say why, and counts the others.
    pub(super) fn missing(&self, runs: Vec<Run>, gone: &GoneRanges) -> GoneEntries {
        let mut counts = GoneEntries::default();
        for (Run { leaf, id, count }, reason) in runs.into_iter().flat_map(|run| run.split(gone)) {
            match reason {
                Some(Gone::Removed(RetentionReason::Retention)) => counts.retention += count,
                Some(Gone::Removed(RetentionReason::Prune)) => counts.prune += count,
                Some(Gone::Lost) => counts.lost += count,
                None => {
                    let what = match count {
                        1 => "the entry is not there, and no leaf says why".to_owned(),
                        _ => format!(
                            "the entries {} are not there, and no leaf says why",
                            span(&(id..=id + (count - 1)))
                        ),
                    };
                    self.found.add(Difference::new(Kind::Missing, what).leaf(leaf).id(id));
                }
            }
        }
        counts
    }
}

/// A leaf of an entry.
struct EntryOfLeaf {
    leaf: u64,
    id: u64,
    may_be_repeated: bool,
}

fn lock(leaves: &Mutex<Leaves>) -> MutexGuard<'_, Leaves> {
    leaves.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hashes of a tile.
fn hashes(tile: &[u8]) -> Vec<Hash> {
    tile.as_chunks().0.iter().copied().map(Hash).collect()
}

/// Reads records, mostly one after the other.
pub(super) struct Records<'a> {
    tiles: &'a Tiles,
    leaves: u64,
    /// The bundle that was read last: its index, its width and its bytes.
    bundle: Option<(u64, u16, Vec<u8>)>,
}

impl<'a> Records<'a> {
    pub(super) fn new(tree: &'a Tree<'_>) -> Records<'a> {
        Records { tiles: &tree.tiles, leaves: tree.leaves, bundle: None }
    }

    /// The record of a leaf. `None` if the files do not have it.
    pub(super) fn of(&mut self, leaf: u64) -> Result<Option<&[u8]>, StoreError> {
        if leaf >= self.leaves {
            return Ok(None);
        }
        let index = leaf / FULL;
        if self.bundle.as_ref().is_none_or(|(read, ..)| *read != index) {
            let path = TilePath::new(tile::Kind::Entries, index, self.tiles.size());
            let Some(path) = path else { return Ok(None) };
            let bytes = self.tiles.file(&path)?.unwrap_or_default();
            self.bundle = Some((index, path.width(), bytes));
        }
        let Some((_, width, bundle)) = &self.bundle else { return Ok(None) };
        let records = tile::entries(bundle, *width)?;
        let at = usize::try_from(leaf % FULL).unwrap_or(usize::MAX);
        Ok(records.get(at).copied())
    }
}
