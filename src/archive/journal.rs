//! How much of a journal an archive has, so that a rebuilt store reads what is missing.
//!
//! A rebuilt store goes on in each epoch where the archive ends. So the archive says of each epoch up to
//! which number everything is archived, deliveries and bodies in quarantine alike. What it has above that
//! number may lack some in between: the rebuilt store forgets where it stood, and reads it again from the
//! journal. The store publishes no more to the journal than that, so prune leaves it. The format is
//! defined in docs/archive.md.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::manifest::Manifest;
use super::segment::Work;
use crate::entry::Millis;
use crate::store::{EpochCursor, EpochEnd, JournalState, Origin, Positions, Skip};

/// An epoch that has ended, and of which everything is archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) epoch: u64,
    /// The number of the seal.
    pub(crate) number: u64,
    /// When the store found it, in milliseconds since the epoch.
    pub(crate) found_at: i64,
}

/// An object that the store gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    /// In milliseconds since the epoch.
    pub(crate) skipped_at: i64,
    pub(crate) reason: String,
    /// The size and the SHA-256 of the object, if it was there.
    pub(crate) bytes: Option<u64>,
    pub(crate) sha256: Option<String>,
}

impl From<&EpochEnd> for End {
    fn from(end: &EpochEnd) -> End {
        End { epoch: end.epoch, number: end.number, found_at: end.found_at.get() }
    }
}

impl From<&End> for EpochEnd {
    fn from(end: &End) -> EpochEnd {
        let found_at = Millis::saturating(end.found_at);
        EpochEnd { epoch: end.epoch, number: end.number, found_at }
    }
}

impl From<&Skip> for Skipped {
    fn from(skip: &Skip) -> Skipped {
        Skipped {
            epoch: skip.epoch,
            number: skip.number,
            skipped_at: skip.skipped_at.get(),
            reason: skip.reason.clone(),
            bytes: skip.bytes,
            sha256: skip.sha256.clone(),
        }
    }
}

impl From<&Skipped> for Skip {
    fn from(skipped: &Skipped) -> Skip {
        Skip {
            epoch: skipped.epoch,
            number: skipped.number,
            skipped_at: Millis::saturating(skipped.skipped_at),
            reason: skipped.reason.clone(),
            // The copy is not archived.
            file: None,
            bytes: skipped.bytes,
            sha256: skipped.sha256.clone(),
        }
    }
}

impl Manifest {
    /// Whether everything of an epoch up to this number is archived.
    pub(crate) fn reaches(&self, epoch: u64, number: u64) -> bool {
        let reached = self.progress.journal.get(&epoch);
        self.ends.contains_key(&epoch) || reached.is_some_and(|reached| number <= *reached)
    }

    /// What a rebuilt store has of the journal.
    pub(crate) fn journal(&self) -> JournalState {
        let last = |(epoch, number): (&u64, &u64)| EpochCursor {
            epoch: *epoch,
            number: *number,
            positions: Positions::default(),
            skipped: self.skips.iter().any(|skip| (skip.epoch, skip.number) == (*epoch, *number)),
        };
        JournalState {
            cursors: self.progress.journal.iter().map(last).collect(),
            ends: self.ends.values().map(EpochEnd::from).collect(),
            skips: self.skips.iter().map(Skip::from).collect(),
        }
    }

    /// The origin of something, if everything of its epoch up to it is archived.
    pub(crate) fn reached(&self, origin: Option<Origin>) -> Option<Origin> {
        origin.filter(|origin| self.reaches(origin.epoch, origin.number))
    }
}

/// Archives how far the journal is archived. Returns whether that changed. `before` is what was
/// read of the journal before the sealed segments were listed; all bodies that were in quarantine
/// then are archived.
pub(super) fn archive(
    work: &Work<'_>,
    manifest: &mut Manifest,
    before: &JournalState,
    now: Millis,
) -> Result<bool, ArchiveError> {
    let is_archived = |first_id| manifest.segments.contains_key(&first_id);
    let extent = work.reader.journal_extent(&is_archived)?;
    // Of other epochs, the segments that are not archived have nothing.
    let is_whole = |epoch: u64| !extent.later.contains(&epoch);
    let mut delta = manifest.begin(now.get());
    let ends = before.ends.iter();
    delta.ends = ends
        .filter(|end| is_whole(end.epoch) && !manifest.ends.contains_key(&end.epoch))
        .map(End::from)
        .collect();
    let whole = before.cursors.iter().filter(|cursor| is_whole(cursor.epoch));
    let reached = whole.map(|cursor| (cursor.epoch, cursor.number));
    for (epoch, number) in reached.chain(extent.archived) {
        let known = delta.progress.journal.entry(epoch).or_default();
        *known = number.max(*known);
    }
    let ended: BTreeSet<u64> = delta.ends.iter().map(|end| end.epoch).collect();
    let is_open = |epoch: &u64| !manifest.ends.contains_key(epoch) && !ended.contains(epoch);
    delta.progress.journal.retain(|epoch, _| is_open(epoch));
    let is_reached = |skip: &&Skip| {
        let reached = delta.progress.journal.get(&skip.epoch);
        !is_open(&skip.epoch) || reached.is_some_and(|reached| skip.number <= *reached)
    };
    let is_new = |skip: &Skipped| !manifest.skips.contains(skip);
    delta.skips =
        before.skips.iter().filter(is_reached).map(Skipped::from).filter(is_new).collect();
    if delta.progress == manifest.progress && delta.ends.is_empty() && delta.skips.is_empty() {
        return Ok(false);
    }
    work.place.add(manifest, &delta)?;
    Ok(true)
}
