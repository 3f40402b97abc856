//! Reads segments, keys and the quarantine back from the archive, to rebuild a store.
//!
//! A file is held at a time, and newer versions of entries, up to a limit. Every file is compared with the
//! SHA-256 in the manifest before it is read.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::decode::Decoder;
use super::entry::{ArchivedEntry, of_row};
use super::error::ArchiveError;
use super::layout::Table;
use super::manifest::{File, Manifest, Segment};
use super::rows::Rows;
use super::versions::Versions;
use crate::entry::Millis;
use crate::signature::Key;
use crate::store::{KeptSpelling, Origin, Quarantined, Sighting, StoredDelivery};

/// Reads a file of the archive, and compares it with the manifest.
pub(super) type Read<'a> = dyn Fn(&File) -> Result<Bytes, ArchiveError> + 'a;

/// Something of a segment.
pub(crate) enum Item {
    /// A delivery.
    Delivery(StoredDelivery),
    /// An entry as it is now.
    Entry(Box<ArchivedEntry>),
    /// A piece of a long line.
    Piece { entry: u64, number: u64, bytes: Vec<u8> },
    /// Another line of an entry.
    Spelling(KeptSpelling),
}

/// What is read back: an archive as its manifest describes it.
pub(crate) struct Restored<'a> {
    pub(crate) manifest: &'a Manifest,
    read: &'a Read<'a>,
    /// The files of segments, by the table and the first id of the segment.
    files: BTreeMap<(Table, u64), Vec<&'a File>>,
}

impl<'a> Restored<'a> {
    pub(crate) fn new(manifest: &'a Manifest, read: &'a Read<'a>) -> Restored<'a> {
        let mut files: BTreeMap<_, Vec<&File>> = BTreeMap::new();
        for file in &manifest.files {
            if let (Some(table), Some(segment)) = (file.table(), file.segment) {
                files.entry((table, segment)).or_default().push(file);
            }
        }
        Restored { manifest, read, files }
    }

    /// The segments that have entries with a time from `since` to before `until`, in milliseconds, in
    /// the order of their ids. Whole segments are brought back.
    pub(crate) fn segments(&self, since: Option<i64>, until: Option<i64>) -> Vec<&'a Segment> {
        let overlaps = |file: &File| {
            let (Some(least), Some(greatest)) = (file.min_time, file.max_time) else {
                return false;
            };
            since.is_none_or(|since| greatest >= since) && until.is_none_or(|until| least < until)
        };
        let is_wanted = |segment: &&Segment| {
            let mut files = self.files(Table::Entries, segment);
            (since.is_none() && until.is_none()) || files.any(overlaps)
        };
        self.manifest.segments.values().filter(is_wanted).collect()
    }

