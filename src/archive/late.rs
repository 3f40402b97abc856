//! Archives what is learned outside of segments: late verdicts, keys and the quarantine.

use std::collections::{BTreeMap, BTreeSet};

use ring::digest;

use super::entry::as_row;
use super::error::ArchiveError;
use super::layout::{Day, Table};
use super::manifest::Manifest;
use super::parts::{Home, Parts};
use super::rows::Cell;
use super::segment::{Work, origin_cells, stored_at};
use crate::entry::Millis;
use crate::objects::MAX_OBJECT;
use crate::store::Sighting;

/// The changes that go into one delta.
const CHANGES: u64 = if cfg!(test) { 10 } else { 20_000 };

/// The entries that are read together. The line of each may have 16 MiB.
const ENTRIES: usize = 16;

/// The bodies that go into one delta, in bytes: one more than that.
const BODIES: u64 = 64 << 20;

/// The largest body that is archived, in bytes: a file with it must be readable as a whole.
const LARGEST_BODY: u64 = MAX_OBJECT as u64 / 2;

/// The most bodies that leave the quarantine in one delta.
const RELEASED: usize = 10_000;

/// The bodies that left the quarantine, each with the newest delivery of that time.
pub(super) type Leaving = BTreeMap<u64, u64>;

/// Archives the changes of entries that are in the archive. Those of other entries are archived with
/// their segments.
pub(super) fn verdicts(
    work: &Work<'_>,
    manifest: &mut Manifest,
    now: Millis,
) -> Result<(), ArchiveError> {
    loop {
        work.pace.rest()?;
        let changes = work.reader.changes_after(manifest.progress.change, CHANGES)?;
        let Some((last, _)) = changes.last().copied() else { return Ok(()) };
        // By segment, the newest change of each entry.
        let mut by_segment: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
        for (change, entry) in changes {
            let segment = manifest.segments.range(..=entry).next_back();
            if let Some((first_id, segment)) = segment
                && segment.last_id >= entry
            {
                by_segment.entry(*first_id).or_default().insert(entry, change);
            }
        }
        if by_segment.is_empty() {
            // It is written with the next delta.
            manifest.progress.change = last;
            continue;
        }
        let mut delta = manifest.begin(now.get());
        let home = Home::Delta(delta.number);
        let mut parts = Parts::new(work.place, &manifest.store, Table::Verdicts, home, last);
        for (first_id, changed) in by_segment {
            let ids: Vec<u64> = changed.keys().copied().collect();
            for ids in ids.chunks(ENTRIES) {
                write_versions(work, first_id, ids, &changed, now, &mut parts)?;
            }
        }
        delta.files = parts.finish()?.0;
        delta.progress.change = last;
        work.place.add(manifest, &delta)?;
    }
}

/// Writes the entries with these ids as they are now.
fn write_versions(
    work: &Work<'_>,
    first_id: u64,
    ids: &[u64],
    changes: &BTreeMap<u64, u64>,
    now: Millis,
    parts: &mut Parts<'_>,
) -> Result<(), ArchiveError> {
    work.pace.rest()?;
    // Retention may have removed the segment.
    let Some(entries) = work.reader.whole_entries(first_id, ids)? else { return Ok(()) };
    let mut at = (0, Millis::MIN);
    for id in ids {
        let (Some(entry), Some(change)) = (entries.get(id), changes.get(id)) else { continue };
        if at.0 != entry.delivery {
            let before = entry.delivery.saturating_sub(1);
            let found = work.reader.deliveries_after(first_id, before, 1)?.unwrap_or_default();
            let found = found.first().filter(|found| found.id == entry.delivery);
            at = (entry.delivery, found.map_or(Millis::MIN, stored_at));
        }
        // The files are not by day.
        let day = Day::of(0);
        as_row(entry, at.1, Some((*change, now)), |row| parts.push(day, row))?;
    }
    Ok(())
}

/// Archives the keys, if there are others than before, and once a day.
pub(super) fn keys(
    work: &Work<'_>,
    manifest: &mut Manifest,
    now: Millis,
) -> Result<(), ArchiveError> {
    let (sightings, _) = work.reader.keys()?;
    let hash = hash(&sightings);
    if sightings.is_empty() || manifest.progress.keys.as_ref() == Some(&hash) {
        return Ok(());
    }
    let mut delta = manifest.begin(now.get());
    let (home, change) = (Home::Delta(delta.number), manifest.progress.change);
    let mut parts = Parts::new(work.place, &manifest.store, Table::Keys, home, change);
    for one in &sightings {
        let thumbprint = one.key.thumbprint().to_string();
        let row = [
            Cell::text(&one.source),
            Cell::text(&thumbprint),
            Cell::text(one.key.kid()),
            Cell::Bytes(one.key.public()),
            one.first_seen.into(),
            one.last_seen.into(),
        ];
        parts.push(Day::of(0), &row)?;
    }
    delta.files = parts.finish()?.0;
    delta.progress.keys = Some(hash);
    work.place.add(manifest, &delta)
}

