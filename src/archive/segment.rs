//! Archives a sealed segment: its entries with their long lines, its spellings and its deliveries.
//!
//! A segment is never held. Entries are read by their times, a few at a time.

use std::collections::HashMap;

use super::decode::Decoder;
use super::entry::as_row;
use super::error::ArchiveError;
use super::layout::{Day, Table};
use super::manifest::{File, Manifest, Segment};
use super::pace::Pace;
use super::parts::{Home, Parts};
use super::place::Place;
use super::rows::Cell;
use crate::entry::Millis;
use crate::ingest::Fingerprint;
use crate::store::{EntryPlace, Origin, Reader, SealedSegment, StoredDelivery};

/// The entries, and the bytes of their lines, that are read together.
const ENTRIES: usize = if cfg!(test) { 7 } else { 1000 };
const LINES: u64 = 4 << 20;

/// The deliveries and the spellings that are read together. A spelling may have 16 MiB.
const DELIVERIES: usize = 10_000;
const SPELLINGS: usize = 4;

/// What archives a store.
pub(super) struct Work<'a> {
    pub(super) reader: &'a Reader,
    pub(super) place: &'a Place,
    pub(super) pace: &'a Pace,
}

/// When a delivery was stored. Early versions of a segment only have when it was received.
pub(super) fn stored_at(delivery: &StoredDelivery) -> Millis {
    delivery.stored_at.unwrap_or(delivery.received_at)
}

/// Where something stood in a journal, as the columns `epoch`, `number` and `position`.
pub(super) fn origin_cells(origin: Option<Origin>) -> [Cell<'static>; 3] {
    [
        origin.map(|origin| origin.epoch).into(),
        origin.map(|origin| origin.number).into(),
        origin.map(|origin| u64::from(origin.position)).into(),
    ]
}

/// Archives a segment: writes its files and the delta, and adds it to the manifest. Returns the
/// number of the last change of a verdict that its files have; `None` if the segment no longer exists.
pub(super) fn archive(
    work: &Work<'_>,
    manifest: &mut Manifest,
    segment: &SealedSegment,
    now: Millis,
) -> Result<Option<u64>, ArchiveError> {
    // What changes from here on is archived as a late verdict.
    let change = work.reader.last_change()?;
    let Some((files, change)) = files(work, &manifest.store, segment, change)? else {
        return Ok(None);
    };
    let mut delta = manifest.begin(now.get());
    delta.segment = Some(Segment {
        first_id: segment.first_id,
        last_id: segment.last_id,
        first_delivery: segment.first_delivery,
        last_delivery: segment.last_delivery,
        created_at: segment.created_at.get(),
        sha256: segment.sha256.clone(),
    });
    delta.files = files;
    delta.gaps = gaps(work, manifest, segment)?;
    // A file that an earlier run left has older verdicts: what changed since is archived again.
    delta.progress.change = delta.progress.change.min(change);
    work.place.add(manifest, &delta)?;
    Ok(Some(change))
}

/// Reads the files of an archived segment back, and compares the entries with those of the store.
/// Returns whether they have the same lines; `None` if the segment no longer exists.
pub(super) fn read_back(
    work: &Work<'_>,
    manifest: &Manifest,
    segment: &SealedSegment,
) -> Result<Option<bool>, ArchiveError> {
    let mut archived: HashMap<u64, Fingerprint> = HashMap::new();
    for file in manifest.files.iter().filter(|file| file.segment == Some(segment.first_id)) {
        work.pace.rest()?;
        let body = work.place.read_file(file)?;
        if file.table() != Some(Table::Entries) {
            continue;
        }
        let decoder = Decoder::new(&file.key, Table::Entries, body)?;
        for group in 0..decoder.groups() {
            let rows = decoder.group(group, Some(&["id", "line"]))?;
            for row in 0..rows.len() {
                let line = rows.get(row, "line").bytes().unwrap_or_default();
                let id = rows.get(row, "id").unsigned().unwrap_or(0);
                archived.insert(id, Fingerprint::of(line));
            }
        }
    }
    let Some(places) = work.reader.entry_places(segment.first_id)? else { return Ok(None) };
    let mut rest = places.as_slice();
    while !rest.is_empty() {
        work.pace.rest()?;
        let (together, later) = rest.split_at(count_together(rest));
        rest = later;
        let ids: Vec<u64> = together.iter().map(|place| place.id).collect();
        let read = work.reader.whole_entries(segment.first_id, &ids)?;
        let Some(read) = read else { return Ok(None) };
        for (id, entry) in read {
            if archived.remove(&id) != Some(Fingerprint::of(&entry.record.raw)) {
                return Ok(Some(false));
            }
        }
    }
    Ok(Some(archived.is_empty()))
}

/// The ranges of ids between the segment before and this one that no segment has.
fn gaps(
    work: &Work<'_>,
    manifest: &Manifest,
    segment: &SealedSegment,
) -> Result<Vec<(u64, u64)>, ArchiveError> {
    let before = manifest.segments.range(..segment.first_id).next_back();
    let from = before.map_or(0, |(_, before)| before.last_id);
    let is_between = |gone: &(u64, u64)| gone.0 > from && gone.1 < segment.first_id;
    let gone = work.reader.gone()?.into_iter().filter(is_between);
    Ok(gone.filter(|gone| !manifest.gaps.contains(gone)).collect())
}

