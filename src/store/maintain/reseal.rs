//! Rewrites sealed segments of earlier versions in the newest one.
//!
//! One segment is written at a time, by the steps of sealing. If it is interrupted, the segments that
//! are new already are skipped the next time.

use serde::{Deserialize, Serialize};

use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::maintain::seal;
use crate::store::segment::{contents, packed};

/// A segment that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resealed {
    /// The id of its first entry.
    pub first_id: u64,
    /// Its size before and now, in bytes; or why it could not be rewritten.
    pub result: Result<(u64, u64), String>,
    /// The number of sealed segments before it, and after it.
    pub place: (usize, usize),
}

/// Rewrites the first segment of an earlier version that begins after the id `after`. `None`
/// if there is no such segment.
pub(in crate::store) fn next(
    directory: &Directory,
    catalog: &Catalog,
    after: u64,
    switched: &dyn Fn(),
) -> Result<Option<Resealed>, StoreError> {
    let mut segments = catalog.segments()?;
    segments.retain(|one| one.is_sealed());
    for (at, segment) in segments.iter().enumerate().filter(|(_, one)| one.first_id > after) {
        let write = || match segment.open(directory)?.version() {
            packed::VERSION => Ok(None),
            _ if is_changed(directory, segment)? => {
                Err(StoreError::Changed(directory.segment(&segment.file)))
            }
            _ => {
                let before = segment.bytes(directory);
                seal::seal(directory, catalog, segment, switched)?;
                let now = catalog.segment(segment.first_id)?;
                Ok(Some((before, now.map_or(0, |now| now.bytes(directory)))))
            }
        };
        let result = match write() {
            Ok(None) => continue,
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) if seal::is_of_segment(&error) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        let place = (at, segments.len() - at - 1);
        return Ok(Some(Resealed { first_id: segment.first_id, result, place }));
    }
    Ok(None)
}

/// Whether the bytes of a sealed file are not those that were recorded. Rewriting it would hide that.
fn is_changed(directory: &Directory, segment: &Segment) -> Result<bool, StoreError> {
    let found = contents::hash(&directory.segment(&segment.file))?;
    Ok(segment.sealed.as_ref().is_some_and(|recorded| *recorded != found))
}