/// The hash of keys and of the day on which the last was seen.
fn hash(sightings: &[Sighting]) -> String {
    let mut text = String::new();
    for one in sightings {
        text += &format!("{:?}\n", (&one.source, one.key.thumbprint().to_string(), one.key.kid()));
    }
    let last = sightings.iter().map(|one| one.last_seen.get()).max().unwrap_or(0);
    text += &Day::of(last).to_string();
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    data_encoding::HEXLOWER.encode(digest.as_ref())
}

/// Archives the bodies in quarantine, and which of them left it.
pub(super) fn quarantine(
    work: &Work<'_>,
    manifest: &mut Manifest,
    leaving: &mut Leaving,
    now: Millis,
) -> Result<(), ArchiveError> {
    while some_quarantine(work, manifest, leaving, now)? {}
    Ok(())
}

/// Those of these bodies that a rebuilt store need not have: they were dropped, or the deliveries that
/// were made of them are archived.
fn released(
    work: &Work<'_>,
    manifest: &Manifest,
    leaving: &mut Leaving,
    left: Vec<u64>,
) -> Result<Vec<u64>, ArchiveError> {
    if left.is_empty() {
        leaving.clear();
        return Ok(Vec::new());
    }
    let dropped = work.reader.dropped()?;
    let newest = work.reader.deliveries(None, 1)?.first().map_or(0, |delivery| delivery.id);
    let is_archived = |first_id| manifest.segments.contains_key(&first_id);
    let first_missing = work.reader.first_delivery_without(&is_archived)?;
    let is_archived = |id: &u64| {
        dropped.contains(id)
            || first_missing.is_none_or(|first| *leaving.entry(*id).or_insert(newest) < first)
    };
    let released: Vec<u64> = left.into_iter().filter(is_archived).collect();
    leaving.retain(|id, _| !released.contains(id));
    Ok(released)
}

/// Archives some of the bodies in quarantine. Returns whether there may be more.
fn some_quarantine(
    work: &Work<'_>,
    manifest: &mut Manifest,
    leaving: &mut Leaving,
    now: Millis,
) -> Result<bool, ArchiveError> {
    let all = work.reader.quarantine()?;
    let present: BTreeSet<u64> = all.iter().map(|one| one.id).collect();
    let known = manifest.progress.quarantine;
    let mut delta = manifest.begin(now.get());
    let has_left = |id: &u64| !present.contains(id) && !manifest.released.contains(id);
    // What the manifest says is anybody's.
    let left: Vec<u64> =
        (1..=known.min(work.reader.last_quarantined()?)).filter(has_left).take(RELEASED).collect();
    delta.released = released(work, manifest, leaving, left)?;
    let (home, change) = (Home::Delta(delta.number), manifest.progress.change);
    let mut parts = Parts::new(work.place, &manifest.store, Table::Quarantine, home, change);
    let mut bytes = 0;
    for one in all.iter().filter(|one| one.id > known) {
        work.pace.rest()?;
        if bytes > BODIES {
            break;
        }
        delta.progress.quarantine = one.id;
        if one.bytes > LARGEST_BODY {
            tracing::warn!(
                id = one.id,
                bytes = one.bytes,
                "a body in quarantine is too large for the archive"
            );
            continue;
        }
        bytes += one.bytes;
        // It may have left the quarantine meanwhile: then the next delta says so.
        if let Ok((what, body)) = work.reader.quarantined(one.id) {
            let [epoch, number, position] = origin_cells(what.origin);
            let row = [
                what.id.into(),
                what.received_at.into(),
                Cell::text(&what.input),
                Cell::text(&what.peer),
                Cell::Integer(what.status.into()),
                Cell::text(&what.reason),
                what.content_encoding.as_ref().into(),
                Cell::Bytes(&body),
                epoch,
                number,
                position,
            ];
            parts.push(Day::of(0), &row)?;
        }
    }
    delta.files = parts.finish()?.0;
    if delta.progress.quarantine == known && delta.released.is_empty() {
        return Ok(false);
    }
    work.place.add(manifest, &delta)?;
    Ok(bytes > BODIES)
}
