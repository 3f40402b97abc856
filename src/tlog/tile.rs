//! Tiles: the hashes and entries of a log in files that never change
//! (<https://c2sp.org/tlog-tiles>).
//!
//! A tile has up to 256 hashes of one level. Those of level 0 are leaf hashes. Each hash of a level
//! above is the root of a full tile of the level below. A bundle has the entries whose hashes are
//! in a tile of level 0. A tile or a bundle with fewer than 256 is partial, and another file than
//! the full one.

use std::fmt;
use std::str::FromStr;

use super::FormatError;
use super::tree::{self, Hash, HashReader};

/// The number of hashes in a full tile.
pub const WIDTH: u16 = 256;

/// The number of levels of the tree that a tile spans.
const HEIGHT: u32 = 8;

/// The levels of tiles that a tree can have.
const LEVELS: u8 = 8;

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Hashes of this level, from 0 to 63 (section "Merkle Tree").
    Hashes(u8),
    /// Entries (section "Log entries").
    Entries,
}

impl Kind {
    /// The number of hashes at this level in a tree of `size`.
    fn count(self, size: u64) -> u64 {
        let level = if let Kind::Hashes(level) = self { level } else { 0 };
        size.checked_shr(HEIGHT * u32::from(level)).unwrap_or(0)
    }
}

/// The path of a tile or a bundle. `Display` writes it: `tile/0/x001/x234/067.p/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TilePath {
    kind: Kind,
    index: u64,
    width: u16,
}

impl TilePath {
    /// The tile with this index among those of its kind, as wide as it is in a tree of `size`.
    /// `None` if the tree has none.
    pub fn new(kind: Kind, index: u64, size: u64) -> Option<TilePath> {
        let rest = kind.count(size).checked_sub(index.checked_mul(WIDTH.into())?)?;
        let width = u16::try_from(rest.min(WIDTH.into())).ok().filter(|width| *width > 0)?;
        Some(TilePath { kind, index, width })
    }

    /// What is in the file.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The index among the files of this kind.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The number of hashes or entries, from 1 to [`WIDTH`].
    pub fn width(&self) -> u16 {
        self.width
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Hashes(level) => write!(f, "tile/{level}/")?,
            Kind::Entries => write!(f, "tile/entries/")?,
        }
        let above = std::iter::successors(Some(self.index / 1000), |above| Some(above / 1000));
        let above: Vec<_> = above.take_while(|above| *above > 0).collect();
        for group in above.into_iter().rev() {
            write!(f, "x{:03}/", group % 1000)?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = FormatError;

    fn from_str(path: &str) -> Result<TilePath, FormatError> {
        let read = || {
            let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
            let kind = match kind {
                "entries" => Kind::Entries,
                level => Kind::Hashes(level.parse().ok().filter(|level| *level < 64)?),
            };
            let (groups, width) = match rest.split_once(".p/") {
                Some((groups, width)) => (groups, width.parse().ok()?),
                None => (rest, WIDTH),
            };
            let index = groups.split('/').try_fold(0_u64, |index, group| {
                let group: u64 = group.trim_start_matches('x').parse().ok()?;
                index.checked_mul(1000)?.checked_add(group)
            })?;
            (1..=WIDTH).contains(&width).then_some(TilePath { kind, index, width })
        };
        // Zeroes, signs and groups that are not as they are written make another path.
        let expected = "tile/<level>/<index>[.p/<width>] or tile/entries/<index>[.p/<width>]";
        read()
            .filter(|tile| tile.to_string() == path)
            .ok_or_else(|| FormatError::found(path, expected))
    }
}

/// The tiles and bundles that a tree of `new` leaves has and one of `old` leaves does not. These
/// are written before the checkpoint of the new tree is published.
pub fn new_tiles(old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let kinds = [Kind::Entries].into_iter().chain((0..LEVELS).map(Kind::Hashes));
    kinds.flat_map(move |kind| {
        let (old, count) = (kind.count(old), kind.count(new));
        let end = if old < count { count.div_ceil(WIDTH.into()) } else { 0 };
        (old / u64::from(WIDTH)..end).filter_map(move |index| TilePath::new(kind, index, new))
    })
}

/// The bytes of a tile with these hashes.
pub fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// Why a hash cannot be taken from tiles.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The level and the index of a hash that the tree does not have, and the size of the tree.
    #[error("found a hash at level {0} and index {1}, expected one of {2} leaves")]
    NotThere(u32, u64, u64),
    /// A tile, the number of its bytes, and the number that such a tile has.
    #[error("found {0} with {1} bytes, expected {2}")]
    Length(TilePath, usize, usize),
    /// The tile cannot be read.
    #[error("{0}")]
    Read(E),
}

