//! Builds a store anew from what is kept elsewhere: a data directory with sealed segments, under their
//! old ids and the id of the store.
//!
//! Each segment is written as a live one and then sealed by the steps of sealing, so it is checked as
//! any other. The signatures of valid entries are checked with the keys that are said to have verified
//! them. The rules under which an entry was judged are not known, so `serve` checks all entries again.
//!
//! A store that has all segments may go on. A part of a store can only be read: it would give ids to
//! entries that other entries have.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use rusqlite::{Connection, ToSql};
use serde::Serialize;

use crate::entry::Millis;
use crate::ingest::Fingerprint;
use crate::store::catalog::Catalog;
use crate::store::catalog::quarantine::{self, Quarantined};
use crate::store::catalog::segments::State;
use crate::store::catalog::sightings::{self, Sighting};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::seal;
use crate::store::maintain::unfinished::Unfinished;
use crate::store::origin::JournalState;
use crate::store::read::stats::StoredDelivery;
use crate::store::segment::origins;
use crate::store::segment::restored::{self, RestoredEntry};
use crate::store::segment::{contents, identity, long_lines};
use crate::store::write::live::Live;

/// A store that is being built.
#[derive(Debug)]
pub struct Rebuild {
    unfinished: Unfinished,
    catalog: Catalog,
    /// The first ids of an entry and of a delivery that the next segment may have.
    next: (u64, u64),
    rebuilt: Rebuilt,
}

/// What was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// The number of segments.
    pub segments: u64,
    /// The number of entries.
    pub entries: u64,
    /// The number of deliveries.
    pub deliveries: u64,
    /// The number of entries that are said to be valid and that their key does not verify.
    pub unverified: u64,
}

/// A segment of it. Its deliveries, entries, pieces and spellings may come in any order.
pub struct RebuiltSegment<'a> {
    rebuild: &'a mut Rebuild,
    live: Live,
    first_id: u64,
    entries: u64,
    deliveries: u64,
    /// The entries whose line is in pieces.
    long: Vec<u64>,
    /// The entries that are hidden, each with the one that is shown, its fingerprint and its delivery.
    hidden: BTreeMap<u64, (u64, Fingerprint, u64)>,
}

fn refuse(what: String) -> StoreError {
    StoreError::NotRestored(what)
}

impl Rebuild {
    /// Begins a data directory that will be `to`, which must not be there, or be empty. `store_id` are 32
    /// hexadecimal digits. `is_part` is whether segments of the store will be missing.
    ///
    /// # Errors
    /// [`StoreError::NotRestored`] if the id is none.
    pub fn begin(to: &Path, store_id: &str, is_part: bool) -> Result<Rebuild, StoreError> {
        let is_digit = |one: u8| one.is_ascii_digit() || (b'a'..=b'f').contains(&one);
        if store_id.len() != 32 || !store_id.bytes().all(is_digit) {
            let what = format!("a store: its id is {store_id:?}, expected 32 hexadecimal digits");
            return Err(refuse(what));
        }
        let unfinished = Unfinished::begin(to)?;
        let catalog = Catalog::make(unfinished.directory())
            .and_then(|catalog| catalog.set_store_id(store_id, is_part).map(|()| catalog));
        match catalog {
            Ok(catalog) => {
                Ok(Rebuild { unfinished, catalog, next: (1, 1), rebuilt: Rebuilt::default() })
            }
            Err(error) => Err(unfinished.give_up(error)),
        }
    }

    /// Records when keys were seen.
    pub fn keys_seen(&self, keys: &[Sighting]) -> Result<(), StoreError> {
        sightings::restore(&self.catalog, keys)
    }

    /// Gives later changes of entries and later bodies in quarantine numbers above these. The archive has
    /// what was numbered up to them.
    pub fn number_after(&self, change: u64, quarantined: u64) -> Result<(), StoreError> {
        self.catalog.transaction("number what is learned", |catalog| {
            catalog.overlay().number_after(change).doing("number the changes", catalog.path())
        })?;
        quarantine::number_after(&self.catalog, quarantined)
    }

    /// Records how far a journal was read. Of the last object of each epoch some may be missing.
    pub fn journal(&self, state: &JournalState) -> Result<(), StoreError> {
        self.catalog.restore_journal(state)
    }

    /// Brings a body back to the quarantine, under its old number.
    pub fn quarantined(&self, what: &Quarantined, body: &[u8]) -> Result<(), StoreError> {
        quarantine::restore(&self.catalog, what, body)
    }