/// Writes the files of a segment. `None` if it no longer exists.
fn files(
    work: &Work<'_>,
    store: &str,
    segment: &SealedSegment,
    change: u64,
) -> Result<Option<(Vec<File>, u64)>, ArchiveError> {
    let first_id = segment.first_id;
    let parts = |table| Parts::new(work.place, store, table, Home::Segment(first_id), change);
    let mut deliveries = parts(Table::Deliveries);
    let Some(stored) = write_deliveries(work, first_id, &mut deliveries)? else { return Ok(None) };
    let stored_at = |delivery: u64| {
        let found = stored.binary_search_by_key(&delivery, |(id, _)| *id);
        let found = found.ok().and_then(|at| stored.get(at));
        // In a damaged segment the delivery may be missing.
        found.map_or(segment.created_at, |(_, stored_at)| *stored_at)
    };
    let Some(mut places) = work.reader.entry_places(first_id)? else { return Ok(None) };
    places.sort_unstable_by_key(|place| {
        (Day::of(stored_at(place.delivery).get()), place.time, place.id)
    });
    let (mut entries, mut pieces) = (parts(Table::Entries), parts(Table::Pieces));
    let mut rest = places.as_slice();
    while !rest.is_empty() {
        work.pace.rest()?;
        let (together, later) = rest.split_at(count_together(rest));
        rest = later;
        let mut ids: Vec<u64> = together.iter().map(|place| place.id).collect();
        ids.sort_unstable();
        let Some(mut read) = work.reader.whole_entries(first_id, &ids)? else { return Ok(None) };
        for place in together {
            let Some(entry) = read.remove(&place.id) else {
                return Err(ArchiveError::Entry { id: place.id, file: segment.file.clone() });
            };
            let stored_at = stored_at(place.delivery);
            let day = Day::of(stored_at.get());
            if entry.record.whole.is_some() {
                write_pieces(work, place.id, stored_at, &mut pieces)?;
            }
            as_row(&entry, stored_at, None, |row| entries.push(day, row))?;
        }
    }
    let mut spellings = parts(Table::Spellings);
    if write_spellings(work, first_id, &stored_at, &mut spellings)?.is_none() {
        return Ok(None);
    }
    let (mut files, mut least) = (Vec::new(), change);
    for parts in [entries, pieces, spellings, deliveries] {
        let (written, change) = parts.finish()?;
        files.extend(written);
        least = least.min(change);
    }
    Ok(Some((files, least)))
}

/// How many of the first of these entries are read together.
fn count_together(places: &[EntryPlace]) -> usize {
    let mut bytes = 0;
    let fits = |place: &&EntryPlace| {
        bytes += place.length;
        bytes <= LINES
    };
    places.iter().take(ENTRIES).take_while(fits).count().max(1)
}

/// Writes the deliveries. Returns when each was stored, in order of id; `None` if the segment no longer
/// exists.
fn write_deliveries(
    work: &Work<'_>,
    first_id: u64,
    parts: &mut Parts<'_>,
) -> Result<Option<Vec<(u64, Millis)>>, ArchiveError> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        work.pace.rest()?;
        let read = work.reader.deliveries_after(first_id, after, DELIVERIES)?;
        let Some(read) = read else { return Ok(None) };
        let Some(last) = read.last() else { return Ok(Some(all)) };
        after = last.id;
        for delivery in &read {
            let stored_at = stored_at(delivery);
            all.push((delivery.id, stored_at));
            parts.push(Day::of(stored_at.get()), &delivery_row(delivery))?;
        }
    }
}

/// A delivery as a row.
fn delivery_row(delivery: &StoredDelivery) -> [Cell<'_>; 20] {
    let [epoch, number, position] = origin_cells(delivery.origin);
    [
        delivery.id.into(),
        delivery.received_at.into(),
        stored_at(delivery).into(),
        Cell::text(&delivery.input),
        Cell::text(&delivery.peer),
        delivery.bytes.into(),
        delivery.decoded_bytes.into(),
        delivery.received.into(),
        delivery.stored.into(),
        delivery.duplicates.into(),
        delivery.malformed.into(),
        delivery.valid.into(),
        delivery.invalid.into(),
        delivery.unsigned.into(),
        delivery.no_key.into(),
        Cell::Integer(200),
        delivery.duration_us.into(),
        epoch,
        number,
        position,
    ]
}

/// Writes a long line.
fn write_pieces(
    work: &Work<'_>,
    id: u64,
    stored_at: Millis,
    parts: &mut Parts<'_>,
) -> Result<(), ArchiveError> {
    for number in 0.. {
        work.pace.rest()?;
        let Some(piece) = work.reader.line_piece(id, number)? else { break };
        let row = [id.into(), number.into(), Cell::Bytes(&piece), stored_at.into()];
        parts.push(Day::of(stored_at.get()), &row)?;
    }
    Ok(())
}

/// Writes the spellings. `None` if the segment no longer exists.
fn write_spellings(
    work: &Work<'_>,
    first_id: u64,
    stored_at: &dyn Fn(u64) -> Millis,
    parts: &mut Parts<'_>,
) -> Result<Option<()>, ArchiveError> {
    let mut skip = 0;
    loop {
        work.pace.rest()?;
        let read = work.reader.kept_spellings(first_id, skip, SPELLINGS)?;
        let Some(read) = read else { return Ok(None) };
        if read.is_empty() {
            return Ok(Some(()));
        }
        skip += read.len();
        for one in &read {
            let stored_at = stored_at(one.delivery);
            let (fingerprint, line) = (Cell::Bytes(&one.fingerprint), Cell::Bytes(&one.line));
            let row = [one.entry.into(), one.delivery.into(), fingerprint, line, stored_at.into()];
            parts.push(Day::of(stored_at.get()), &row)?;
        }
    }
}
