//! Compares what the catalog records as archived with what the archive has.
//!
//! Retention goes by the records, so one that the archive does not bear out is removed, or the archiver
//! stops. The files themselves are not read: `vidimus archive check` does that.

use std::collections::BTreeSet;

use crate::archive::error::ArchiveError;
use crate::archive::manifest::Manifest;
use crate::store::{Archived, Reader, Store};

/// Compares the records with the manifest of the archive at `place`, and returns the first ids of the
/// segments that are recorded there. If the archive has lost a segment that the store still has, its
/// record is removed, so that it is archived again. Records of earlier versions, which do not say where
/// the archive is, are completed if the manifest lists their segments.
///
/// # Errors
/// [`ArchiveError::Lost`] if the archive has lost segments that the store no longer has.
pub(super) fn compare(
    store: &Store,
    reader: &Reader,
    place: &str,
    manifest: &Manifest,
) -> Result<BTreeSet<u64>, ArchiveError> {
    let is_listed = |record: &Archived| {
        let listed = manifest.segments.get(&record.first_id);
        listed.is_some_and(|listed| listed.last_id == record.last_id)
    };
    let records = reader.archived()?;
    // Read after the records: what retention removes meanwhile is missed, and not taken for stored.
    let sealed = reader.sealed_segments()?;
    let stored: BTreeSet<u64> = sealed.into_iter().map(|segment| segment.first_id).collect();
    let (mut recorded, mut lost) = (BTreeSet::new(), Vec::new());
    for record in records {
        let (first_id, is_here) = (record.first_id, record.place == place);
        if is_here && is_listed(&record) {
            recorded.insert(first_id);
        } else if is_here && stored.contains(&first_id) {
            tracing::warn!(
                segment = first_id,
                "the archive has lost a segment: it is written again"
            );
            store.forget_archived(first_id)?;
        } else if is_here {
            lost.push((first_id, record.last_id));
        } else if record.place.is_empty() && is_listed(&record) {
            // What changed later may be archived elsewhere.
            let change = record.change.min(manifest.progress.change);
            store.record_archived(&Archived { change, place: place.to_owned(), ..record })?;
            recorded.insert(first_id);
        }
    }
    match lost.first() {
        None => Ok(recorded),
        Some(ids) => {
            Err(ArchiveError::Lost { url: place.to_owned(), segments: lost.len(), ids: *ids })
        }
    }
}