    /// Begins a segment. Segments come in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::NotRestored`] if its ids are those of the segment before.
    pub fn segment(
        &mut self,
        first_id: u64,
        first_delivery: u64,
        created_at: Millis,
    ) -> Result<RebuiltSegment<'_>, StoreError> {
        if first_id < self.next.0 || first_delivery < self.next.1 {
            return Err(refuse(format!(
                "the segment {first_id} with deliveries from {first_delivery}: expected ids from {} \
                 and deliveries from {}",
                self.next.0, self.next.1
            )));
        }
        // Its entries have no leaves: the log is not restored.
        let next = (first_id, first_delivery, None);
        let live = Live::create(self.unfinished.directory(), next, created_at)?;
        live.execute("BEGIN IMMEDIATE")?;
        Ok(RebuiltSegment {
            rebuild: self,
            live,
            first_id,
            entries: 0,
            deliveries: 0,
            long: Vec::new(),
            hidden: BTreeMap::new(),
        })
    }

    /// Gives the data directory its name.
    pub fn finish(self) -> Result<Rebuilt, StoreError> {
        let Rebuild { unfinished, catalog, rebuilt, .. } = self;
        drop(catalog);
        unfinished.finish().map(|()| rebuilt)
    }

    /// Removes what was built, because of `why`. Returns `why`, or an error with its text if something
    /// cannot be removed.
    pub fn give_up<E: From<StoreError> + Display>(self, why: E) -> E {
        drop(self.catalog);
        self.unfinished.give_up(why)
    }
}

