//! Builds a data directory from the archive alone: a whole store, or the segments of a range of time.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::entry::ArchivedEntry;
use super::error::ArchiveError;
use super::manifest::{File, Manifest, Segment};
use super::place::Place;
use super::restore::{Item, Restored};
use crate::entry::Millis;
use crate::signature::Key;
use crate::store::{Rebuild, RebuiltSegment, RestoredEntry, TimeRange};

/// What was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rebuilt {
    pub(crate) segments: u64,
    pub(crate) entries: u64,
    pub(crate) deliveries: u64,
    /// Bodies that are in quarantine again.
    pub(crate) quarantine: u64,
    /// Entries that are recorded as valid and whose key the archive lacks, or does not verify them.
    pub(crate) unverified: u64,
}

/// Builds the data directory `to`, which must not be there, or be empty. With a range of time, the
/// segments are built that have an entry of that time, and the result takes no entries. `progress` is
/// called with the number of entries of each segment. If it fails, there is no `to`.
pub(crate) fn rebuild(
    place: &Place,
    store: &str,
    range: TimeRange,
    to: &Path,
    progress: &dyn Fn(u64),
) -> Result<Rebuilt, ArchiveError> {
    let manifest = place.manifest(store)?;
    let read = |file: &File| place.read_file(file);
    let restored = Restored::new(&manifest, &read);
    let is_part = range.since.is_some() || range.until.is_some();
    let segments = restored.segments(range.since, range.until);
    let mut build = Rebuild::begin(to, store, is_part)?;
    match fill(&mut build, &restored, &segments, is_part, progress) {
        Ok(quarantine) => {
            let built = build.finish()?;
            Ok(Rebuilt {
                segments: built.segments,
                entries: built.entries,
                deliveries: built.deliveries,
                quarantine,
                unverified: built.unverified,
            })
        }
        Err(why) => Err(build.give_up(why)),
    }
}

/// Fills a store. Returns the number of bodies in quarantine.
fn fill(
    build: &mut Rebuild,
    restored: &Restored<'_>,
    segments: &[&Segment],
    is_part: bool,
    progress: &dyn Fn(u64),
) -> Result<u64, ArchiveError> {
    let (manifest, keys) = (restored.manifest, restored.keys()?);
    build.keys_seen(&keys)?;
    let keys: HashMap<String, Key> =
        keys.into_iter().map(|one| (one.key.thumbprint().to_string(), one.key)).collect();
    // What is learned from here on must have higher numbers than what is archived.
    let reached = &manifest.progress;
    build.number_after(reached.change, reached.quarantine)?;
    if !is_part {
        build.journal(&manifest.journal())?;
    }
    let mut versions = restored.versions(segments);
    for segment in segments {
        let created_at = Millis::saturating(segment.created_at);
        let mut built = build.segment(segment.first_id, segment.first_delivery, created_at)?;
        restored.items(segment, &mut versions, |item| add(&mut built, manifest, item, &keys))?;
        built.finish()?;
        progress(segment.entries());
    }
    let mut quarantine = 0;
    if !is_part {
        let mut known = HashSet::new();
        restored.quarantine(|what, body| {
            if let Some(origin) = what.origin {
                // The journal brings it again. Or it did so before: a store that was rebuilt has
                // put it in quarantine under another number.
                let is_reached = manifest.reaches(origin.epoch, origin.number);
                if !is_reached || !known.insert(origin) {
                    return Ok(());
                }
            }
            quarantine += 1;
            build.quarantined(&what, body).map_err(ArchiveError::from)
        })?;
    }
    Ok(quarantine)
}

fn add(
    segment: &mut RebuiltSegment<'_>,
    manifest: &Manifest,
    item: Item,
    keys: &HashMap<String, Key>,
) -> Result<(), ArchiveError> {
    match item {
        Item::Delivery(mut delivery) => {
            // What is before it in the journal may be missing. If it were known where it stood, the store
            // would go on after it.
            delivery.origin = manifest.reached(delivery.origin);
            segment.delivery(&delivery)?;
        }
        Item::Entry(archived) => {
            let ArchivedEntry { entry, .. } = *archived;
            segment.entry(&RestoredEntry {
                record: &entry.record,
                event_time: entry.event_time,
                delivery: entry.delivery,
                key: entry.key.as_ref().and_then(|thumbprint| keys.get(thumbprint)),
                covers: entry.covers.as_deref(),
                hidden_by: entry.hidden_by,
            })?;
        }
        Item::Piece { entry, number, bytes } => segment.piece(entry, number, &bytes)?,
        Item::Spelling(one) => segment.spelling(one.entry, one.delivery, &one.line)?,
    }
    Ok(())
}
