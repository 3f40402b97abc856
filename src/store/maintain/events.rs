//! Leaves of what happens to entries after they were stored: ids that are lost, segments that are deleted
//! or sealed, and verdicts that change. Entries that were stored before the log began get their leaves
//! here too.
//!
//! Each is noted in the catalog after its leaf is committed. All work is done in small steps, so that the
//! writer never waits long. The live segment holds the records until the files of the log have them; then
//! they are deleted there, so that it does not grow with what happens to old entries.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Sender, sync_channel};

use data_encoding::HEXLOWER;
use ring::digest;

use crate::entry::record::Origin;
use crate::entry::{Millis, VerdictName};
use crate::ingest::sha256;
use crate::random;
use crate::store::catalog::Catalog;
use crate::store::catalog::logged::UnloggedRemoval;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::tiles::TileDeriver;
use crate::store::read::Reader;
use crate::store::read::archive::WholeEntry;
use crate::store::read::leaves::thumbprint;
use crate::store::segment::leaves::{Backfill, MOST};
use crate::store::sqlite::MAX_ID;
use crate::store::write::writer::Message;
use crate::tlog::leaf::{EntryLeaf, Leaf, RetentionReason, Salt, Sha256, salted};

/// The number of entries that are read at once, with their lines.
const AT_ONCE: usize = 64;

/// After this many leaves the records that the files of the log have are deleted in the live segment.
const TRIM: u64 = if cfg!(test) { 100 } else { 1 << 16 };

/// Adds the leaves of what happens later.
pub(in crate::store) struct EventLeaves {
    directory: Directory,
    writer: Sender<Message>,
    tiles: Arc<TileDeriver>,
    /// The first leaf that was added since records were deleted, and the number of them.
    added: Option<(u64, u64)>,
}

impl EventLeaves {
    /// Of the store in `directory`. The leaves go through its writer.
    pub(in crate::store) fn new(
        directory: &Directory,
        writer: &Sender<Message>,
        tiles: &Arc<TileDeriver>,
    ) -> EventLeaves {
        let (directory, writer, tiles) = (directory.clone(), writer.clone(), Arc::clone(tiles));
        EventLeaves { directory, writer, tiles, added: None }
    }

    /// Adds some of the leaves that are missing. Returns whether there may be more.
    pub(in crate::store) fn step(&mut self, catalog: &Catalog) -> Result<bool, StoreError> {
        self.gaps(catalog)?;
        self.removals(catalog)?;
        self.seals(catalog)?;
        Ok(self.changes(catalog)? || self.backfill(catalog)?)
    }

    fn gaps(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        let gaps = catalog.unlogged_gaps()?;
        let leaf = |(first_id, last_id): &(u64, u64)| {
            let is_range = first_id <= last_id;
            is_range.then_some(Leaf::Gap { first_id: *first_id, last_id: *last_id })
        };
        self.add_each(&gaps, leaf, |some| catalog.note_logged_gaps(some))
    }

    fn removals(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        let removals = catalog.unlogged_removals()?;
        let leaf = |removal: &UnloggedRemoval| {
            // A segment without entries has no range of ids.
            if removal.ids.is_empty() {
                return None;
            }
            Some(Leaf::Retention {
                first_id: *removal.ids.start(),
                last_id: *removal.ids.end(),
                reason: RetentionReason::of_word(&removal.reason)?,
                sha256: removal.sha256.as_deref().and_then(digest_of),
            })
        };
        self.add_each(&removals, leaf, |some| {
            let last = some.last().map_or(0, |removal| removal.number);
            catalog.note_logged_removals(last)
        })
    }

    fn seals(&mut self, catalog: &Catalog) -> Result<(), StoreError> {
        let seals = catalog.unlogged_seals()?;
        let leaf = |(ids, sha256): &(RangeInclusive<u64>, String)| {
            let sha256 = digest_of(sha256).filter(|_| !ids.is_empty())?;
            Some(Leaf::Seal { first_id: *ids.start(), last_id: *ids.end(), sha256 })
        };
        self.add_each(&seals, leaf, |some| catalog.note_logged_seals(some))
    }

