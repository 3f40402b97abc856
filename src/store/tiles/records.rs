//! Compares records with those that the files of the log have.

use super::{FULL, Tiles};
use crate::store::error::StoreError;
use crate::tlog::tile::{self, Kind, TilePath};

/// The bytes that are read at a time.
const CHUNK: u64 = 1 << 20;

/// The records of the files, to be compared in order.
pub(in crate::store) struct RecordBytes<'a> {
    tiles: &'a Tiles,
    /// A leaf, and where its record begins in the stream.
    next: (u64, u64),
    /// Bytes of the stream, and where they begin.
    chunk: (u64, Vec<u8>),
}

impl<'a> RecordBytes<'a> {
    pub(in crate::store) fn new(tiles: &'a Tiles) -> RecordBytes<'a> {
        RecordBytes { tiles, next: (0, 0), chunk: (0, Vec::new()) }
    }

    /// Whether the files have these records, of `count` leaves from `first` on. `bundle` has them as an
    /// entry bundle does, and so does the stream.
    pub(in crate::store) fn are(
        &mut self,
        first: u64,
        count: u16,
        bundle: &[u8],
    ) -> Result<bool, StoreError> {
        let last = first.saturating_add(u64::from(count));
        if last > self.tiles.size() {
            return Ok(false);
        }
        let start = match self.next {
            (leaf, start) if leaf == first => start,
            _ => self.start_of(first)?,
        };
        let end = start + bundle.len() as u64;
        if end > self.tiles.extent.bytes {
            return Ok(false);
        }
        self.next = (last, end);
        Ok(self.read(start, end)? == bundle)
    }

    /// Where the record of a leaf begins in the stream.
    fn start_of(&self, leaf: u64) -> Result<u64, StoreError> {
        let (index, skipped) = (leaf / FULL, usize::try_from(leaf % FULL).unwrap_or(0));
        let start = self.tiles.offset(index)?;
        let Some(path) = TilePath::new(Kind::Entries, index, self.tiles.size()) else {
            return Ok(start);
        };
        let bundle = self.tiles.read(path)?;
        let records = tile::entries(&bundle, path.width())?;
        let before: usize = records.iter().take(skipped).map(|record| 2 + record.len()).sum();
        Ok(start + before as u64)
    }

    /// The bytes from `start` to `end`, which the stream has.
    fn read(&mut self, start: u64, end: u64) -> Result<&[u8], StoreError> {
        let (from, bytes) = &self.chunk;
        if start < *from || end > from + bytes.len() as u64 {
            let length = (end - start).max(CHUNK.min(self.tiles.extent.bytes - start));
            self.chunk = (start, self.tiles.records().read(start, length)?);
        }
        let (from, bytes) = &self.chunk;
        let at = |place: u64| usize::try_from(place - from).unwrap_or(usize::MAX);
        Ok(bytes.get(at(start)..at(end)).unwrap_or_default())
    }
}
