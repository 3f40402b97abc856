//! The folder of the segments, beside what the catalog says of it.
//!
//! A file that the catalog does not name is taken for what an interrupted process left only if that
//! is seen by reading it: it is empty, or all that it holds stands in the file that the catalog names.
//! Any other is not explained, and the store does not open for writing until it is.

use std::collections::BTreeSet;
use std::fs;

use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::directory::{Directory, remove_database};
use crate::store::error::StoreError;
use crate::store::segment::{contents, file_name};

/// Removes what an interrupted process left.
///
/// # Errors
/// [`StoreError::Unexplained`] if there is a file that is not known to be such.
pub(in crate::store) fn tidy(directory: &Directory, catalog: &Catalog) -> Result<(), StoreError> {
    // Retention wrote down that it removes these.
    for (first_id, file) in catalog.dropped()? {
        remove_database(&directory.segment(&file))?;
        catalog.forget(first_id)?;
    }
    let (found, segments) = (directory.databases()?, catalog.segments()?);
    let known: BTreeSet<_> = segments.iter().map(|segment| segment.file.as_str()).collect();
    let mut unexplained = Vec::new();
    for name in found.iter().filter(|name| !known.contains(name.as_str())) {
        let path = directory.segment(name);
        match is_left_over(directory, &segments, name) {
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

/// Whether all that a file holds is seen elsewhere.
fn is_left_over(
    directory: &Directory,
    segments: &[Segment],
    name: &str,
) -> Result<bool, StoreError> {
    let path = directory.segment(name);
    let segment = segments.iter().find(|one| Some(one.first_id) == file_name::first_id(name));
    if !path.exists() {
        // What stays of a file that was being removed: its companions go last.
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
        // It was being made from the segment's file, and may be cut off anywhere.
        let Some(segment) = segment else { return Ok(false) };
        return is_whole(directory, segment);
    }
    if contents::is_empty(&path)? {
        return Ok(true);
    }
    let Some(segment) = segment else { return Ok(false) };
    contents::has_all(&directory.segment(&segment.file), &path)
}

/// Whether the file that the catalog names for a segment has every entry of it.
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