    /// Adds the leaf of each of these, if it has one, and notes them.
    fn add_each<T>(
        &mut self,
        all: &[T],
        leaf: impl Fn(&T) -> Option<Leaf>,
        note: impl Fn(&[T]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        all.chunks(MOST as usize).try_for_each(|some| {
            self.add(some.iter().filter_map(&leaf).collect(), Vec::new())?;
            note(some)
        })
    }

    /// Adds the leaves of some changes: what each entry is now. Entries without a leaf get none.
    fn changes(&mut self, catalog: &Catalog) -> Result<bool, StoreError> {
        let changes = catalog.overlay().changes(catalog.logged_until()?.change, MOST);
        let changes = changes.doing("read the changes", catalog.path())?;
        let Some(until) = changes.last().map(|change| change.number) else { return Ok(false) };
        let reader = self.reader()?;
        // Of the changes of an entry the last one counts.
        let last: BTreeMap<u64, u64> =
            changes.iter().map(|change| (change.entry, change.number)).collect();
        let ids: Vec<u64> = last.keys().copied().collect();
        let mut leaves = Vec::new();
        for some in ids.chunks(AT_ONCE) {
            for (id, entry) in entries(&reader, some)? {
                let Some((_, salt)) = entry.leaf else { continue };
                let change = last.get(&id).copied().unwrap_or(until);
                leaves.push((change, verdict(id, change, &entry, &salt)));
            }
        }
        leaves.sort_unstable_by_key(|(change, _)| *change);
        self.add(leaves.into_iter().map(|(_, leaf)| leaf).collect(), Vec::new())?;
        catalog.note_logged_changes(until)?;
        Ok(changes.len() as u64 == MOST)
    }

    /// Gives some of the entries that were stored before the log began their leaves.
    fn backfill(&mut self, catalog: &Catalog) -> Result<bool, StoreError> {
        let next = catalog.logged_until()?.backfilled.saturating_add(1);
        if next > MAX_ID {
            return Ok(false);
        }
        let reader = self.reader()?;
        let first = match catalog.segment_of(next)? {
            Some(_) => Some(next),
            None => catalog.segment_after(next)?,
        };
        let greatest = reader.greatest_id()?;
        let Some(first) = first.filter(|first| *first <= greatest) else { return Ok(false) };
        let end = reader.end_of_segment(first)?;
        if reader.leaf_of(first)?.is_some() {
            // So have all that follow in this segment. Another one may have lost its leaves with a catalog.
            catalog.note_backfilled(end)?;
            return Ok(end < greatest);
        }
        let end = end.min(first.saturating_add(MOST - 1));
        let (mut leaves, mut salts, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        'slices: for from in (first..=end).step_by(AT_ONCE) {
            let ids: Vec<u64> = (from..=end).take(AT_ONCE).collect();
            for (id, entry) in entries(&reader, &ids)? {
                if id != first + leaves.len() as u64 || entry.leaf.is_some() {
                    break 'slices;
                }
                let salt: Salt = random::secret_bytes()?;
                leaves.push(Leaf::Backfill(EntryLeaf {
                    id,
                    received_at: entry.record.received_at().unwrap_or(Millis::MIN),
                    verdict: entry.record.verdict,
                    line: line(&reader, id, &entry, &salt)?,
                    input: salted(&salt, input(&entry).as_bytes()),
                    key: key(&entry),
                }));
                if entry.hidden_by.is_some() {
                    let change = catalog.overlay().last_change_of(&(id..=id));
                    let change = change.doing("read the changes", catalog.path())?;
                    hidden.push(verdict(id, change, &entry, &salt));
                }
                salts.push(salt);
            }
        }
        if leaves.is_empty() {
            // A damaged segment does not have it.
            catalog.note_backfilled(first)?;
            return Ok(true);
        }
        let first_leaf = self.add(leaves, salts.clone())?;
        if !hidden.is_empty() {
            self.add(hidden, Vec::new())?;
        }
        catalog.enter_backfill(&Backfill { first_id: first, first_leaf, salts })?;
        Ok(true)
    }

    /// A reader for one step. One that is kept would keep files open that the writer wants to close.
    fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.directory)
    }

    /// Makes the writer add leaves, and returns the index of the first.
    fn add(&mut self, leaves: Vec<Leaf>, salts: Vec<Salt>) -> Result<u64, StoreError> {
        let (count, (reply, added)) = (leaves.len() as u64, sync_channel(1));
        let message = Message::Leaves { leaves, salts, reply };
        self.writer.send(message).map_err(|_| StoreError::Closing)?;
        let first = added.recv().map_err(|_| StoreError::Closing)??;
        let (from, before) = self.added.unwrap_or((first, 0));
        self.added = Some((from, before + count));
        // If the files cannot be written, the records stay until the segment is sealed.
        if before + count >= TRIM
            && let Ok(until) = self.tiles.write()
            && self.writer.send(Message::Trim(from..until)).is_ok()
        {
            // The last row is still there.
            self.added = Some((first, 0));
        }
        Ok(first)
    }
}

/// These entries as they are now, in order of id.
fn entries(reader: &Reader, ids: &[u64]) -> Result<BTreeMap<u64, WholeEntry>, StoreError> {
    let mut by_segment: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for id in ids {
        if let Some(segment) = reader.segment_of(*id)? {
            by_segment.entry(segment).or_default().push(*id);
        }
    }
    let mut entries = BTreeMap::new();
    for (segment, ids) in by_segment {
        entries.extend(reader.whole_entries(segment, &ids)?.unwrap_or_default());
    }
    Ok(entries)
}

/// The salted hash of the line of an entry, which may be in pieces.
fn line(reader: &Reader, id: u64, entry: &WholeEntry, salt: &Salt) -> Result<Sha256, StoreError> {
    if entry.record.whole.is_none() {
        return Ok(salted(salt, &entry.record.raw));
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    for number in 0.. {
        let Some(piece) = reader.line_piece(id, number)? else { break };
        context.update(&piece);
    }
    Ok(sha256(&context.finish()))
}

/// What an entry is after the change with this number.
fn verdict(id: u64, change: u64, entry: &WholeEntry, salt: &Salt) -> Leaf {
    Leaf::Verdict {
        id,
        change,
        verdict: entry.record.verdict,
        key: key(entry),
        shown: entry.hidden_by.unwrap_or(0),
        input: salted(salt, input(entry).as_bytes()),
    }
}

/// The thumbprint of the key that verified an entry, if it is valid.
fn key(entry: &WholeEntry) -> Option<Sha256> {
    let is_valid = entry.record.verdict == VerdictName::Valid;
    entry.key.as_deref().filter(|_| is_valid).map(thumbprint)
}

fn input(entry: &WholeEntry) -> &str {
    match &entry.record.origin {
        Origin::Stored { input, .. } => input,
        Origin::File { .. } => "",
    }
}

/// The bytes of a SHA-256 in hexadecimal.
fn digest_of(hexadecimal: &str) -> Option<Sha256> {
    HEXLOWER.decode(hexadecimal.as_bytes()).ok()?.try_into().ok()
}