impl RebuiltSegment<'_> {
    /// Adds a delivery.
    pub fn delivery(&mut self, one: &StoredDelivery) -> Result<(), StoreError> {
        if one.id < self.live.segment.first_delivery {
            return Err(refuse(format!(
                "the delivery {} in a segment that begins with {}",
                one.id, self.live.segment.first_delivery
            )));
        }
        self.deliveries += 1;
        put_delivery(&self.live.connection, one).doing("write", &self.live.path)
    }

    /// Adds an entry. If its line is too long to be parsed, [`piece`](RebuiltSegment::piece) adds the
    /// line.
    pub fn entry(&mut self, entry: &RestoredEntry<'_>) -> Result<(), StoreError> {
        let id = entry.record.id().filter(|id| *id >= self.first_id);
        let id =
            id.ok_or_else(|| refuse(format!("an entry without an id from {}", self.first_id)))?;
        let fingerprint = match entry.record.whole {
            None => Fingerprint::of(&entry.record.raw),
            Some(_) => {
                // Computed when all pieces are there. Until then, one that no other entry has.
                self.long.push(id);
                Fingerprint(u128::from(id).to_be_bytes())
            }
        };
        if let Some(shown) = entry.hidden_by {
            self.hidden.insert(id, (shown, fingerprint, entry.delivery));
        }
        self.entries += 1;
        let put = restored::put_entry(&self.live.connection, entry, fingerprint);
        put.doing("write", &self.live.path)
    }

    /// Adds a piece of the line of an entry, counted from 0. Each has 1 MiB, and the last what is left.
    pub fn piece(&mut self, entry: u64, number: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let put = restored::put_piece(&self.live.connection, entry, number, bytes);
        put.doing("write", &self.live.path)
    }

    /// Adds another line with the signed identity of an entry, which may be in an older segment.
    pub fn spelling(&mut self, entry: u64, delivery: u64, line: &[u8]) -> Result<(), StoreError> {
        let fingerprint = Fingerprint::of(line);
        let put =
            restored::put_spelling(&self.live.connection, entry, &fingerprint.0, delivery, line);
        put.doing("write", &self.live.path)?;
        let catalog = &self.rebuild.catalog;
        let counted = catalog.overlay().count_spelling(entry, fingerprint, delivery);
        counted.map(drop).doing("count a spelling", catalog.path())
    }

    /// Seals the segment, once everything in it was added.
    ///
    /// Before that, each line that is in pieces is read and compared with its recorded length and hash,
    /// and each valid entry is verified with its key.
    ///
    /// # Errors
    /// [`StoreError::NotRestored`] if an id between the first and the last has no entry or no line, or if
    /// the pieces of a line are not that line. A signature that does not hold is no error: it is counted
    /// in [`Rebuilt::unverified`].
    pub fn finish(mut self) -> Result<(), StoreError> {
        self.check_long_lines()?;
        let path = self.live.path.clone();
        let connection = &self.live.connection;
        let checked =
            identity::record_signed_of_shown(connection, |id| self.hidden.contains_key(&id))
                .doing("check signatures in", &path)?;
        let valid = "SELECT count(*) FROM entries WHERE verdict = 'valid'";
        let valid: u64 = connection.query_row(valid, [], |row| row.get(0)).doing("read", &path)?;
        self.live.execute("COMMIT")?;

        let (closed, epochs) = (self.live.closed()?, self.live.epochs()?);
        let mut segment = self.live.segment.clone();
        // Closes the file.
        drop(self.live);
        let (first_id, last_id) = (segment.first_id, closed.last_id);
        if !contents::is_dense(&path, first_id, last_id)? {
            return Err(refuse(format!(
                "the segment {first_id}: it has {} entries; expected one with its line for each id \
                 from {first_id} to {last_id}",
                self.entries
            )));
        }
        segment.state = State::Closed;
        let next = (last_id + 1, closed.last_delivery + 1);
        segment.closed = Some(closed);
        let Rebuild { unfinished, catalog, next: before, rebuilt } = self.rebuild;
        let missing = (before.0 < first_id).then(|| before.0..=first_id - 1);
        catalog.enter_rebuilt(&segment, &epochs, missing, segment.created_at)?;
        catalog.transaction("hide entries", |catalog| {
            let mut hidden = self.hidden.iter();
            hidden.try_for_each(|(id, (shown, fingerprint, delivery))| {
                let hide = catalog.overlay().hide(*id, *shown, &fingerprint.0, *delivery);
                hide.doing("hide an entry", catalog.path())
            })
        })?;
        seal::seal(unfinished.directory(), catalog, &segment, &|| ())?;
        *before = next;
        rebuilt.segments += 1;
        rebuilt.entries += self.entries;
        rebuilt.deliveries += self.deliveries;
        rebuilt.unverified += valid.saturating_sub(checked);
        Ok(())
    }

    /// Reads the lines that are in pieces, and records their lengths, hashes and fingerprints.
    fn check_long_lines(&mut self) -> Result<(), StoreError> {
        let (connection, path) = (&self.live.connection, &self.live.path);
        for id in &self.long {
            let line = || -> rusqlite::Result<_> {
                let first: Vec<u8> = connection
                    .prepare_cached("SELECT line FROM raw WHERE id = ?1")?
                    .query_row([id], |row| row.get(0))?;
                let recorded: (Option<u64>, Option<Vec<u8>>) = connection
                    .prepare_cached("SELECT line_bytes, line_sha256 FROM entries WHERE id = ?1")?
                    .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok((long_lines::read(connection, *id, &first)?, recorded))
            };
            let (found, (bytes, sha256)) = line().doing("read", path)?;
            if !found.begins
                || bytes.is_some_and(|bytes| bytes != found.bytes)
                || sha256.is_some_and(|sha256| sha256 != found.sha256)
            {
                return Err(refuse(format!("the entry {id}: its pieces are not its line")));
            }
            let fingerprint = found.sha256.first_chunk().copied().unwrap_or_default();
            connection
                .prepare_cached(
                    "UPDATE entries SET line_bytes = ?2, line_sha256 = ?3, fingerprint = ?4
                     WHERE id = ?1",
                )
                .and_then(|mut update| {
                    let sha256 = found.sha256.as_slice();
                    update.execute((id, found.bytes, sha256, &fingerprint[..]))
                })
                .doing("write", path)?;
            if let Some(hidden) = self.hidden.get_mut(id) {
                hidden.1 = Fingerprint(fingerprint);
            }
        }
        Ok(())
    }
}

/// Writes a delivery.
fn put_delivery(segment: &Connection, one: &StoredDelivery) -> rusqlite::Result<()> {
    let (epoch, number, position) = origins::values(one.origin);
    let values: [&dyn ToSql; 20] = [
        &one.id,
        &one.received_at.get(),
        &one.input,
        &one.peer,
        &one.bytes,
        &one.decoded_bytes,
        &one.received,
        &one.stored,
        &one.duplicates,
        &one.malformed,
        &one.valid,
        &one.invalid,
        &one.unsigned,
        &one.no_key,
        // Only deliveries with this answer are stored.
        &200,
        &one.duration_us,
        &one.stored_at.unwrap_or(one.received_at).get(),
        &epoch,
        &number,
        &position,
    ];
    segment
        .prepare_cached(
            "INSERT INTO deliveries (id, received_at, input, peer, bytes, decoded_bytes, received,
                 stored, duplicates, malformed, valid, invalid, unsigned, no_key, status,
                 duration_us, stored_at, epoch, number, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19, ?20)",
        )?
        .execute(values)
        .map(drop)
}
