//! Retention: old segments are given up whole, by age or by size. It is off unless asked for.
//!
//! Age is that of the newest receipt in a segment, never a time that a sender wrote. The live
//! segment is never given up.

use std::fs;
use std::time::Duration;

use super::StoreError;
use super::catalog::{Catalog, Segment};
use super::directory::{Directory, remove_database};
use crate::entry::Millis;

/// When segments are given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Once everything in them was received longer ago than this.
    pub age: Option<Duration>,
    /// While all of them together are larger than this many bytes, the oldest first.
    pub size: Option<u64>,
}

/// Gives up what is due, and returns the segments that are gone.
pub(super) fn prune(
    directory: &Directory,
    catalog: &mut Catalog,
    retention: Retention,
    now: Millis,
) -> Result<Vec<Segment>, StoreError> {
    if retention.age.is_none() && retention.size.is_none() {
        return Ok(Vec::new());
    }
    let segments = catalog.segments()?;
    let size = |segment: &Segment| size(directory, segment);
    let mut total: u64 = segments.iter().map(size).sum();
    let mut gone = Vec::new();
    for segment in segments.into_iter().filter(|segment| segment.closed.is_some()) {
        let too_large = retention.size.is_some_and(|limit| total > limit);
        if !too_large && !is_old(&segment, retention.age, now) {
            continue;
        }
        total = total.saturating_sub(size(&segment));
        // Marked first: from then on nobody opens it, and what is interrupted here is redone.
        catalog.drop_segment(segment.first_id)?;
        remove_database(&directory.segment(&segment.file))?;
        catalog.forget(segment.first_id)?;
        gone.push(segment);
    }
    Ok(gone)
}

fn is_old(segment: &Segment, age: Option<Duration>, now: Millis) -> bool {
    let newest = segment.closed.as_ref().and_then(|closed| closed.received_at);
    age.zip(newest).is_some_and(|(age, (_, newest))| {
        let since = u128::try_from(now.get().saturating_sub(newest)).unwrap_or(0);
        since > age.as_millis()
    })
}

/// The size of a segment on the disk, in bytes, its companions included.
pub(super) fn size(directory: &Directory, segment: &Segment) -> u64 {
    ["", "-wal"]
        .iter()
        .filter_map(|companion| {
            fs::metadata(directory.segment(&format!("{}{companion}", segment.file))).ok()
        })
        .map(|found| found.len())
        .sum()
}