/// The hashes of a tree of `size` leaves, taken from tiles that `read` returns. It may return a
/// full tile in place of a partial one. Tiles are not verified: a proof that is made from bad tiles
/// does not verify.
pub struct Tiles<F> {
    /// Returns the bytes of a tile.
    pub read: F,
    /// The number of leaves.
    pub size: u64,
}

impl<F: Fn(TilePath) -> Result<Vec<u8>, E>, E> Tiles<F> {
    /// The hashes of a tile.
    fn tile(&self, path: TilePath) -> Result<Vec<Hash>, TileError<E>> {
        let bytes = (self.read)(path).map_err(TileError::Read)?;
        let (hashes, rest) = bytes.as_chunks();
        let widths = usize::from(path.width)..=usize::from(WIDTH);
        if !rest.is_empty() || !widths.contains(&hashes.len()) {
            let expected = 32 * usize::from(path.width);
            return Err(TileError::Length(path, bytes.len(), expected));
        }
        Ok(hashes.iter().take(path.width.into()).map(|hash| Hash(*hash)).collect())
    }
}

impl<F: Fn(TilePath) -> Result<Vec<u8>, E>, E> HashReader for Tiles<F> {
    type Error = TileError<E>;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, TileError<E>> {
        let not_there = || TileError::NotThere(level, index, self.size);
        // The hash is the root over these hashes of the tile's level.
        let count = 1_u64 << (level % HEIGHT);
        let start = index.checked_mul(count).ok_or_else(not_there)?;
        let kind = Kind::Hashes(u8::try_from(level / HEIGHT).map_err(|_| not_there())?);
        let path = TilePath::new(kind, start / u64::from(WIDTH), self.size);
        let path = path.ok_or_else(not_there)?;
        let start = start % u64::from(WIDTH);
        if start + count > path.width.into() {
            return Err(not_there());
        }
        let hashes = self.tile(path)?.into_iter().skip(start as usize);
        Ok(tree::root_of(hashes.take(count as usize)))
    }
}

/// Makes the tiles of a tree from leaf hashes, one by one. It keeps the partial tiles alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileBuilder {
    size: u64,
    /// The hashes of the partial tile of each level. It can be empty.
    partial: Vec<Vec<Hash>>,
}

impl TileBuilder {
    /// Goes on after the leaves of a tree whose partial tiles can be read. The caller compares
    /// [`TileBuilder::root`] with the root that the tree had.
    pub fn resume<E>(
        tiles: &Tiles<impl Fn(TilePath) -> Result<Vec<u8>, E>>,
    ) -> Result<TileBuilder, TileError<E>> {
        let mut partial = Vec::new();
        for kind in (0..LEVELS).map(Kind::Hashes) {
            let path = TilePath::new(kind, kind.count(tiles.size) / u64::from(WIDTH), tiles.size);
            partial.push(path.map_or(Ok(Vec::new()), |path| tiles.tile(path))?);
        }
        Ok(TileBuilder { size: tiles.size, partial })
    }

    /// Adds a leaf. `added` is called for each hash that this adds to a tile, from level 0 up, with
    /// the path of the tile as it is now and its hashes, of which the new one is the last. A tile
    /// with [`WIDTH`] hashes is full and is not given again.
    pub fn push(&mut self, leaf: Hash, mut added: impl FnMut(TilePath, &[Hash])) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..LEVELS {
            if self.partial.len() <= usize::from(level) {
                self.partial.push(Vec::new());
            }
            let Some(hashes) = self.partial.get_mut(usize::from(level)) else { return };
            hashes.push(hash);
            let kind = Kind::Hashes(level);
            let index = (kind.count(self.size) - 1) / u64::from(WIDTH);
            if let Some(path) = TilePath::new(kind, index, self.size) {
                added(path, hashes);
            }
            if hashes.len() < WIDTH.into() {
                return;
            }
            hash = tree::root_of(hashes.drain(..));
        }
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let mut below = None;
        for hashes in self.partial.iter().filter(|hashes| !hashes.is_empty()) {
            below = Some(tree::root_of(hashes.iter().copied().chain(below)));
        }
        below.unwrap_or(Hash::EMPTY)
    }

    /// The partial tiles with their hashes. A log writes them before it publishes a checkpoint.
    pub fn partial_tiles(&self) -> impl Iterator<Item = (TilePath, &[Hash])> {
        let tiles = (0..LEVELS).map(Kind::Hashes).zip(&self.partial);
        tiles.filter_map(|(kind, hashes)| {
            let index = kind.count(self.size) / u64::from(WIDTH);
            Some((TilePath::new(kind, index, self.size)?, hashes.as_slice()))
        })
    }
}

