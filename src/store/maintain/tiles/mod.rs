//! Derives the files of the log from the leaves that are committed in the segments.
//!
//! The records of leaves are in the unsealed segments, and in a sealed one only if the files lacked them
//! when it was sealed. They are read in slices, so that no snapshot is held for long and the memory is
//! bounded. The same leaves always make the same files.

use std::sync::{Mutex, PoisonError};

use crate::store::catalog::Catalog;
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::segment::leaves::{self, Records};
use crate::store::tiles::TileWriter;
use crate::tlog::tile;

/// Writes the files of the log.
#[derive(Debug)]
pub(in crate::store) struct TileDeriver {
    directory: Directory,
    /// Held by the one thread that writes.
    turn: Mutex<()>,
}

impl TileDeriver {
    /// Derives the files of the store in `directory`, to which this process alone writes.
    pub(in crate::store) fn new(directory: &Directory) -> TileDeriver {
        TileDeriver { directory: directory.clone(), turn: Mutex::new(()) }
    }

    /// Writes the files for all leaves that are committed, and syncs them. Returns the number of leaves
    /// that the files have.
    ///
    /// # Errors
    /// [`StoreError::LeavesMissing`] if leaves are neither in the files nor in a segment.
    pub(in crate::store) fn write(&self) -> Result<u64, StoreError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = Reader::open_to_follow(&self.directory)?;
        let mut writer = TileWriter::open(&self.directory)?;
        for first_id in segments_from(&reader, writer.next_leaf())? {
            loop {
                let from = writer.next_leaf();
                let read = |segment: &_| leaves::records(segment, from, leaves::SLICE);
                let found = reader.read_segment(first_id, read)?.unwrap_or_default();
                if found.is_empty() {
                    break;
                }
                found.iter().try_for_each(|records| add(&mut writer, records))?;
            }
        }
        writer.finish()
    }

    /// Writes the files if that can be done, before segments are sealed or deleted. A sealed one keeps the
    /// records that the files do not have, and one whose leaves they do not have is not deleted.
    pub(in crate::store) fn write_before_removal(&self) {
        if let Err(error) = self.write() {
            tracing::error!(%error, "the files of the log cannot be written");
        }
    }
}

/// The segments that may have leaves from `leaf` on, oldest first, by their first ids.
fn segments_from(reader: &Reader, leaf: u64) -> Result<Vec<u64>, StoreError> {
    let mut wanted = Vec::new();
    for segment in reader.catalog(Catalog::segments)?.iter().rev() {
        wanted.push(segment.first_id);
        // Leaves rise with the segments, and the oldest have none. `None` alone: retention deleted it.
        let first = reader.read_segment(segment.first_id, leaves::first)?;
        if first.is_some_and(|first| first.is_none_or(|first| first <= leaf)) {
            break;
        }
    }
    wanted.reverse();
    Ok(wanted)
}

/// Adds records, without those that the files have.
///
/// # Errors
/// [`StoreError::LeavesMissing`] if there are leaves between.
fn add(writer: &mut TileWriter, records: &Records) -> Result<(), StoreError> {
    let next = writer.next_leaf();
    if records.first > next {
        return Err(StoreError::LeavesMissing { first: next, last: records.first - 1 });
    }
    let known = usize::try_from(next - records.first).unwrap_or(usize::MAX);
    let entries = tile::entries(&records.bundle, records.count)?;
    entries.into_iter().skip(known).try_for_each(|record| writer.add(record))
}

#[cfg(test)]
mod tests;