    /// The newest versions of the entries of these segments.
    pub(crate) fn versions(&self, segments: &[&Segment]) -> Versions<'a> {
        let last = segments.last().map_or(0, |segment| segment.last_id);
        Versions::new(self.manifest, self.read, last)
    }

    /// Calls `each` with all that a segment has: deliveries, entries, pieces, spellings, in this order.
    /// Segments come in the order of their ids.
    pub(crate) fn items<E: From<ArchiveError>>(
        &self,
        segment: &Segment,
        versions: &mut Versions<'_>,
        mut each: impl FnMut(Item) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in self.files(Table::Deliveries, segment) {
            rows(self.read, file, Table::Deliveries, |rows, row| {
                each(Item::Delivery(delivery(file, rows, row)?))
            })?;
        }
        versions.begin(segment)?;
        for file in self.files(Table::Entries, segment) {
            rows(self.read, file, Table::Entries, |rows, row| {
                let mut entry = of_row(rows, row).ok_or_else(|| unreadable(file))?;
                if let Some(now) = entry.entry.record.id().and_then(|id| versions.take(id)) {
                    entry = laid_over(entry, now);
                }
                each(Item::Entry(Box::new(entry)))
            })?;
        }
        for file in self.files(Table::Pieces, segment) {
            rows(self.read, file, Table::Pieces, |rows, row| {
                let get = |name| rows.get(row, name).unsigned().ok_or_else(|| unreadable(file));
                let bytes = rows.get(row, "bytes").bytes().unwrap_or_default().to_vec();
                each(Item::Piece { entry: get("entry")?, number: get("number")?, bytes })
            })?;
        }
        for file in self.files(Table::Spellings, segment) {
            rows(self.read, file, Table::Spellings, |rows, row| {
                let get = |name| rows.get(row, name).unsigned().ok_or_else(|| unreadable(file));
                let bytes = |name| rows.get(row, name).bytes().unwrap_or_default().to_vec();
                let (fingerprint, line) = (bytes("fingerprint"), bytes("line"));
                let (entry, delivery) = (get("entry")?, get("delivery")?);
                each(Item::Spelling(KeptSpelling { entry, delivery, fingerprint, line }))
            })?;
        }
        Ok(())
    }

    /// Every key that the archive has.
    pub(crate) fn keys(&self) -> Result<Vec<Sighting>, ArchiveError> {
        // The newest file has all of them. It may be in parts, which have one delta.
        let Some(last) = self.manifest.of(Table::Keys).last() else { return Ok(Vec::new()) };
        let delta = |file: &File| {
            file.key.rsplit('/').next().and_then(|name| name.get(..20)).map(str::to_owned)
        };
        let wanted = delta(last);
        let mut keys = Vec::new();
        for file in self.manifest.of(Table::Keys).filter(|file| delta(file) == wanted) {
            rows(self.read, file, Table::Keys, |rows, row| {
                let text = |name| rows.get(row, name).as_text().ok_or_else(|| unreadable(file));
                let time = |name| rows.get(row, name).integer().map(Millis::saturating);
                let public = rows.get(row, "public").bytes().and_then(|key| key.try_into().ok());
                keys.push(Sighting {
                    source: text("source")?.to_owned(),
                    key: Key::new(
                        Some(text("kid")?.to_owned()),
                        public.ok_or_else(|| unreadable(file))?,
                    ),
                    first_seen: time("first_seen").unwrap_or(Millis::MIN),
                    last_seen: time("last_seen").unwrap_or(Millis::MIN),
                });
                Ok::<(), ArchiveError>(())
            })?;
        }
        Ok(keys)
    }

    /// Calls `each` with every body that is still in quarantine.
    pub(crate) fn quarantine<E: From<ArchiveError>>(
        &self,
        mut each: impl FnMut(Quarantined, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for file in self.manifest.of(Table::Quarantine) {
            rows(self.read, file, Table::Quarantine, |rows, row| {
                let text = |name| rows.get(row, name).as_text().map(str::to_owned);
                let number = |name| rows.get(row, name).unsigned();
                let id = number("id").ok_or_else(|| unreadable(file))?;
                if self.manifest.released.contains(&id) {
                    return Ok(());
                }
                let body = rows.get(row, "body").bytes().unwrap_or_default();
                let received_at = rows.get(row, "received_at").integer().unwrap_or(0);
                let what = Quarantined {
                    id,
                    received_at: Millis::saturating(received_at),
                    input: text("input").unwrap_or_default(),
                    peer: text("peer").unwrap_or_default(),
                    status: number("status").and_then(|one| one.try_into().ok()).unwrap_or(400),
                    reason: text("reason").unwrap_or_default(),
                    content_encoding: text("content_encoding"),
                    bytes: body.len() as u64,
                    origin: origin(rows, row),
                };
                each(what, body)
            })?;
        }
        Ok(())
    }

    /// The files of a table that belong to a segment.
    fn files(&self, table: Table, segment: &Segment) -> impl Iterator<Item = &'a File> {
        self.files.get(&(table, segment.first_id)).into_iter().flatten().copied()
    }
}

/// Calls `each` with every row of a file.
pub(super) fn rows<E: From<ArchiveError>>(
    read: &Read<'_>,
    file: &File,
    table: Table,
    mut each: impl FnMut(&Rows, usize) -> Result<(), E>,
) -> Result<(), E> {
    let decoder = Decoder::new(&file.key, table, read(file)?)?;
    for group in 0..decoder.groups() {
        let rows = decoder.group(group, None)?;
        (0..rows.len()).try_for_each(|row| each(&rows, row))?;
    }
    Ok(())
}

/// A newer version of an entry, with what never changes.
fn laid_over(first: ArchivedEntry, mut now: ArchivedEntry) -> ArchivedEntry {
    now.entry.record.raw = first.entry.record.raw;
    now.entry.record.whole = first.entry.record.whole;
    now.stored_at = first.stored_at;
    now
}

pub(super) fn unreadable(file: &File) -> ArchiveError {
    ArchiveError::damaged(&file.key, "a row lacks what every row has")
}

fn origin(rows: &Rows, row: usize) -> Option<Origin> {
    let get = |name| rows.get(row, name).unsigned();
    let position = u32::try_from(get("position")?).ok()?;
    Some(Origin { epoch: get("epoch")?, number: get("number")?, position })
}

fn delivery(file: &File, rows: &Rows, row: usize) -> Result<StoredDelivery, ArchiveError> {
    let number = |name| rows.get(row, name).unsigned().unwrap_or(0);
    let text = |name| rows.get(row, name).as_text().unwrap_or_default().to_owned();
    let time = |name| rows.get(row, name).integer().map(Millis::saturating);
    let missing = || unreadable(file);
    Ok(StoredDelivery {
        id: rows.get(row, "id").unsigned().ok_or_else(missing)?,
        received_at: time("received_at").ok_or_else(missing)?,
        stored_at: time("stored_at"),
        origin: origin(rows, row),
        input: text("input"),
        peer: text("peer"),
        bytes: number("bytes"),
        decoded_bytes: number("decoded_bytes"),
        received: number("received"),
        stored: number("stored"),
        duplicates: number("duplicates"),
        malformed: number("malformed"),
        valid: number("valid"),
        invalid: number("invalid"),
        unsigned: number("unsigned"),
        no_key: number("no_key"),
        warnings: BTreeMap::new(),
        duration_us: number("duration_us"),
    })
}