/// Adds an entry of at most 65,535 bytes to a bundle (section "Log entries").
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), FormatError> {
    let too_many = |_| FormatError::TooMany(entry.len(), "bytes in an entry", u16::MAX.into());
    let length = u16::try_from(entry.len()).map_err(too_many)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle with this width.
pub fn entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, FormatError> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while let Some((length, after)) = rest.split_first_chunk()
        && let Some((entry, after)) = after.split_at_checked(u16::from_be_bytes(*length).into())
    {
        entries.push(entry);
        rest = after;
    }
    if !rest.is_empty() || entries.len() != usize::from(width) {
        return Err(FormatError::Bundle(entries.len(), width));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::tree::tests::{Levels, leaves};
    use super::*;

    fn path(path: &str) -> TilePath {
        path.parse().unwrap()
    }

    fn names(tiles: impl Iterator<Item = TilePath>) -> Vec<String> {
        tiles.map(|tile| tile.to_string()).collect()
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (text, kind, index, width) in [
            ("tile/0/x001/x234/067", Kind::Hashes(0), 1_234_067, 256),
            ("tile/0/000.p/1", Kind::Hashes(0), 0, 1),
            ("tile/63/999.p/255", Kind::Hashes(63), 999, 255),
            ("tile/entries/x001/000", Kind::Entries, 1000, 256),
            ("tile/entries/x123/x456/078.p/2", Kind::Entries, 123_456_078, 2),
            ("tile/1/x018/x446/x744/x073/x709/x551/615", Kind::Hashes(1), u64::MAX, 256),
        ] {
            let tile = path(text);
            assert_eq!((tile.kind(), tile.index(), tile.width()), (kind, index, width), "{text}");
            assert_eq!(tile.to_string(), text);
        }
        let bad = "tile tile/0 tile/0/ tile/0/00 tile/0/0000 tile/0/x000/000 tile/0/x001 tile/0/001/000 \
                   tile/0/x001/x000 tile/0/+01 tile/0/-01 tile/00/000 tile/64/000 tile/-1/000 \
                   tile/data/000 tile/0/000.p tile/0/000.p/0 tile/0/000.p/256 tile/0/000.p/01 \
                   tile/0/000.p/1/ tile/0/000/ /tile/0/000 tile/0//000 tile/0/xx01/000 tile/0/٠٠٠ \
                   tile/8/0/000 tile/0/x018/x446/x744/x073/x709/x551/616 tile/0/000.p/1.p/1 \
                   TILE/0/000 tile/0/ 00 tile/0/000\n";
        for bad in bad.split(' ').chain([""]) {
            assert!(bad.parse::<TilePath>().is_err(), "{bad}");
        }
        assert_eq!(TilePath::new(Kind::Hashes(8), 0, u64::MAX), None);
        assert_eq!(TilePath::new(Kind::Hashes(0), u64::MAX, u64::MAX), None);
    }

    #[test]
    fn the_tiles_of_a_tree_are_those_of_the_specification() {
        let tiles = names(new_tiles(0, 70_000).filter(|tile| tile.kind() != Kind::Entries));
        assert_eq!(tiles.len(), 273 + 1 + 1 + 1 + 1);
        let last = ["tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17"];
        assert_eq!(tiles[272..], [&last[..], &["tile/2/000.p/1"]].concat());
        let check = |old, new, expected: &[&str]| assert_eq!(names(new_tiles(old, new)), expected);
        check(0, 256, &["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        check(0, 0, &[]);
        check(70_000, 70_000, &[]);
        check(5, 4, &[]);
        check(70_000, 70_001, &["tile/entries/273.p/113", "tile/0/273.p/113"]);
        let grown = ["tile/entries/000", "tile/entries/001.p/44"];
        check(
            255,
            300,
            &[&grown[..], &["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]].concat(),
        );
        let largest = names(new_tiles(u64::MAX - 1, u64::MAX));
        assert_eq!(largest[1], "tile/0/x072/x057/x594/x037/x927/935.p/255");
    }

    /// Tiles that were written, by path.
    type Files = BTreeMap<String, Vec<u8>>;

    fn tiles(files: &Files, size: u64) -> Tiles<impl Fn(TilePath) -> Result<Vec<u8>, String>> {
        let read = move |path: TilePath| {
            files.get(&path.to_string()).cloned().ok_or_else(|| path.to_string())
        };
        Tiles { read, size }
    }

    #[test]
    fn built_tiles_have_the_hashes_of_the_tree() {
        let all = leaves(66_000);
        let levels = Levels::new(all.clone());
        let (mut files, mut builder) = (Files::new(), TileBuilder::default());
        let mut published = 0;
        for leaf in &all {
            builder.push(*leaf, |path, hashes| {
                assert_eq!(usize::from(path.width()), hashes.len());
                if path.width() == WIDTH {
                    files.insert(path.to_string(), tile_bytes(hashes));
                }
            });
            let size = builder.size();
            if !(size <= 520 || size % 7_001 == 0 || size % 65_536 < 2) {
                continue;
            }
            // A checkpoint: the partial tiles are written too.
            for (path, hashes) in builder.partial_tiles() {
                files.insert(path.to_string(), tile_bytes(hashes));
            }
            let missing =
                names(new_tiles(published, size).filter(|tile| tile.kind() != Kind::Entries));
            assert!(missing.iter().all(|tile| files.contains_key(tile)), "{published} to {size}");
            published = size;
            let tiles = tiles(&files, size);
            let root = tree::root(&levels, size).unwrap();
            assert_eq!((builder.root(), tree::root(&tiles, size)), (root, Ok(root)), "{size}");
            assert_eq!(TileBuilder::resume(&tiles).unwrap().root(), root, "{size}");
            for index in [0, size / 3, size / 2, size - 1] {
                let proof = tree::prove_inclusion(&levels, index, size);
                assert_eq!(tree::prove_inclusion(&tiles, index, size).ok(), proof.ok());
                let proof = tree::prove_consistency(&levels, index, size);
                assert_eq!(tree::prove_consistency(&tiles, index, size).ok(), proof.ok());
            }
        }
        let mut resumed = TileBuilder::resume(&tiles(&files, 65_537)).unwrap();
        all.iter().skip(65_537).for_each(|leaf| resumed.push(*leaf, |_, _| ()));
        assert_eq!((resumed.root(), resumed.size()), (builder.root(), builder.size()));
        assert_eq!(TileBuilder::default().root(), Hash::EMPTY);
    }

    #[test]
    fn bad_tiles_are_reported() {
        let hashes = leaves(256);
        let mut files = Files::from([("tile/0/000.p/5".to_owned(), tile_bytes(&hashes[..5]))]);
        let hash = |files: &Files, size, level, index| {
            tiles(files, size).hash(level, index).map_err(|error| error.to_string())
        };
        assert_eq!(hash(&files, 5, 0, 4), Ok(hashes[4]));
        assert_eq!(hash(&files, 5, 1, 1), Ok(tree::node_hash(&hashes[2], &hashes[3])));
        assert_eq!(hash(&files, 6, 0, 0), Err("tile/0/000.p/6".to_owned()));
        for (level, index) in
            [(0, 5), (1, 2), (3, 0), (8, 0), (64, 0), (u32::MAX, 0), (7, u64::MAX)]
        {
            let expected = format!(
                "found a hash at level {level} and index {index}, expected one of 5 leaves"
            );
            assert_eq!(hash(&files, 5, level, index), Err(expected));
        }
        // A full tile can stand for a partial one. Any other length is wrong.
        files.insert("tile/0/000.p/5".to_owned(), tile_bytes(&hashes));
        assert_eq!(hash(&files, 5, 0, 4), Ok(hashes[4]));
        for bytes in [0, 128, 161, 8193, 8224] {
            files.insert("tile/0/000.p/5".to_owned(), vec![0; bytes]);
            let expected = format!("found tile/0/000.p/5 with {bytes} bytes, expected 160");
            assert_eq!(hash(&files, 5, 0, 4), Err(expected));
        }
    }

    #[test]
    fn bundles_are_read_strictly() {
        let long = vec![b'x'; 65_535];
        let mut bundle = Vec::new();
        for entry in [b"".as_slice(), b"abc", &long] {
            push_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(bundle[..7], *b"\0\0\0\x03abc");
        assert_eq!(entries(&bundle, 3), Ok(vec![b"".as_slice(), b"abc", &long]));
        assert_eq!(entries(&[], 0), Ok(vec![]));
        assert_eq!(
            push_entry(&mut bundle, &vec![0; 65_536]).unwrap_err().to_string(),
            "found 65536 bytes in an entry, expected at most 65535"
        );
        let check = |bundle: &[u8], width, found| {
            let expected = FormatError::Bundle(found, width);
            assert_eq!(entries(bundle, width), Err(expected));
        };
        check(&bundle, 2, 3);
        check(&bundle, 4, 3);
        check(&bundle[..bundle.len() - 1], 3, 2);
        check(&[bundle.as_slice(), b"\0"].concat(), 3, 3);
        check(&[], 1, 0);
    }
}
