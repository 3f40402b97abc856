//! Deletes the files that an interrupted process left in the folder of the segments.
//!
//! A file that the catalog does not list is deleted only after it was read: it is empty, or the
//! file that the catalog lists has all its entries. If there is any other file, the store does not
//! open for writing.

use std::collections::BTreeSet;
use std::fs;

use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::directory::{Directory, remove_database};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::{contents, file_name};

/// Deletes the leftovers.
///
/// # Errors
/// [`StoreError::Unexplained`] if there is a file that may have entries that no other file has.
pub(in crate::store) fn tidy(directory: &Directory, catalog: &Catalog) -> Result<(), StoreError> {
    // Retention recorded the removal of these.
    for (first_id, file) in catalog.dropped()? {
        remove_database(&directory.segment(&file))?;
        catalog.forget(first_id)?;
    }
    let (found, segments) = (directory.databases()?, catalog.segments()?);
    let known: BTreeSet<_> = segments.iter().map(|segment| segment.file.as_str()).collect();
    let mut unexplained = Vec::new();
    for name in found.iter().filter(|name| !known.contains(name.as_str())) {
        let path = directory.segment(name);
        match is_left_over(directory, catalog, &segments, name) {
            Ok(true) => {
                remove_database(&path)?;
                tracing::info!(file = %path.display(), "removed what an interrupted process left");
            }
            Ok(false) => unexplained.push(name.clone()),
            Err(error) => {
                tracing::warn!(%error, "a file that the catalog does not name cannot be read");
                unexplained.push(name.clone());
            }
        }
    }
    for segment in segments.iter().filter(|segment| !found.contains(&segment.file)) {
        tracing::error!(
            file = %directory.segment(&segment.file).display(),
            "a segment is missing: bring the file back, or run `vidimus store repair`"
        );
    }
    match unexplained.is_empty() {
        true => Ok(()),
        false => Err(StoreError::Unexplained { folder: directory.segments(), files: unexplained }),
    }
}

/// Whether another file has everything that a file has.
fn is_left_over(
    directory: &Directory,
    catalog: &Catalog,
    segments: &[Segment],
    name: &str,
) -> Result<bool, StoreError> {
    let path = directory.segment(name);
    let segment = segments.iter().find(|one| Some(one.first_id) == file_name::first_id(name));
    if !path.exists() {
        // A file that was being deleted: its companions are deleted last.
        let bytes = |companion| {
            let path = directory.segment(&format!("{name}{companion}"));
            fs::metadata(path).map_or(0, |found| found.len())
        };
        if bytes("-wal") == 0 && bytes("-journal") == 0 {
            return Ok(true);
        }
        let Some(segment) = segment else { return Ok(false) };
        return is_whole(directory, segment);
    }
    if file_name::is_temporary(name) {
        // It was being created from the file of the segment, and may be incomplete.
        let Some(segment) = segment else { return Ok(false) };
        return is_whole(directory, segment);
    }
    if contents::is_empty(&path)? {
        return Ok(true);
    }
    let Some(segment) = segment else { return Ok(false) };
    // A new file that was never listed has leaves that the old one has in the catalog.
    let backfills = catalog.overlay().backfills(&(segment.first_id..=segment.end()));
    let backfills = backfills.doing("read the leaves of earlier entries", catalog.path())?;
    contents::has_all_with(&directory.segment(&segment.file), &path, &backfills)
}

/// Whether the file that the catalog lists for a segment has all its entries.
fn is_whole(directory: &Directory, segment: &Segment) -> Result<bool, StoreError> {
    let path = directory.segment(&segment.file);
    let Some(closed) = &segment.closed else { return Ok(false) };
    if !path.exists() || !contents::is_dense(&path, segment.first_id, closed.last_id)? {
        return Ok(false);
    }
    match &segment.sealed {
        Some(sealed) => Ok(contents::hash(&path)? == *sealed),
        None => Ok(true),
    }
}
