//! Adds leaves to the files of the log.
//!
//! Nothing is kept between two runs: each begins with the extent in the file `size`. The same leaves make
//! the same bytes, so a run that was interrupted is made again by the next one.

use super::stream::Appender;
use super::{Extent, FULL, HASH, LEVELS, OFFSET, Tiles};
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::tlog::tile::{self, Kind, TileBuilder};
use crate::tlog::tree::leaf_hash;

/// After this many leaves the files are synced.
const UNSYNCED: u64 = 1 << 20;

/// The files of the log while leaves are added.
pub(in crate::store) struct TileWriter {
    tiles: Tiles,
    builder: TileBuilder,
    records: Appender,
    offsets: Appender,
    /// By level.
    hashes: Vec<Appender>,
}

impl TileWriter {
    /// Opens the files. Only one writer may have them.
    ///
    /// # Errors
    /// [`StoreError::DamagedLog`] if the hashes do not have the root that was recorded.
    pub(in crate::store) fn open(directory: &Directory) -> Result<TileWriter, StoreError> {
        let tiles = Tiles::open(directory)?;
        let source = tile::Tiles { read: |path| tiles.read(path), size: tiles.size() };
        let builder = TileBuilder::resume(&source).map_err(|error| tiles.of_tile(error))?;
        let Extent { leaves, bytes, root } = tiles.extent;
        if builder.root() != root {
            let what = format!("its root is {}, and {root} was recorded", builder.root());
            return Err(StoreError::DamagedLog { path: tiles.folder.join("hashes"), what });
        }
        let level = |level: u8| {
            Appender::new(tiles.hashes(level), (leaves >> (8 * u32::from(level))) * HASH)
        };
        Ok(TileWriter {
            builder,
            records: Appender::new(tiles.records(), bytes),
            offsets: Appender::new(tiles.offsets(), leaves.div_ceil(FULL) * OFFSET),
            hashes: (0..LEVELS).map(level).collect(),
            tiles,
        })
    }

    /// The index of the next leaf.
    pub(in crate::store) fn next_leaf(&self) -> u64 {
        self.builder.size()
    }

    /// Adds the next leaf, by its record.
    pub(in crate::store) fn add(&mut self, record: &[u8]) -> Result<(), StoreError> {
        if self.next_leaf().is_multiple_of(FULL) {
            let offset = self.records.end();
            self.offsets.pending().extend(offset.to_be_bytes());
            self.streams().try_for_each(Appender::write_if_full)?;
        }
        tile::push_entry(self.records.pending(), record)?;
        let hashes = &mut self.hashes;
        self.builder.push(leaf_hash(record), |path, tile| {
            if let Kind::Hashes(level) = path.kind()
                && let (Some(stream), Some(hash)) =
                    (hashes.get_mut(usize::from(level)), tile.last())
            {
                stream.pending().extend(hash.0);
            }
        });
        if self.next_leaf() - self.tiles.size() >= UNSYNCED {
            return self.sync();
        }
        Ok(())
    }

    /// Syncs the files, and records how many leaves they have. Returns that number.
    pub(in crate::store) fn finish(mut self) -> Result<u64, StoreError> {
        if self.next_leaf() > self.tiles.size() {
            self.sync()?;
        }
        Ok(self.tiles.size())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.streams().try_for_each(Appender::sync)?;
        let (leaves, bytes) = (self.next_leaf(), self.records.end());
        let extent = Extent { leaves, bytes, root: self.builder.root() };
        extent.record(&self.tiles.folder)?;
        self.tiles.extent = extent;
        Ok(())
    }

    pub(super) fn streams(&mut self) -> impl Iterator<Item = &mut Appender> {
        [&mut self.records, &mut self.offsets].into_iter().chain(&mut self.hashes)
    }
}
