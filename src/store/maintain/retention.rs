//! Retention: deletes old segments, by age or by size. It is off by default.
//!
//! The age of a segment is the time from when its newest delivery was stored to when the newest
//! delivery of the store was. So neither the times in entries, nor what a receiver claims, nor a clock
//! that was set ahead make a segment old. The live segment is never deleted. The leaves of a segment must
//! be in the files of the log first. Where there is an archive, the segment may have to be there too.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::directory::{Directory, remove_database};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::options::Retention;
use crate::store::read::Reader;
use crate::store::segment::{contents, leaves, origins};
use crate::store::tiles::Tiles;

/// A segment to delete.
#[derive(Clone, Debug, Serialize)]
pub struct Pruned {
    /// The id of its first entry.
    pub first_id: u64,
    /// The id of its last entry.
    pub last_id: u64,
    /// Its file in the folder of the segments.
    pub file: String,
    /// Its size on the disk, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the file in hexadecimal, if it is sealed.
    pub sha256: Option<String>,
}

/// What retention finds.
#[derive(Debug, Default)]
pub(in crate::store) struct Due {
    /// The segments to delete, oldest first.
    pub(in crate::store) segments: Vec<Segment>,
    /// The segments that would be deleted and are kept, by their first ids.
    pub(in crate::store) held: BTreeMap<u64, Hold>,
}

/// Why a segment is kept that would be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Hold {
    /// It is not in the archive.
    Archive,
    /// It has leaves that the files of the log do not have.
    Log,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hold::Archive => "is not in the archive yet",
            Hold::Log => "has leaves that the files of the log do not have yet",
        })
    }
}

/// Finds the segments to delete. With the place of an archive, only those that are recorded there. Then
/// no newer segment is deleted for the size before an older one.
pub(in crate::store) fn due(
    directory: &Directory,
    catalog: &Catalog,
    retention: Retention,
    archive: Option<&str>,
    now: Millis,
) -> Result<Due, StoreError> {
    let segments = catalog.segments()?;
    let mut total: u64 = segments.iter().map(|segment| segment.bytes(directory)).sum();
    let mut due = Due::default();
    for segment in segments.into_iter().filter(|segment| segment.closed.is_some()) {
        let too_large = due.held.is_empty() && retention.size.is_some_and(|limit| total > limit);
        if too_large || is_old(&segment, retention.age, now) {
            if let Some(place) = archive
                && !catalog.is_archived(&segment, place)?
            {
                due.held.insert(segment.first_id, Hold::Archive);
                continue;
            }
            total = total.saturating_sub(segment.bytes(directory));
            due.segments.push(segment);
        }
    }
    Ok(due)
}

impl Pruned {
    pub(in crate::store) fn of(directory: &Directory, segment: Segment) -> Pruned {
        Pruned {
            first_id: segment.first_id,
            last_id: segment.closed.as_ref().map_or(segment.first_id, |closed| closed.last_id),
            bytes: segment.bytes(directory),
            sha256: segment.sealed.map(|(_, sha256)| sha256),
            file: segment.file,
        }
    }
}

impl Reader {
    /// The segments that `retention` would delete now, oldest first.
    pub fn prunable(&self, retention: Retention) -> Result<Vec<Pruned>, StoreError> {
        let due =
            self.catalog(|catalog| due(self.directory(), catalog, retention, None, clock::now()))?;
        Ok(due.segments.into_iter().map(|segment| Pruned::of(self.directory(), segment)).collect())
    }
}

/// Deletes the segments that are due, and returns what it found.
pub(in crate::store) fn prune(
    directory: &Directory,
    catalog: &Catalog,
    retention: Retention,
    archive: Option<&str>,
    reason: &str,
    now: Millis,
) -> Result<Due, StoreError> {
    if retention.age.is_none() && retention.size.is_none() {
        return Ok(Due::default());
    }
    let mut due = due(directory, catalog, retention, archive, now)?;
    // If the number of leaves cannot be read, none are known to be there.
    let logged = Tiles::open(directory).map_or(0, |tiles| tiles.size());
    let is_logged = |segment: &Segment| next_leaf(directory, segment) <= logged;
    // A newer segment is not deleted before an older one.
    let count = due.segments.iter().take_while(|segment| is_logged(segment)).count();
    for held in due.segments.split_off(count) {
        due.held.insert(held.first_id, Hold::Log);
    }
    for segment in &due.segments {
        // Recorded first: nobody opens it from then on, and an interrupted deletion is resumed.
        catalog.drop_segment(segment, reason, now)?;
        remove_database(&directory.segment(&segment.file))?;
        catalog.forget(segment.first_id)?;
    }
    Ok(due)
}

/// The leaf after those of a segment. A file that cannot be read has none to keep.
fn next_leaf(directory: &Directory, segment: &Segment) -> u64 {
    segment.open(directory).map_or(0, |file| leaves::next(&file).unwrap_or(0))
}

fn is_old(segment: &Segment, age: Option<Duration>, now: Millis) -> bool {
    let newest = segment.closed.as_ref().and_then(|closed| closed.stored_at);
    age.zip(newest).is_some_and(|(age, (_, newest))| {
        let since = u128::try_from(now.get().saturating_sub(newest)).unwrap_or(0);
        since > age.as_millis()
    })
}

/// When the newest delivery was stored.
pub(in crate::store) fn newest_stored(
    directory: &Directory,
    catalog: &Catalog,
) -> Result<Option<Millis>, StoreError> {
    let mut newest = None;
    for segment in catalog.segments()? {
        newest = newest.max(match &segment.closed {
            Some(closed) => closed.stored_at.map(|(_, newest)| newest),
            None => {
                let path = directory.segment(&segment.file);
                let live = contents::open(&path)?;
                let stored_at = origins::stored_at(&live, live.version()).doing("read", &path)?;
                stored_at.map(|(_, newest)| newest)
            }
        });
    }
    Ok(newest.map(Millis::saturating))
}
