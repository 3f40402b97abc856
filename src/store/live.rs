//! The live segment: the one that takes appends.
//!
//! Only the writer thread has it. A delivery and its entries are stored whole or not at all.

use std::fs;
use std::path::PathBuf;

use rusqlite::OptionalExtension;

use super::StoreError;
use super::again::{Again, Came};
use super::catalog::{Catalog, Closed, Segment, State, file_name};
use super::copies;
use super::directory::{Directory, remove_database, sync};
use super::error::SqliteContext;
use super::ids::Highest;
use super::meter::Classes;
use super::older::{self, Older};
use super::row::{self, Stored};
use super::schema::SEGMENT;
use super::spellings::{self, Segments, Spelling};
use super::sqlite::{self, Database};
use super::writer::{Appended, Delivery};
use crate::entry::{Millis, VerdictName};
use crate::ingest::Entry;

/// The live segment.
pub(super) struct Live {
    pub(super) connection: Database,
    pub(super) path: PathBuf,
    pub(super) segment: Segment,
    next_id: u64,
    next_delivery: u64,
    /// Of the lines stored since it was opened.
    bytes: u64,
}

/// Where the next ids stood, to go back to when a transaction fails.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    next_id: u64,
    next_delivery: u64,
}

impl Mark {
    /// Whether the entry `id` was there already.
    pub(super) fn had(self, id: u64) -> bool {
        id < self.next_id
    }
}

/// What is known of entries besides the live segment, and what is to be entered of it.
pub(super) struct Known<'a> {
    pub(super) older: &'a mut Older,
    pub(super) catalog: &'a Catalog,
    pub(super) again: &'a mut Again,
    /// Where the ids stood before the transaction.
    pub(super) begun: Mark,
}

/// An entry that is there already.
struct Found {
    id: u64,
    /// Whether it is the same line, or another one with the same signed identity.
    same_line: bool,
}

impl Live {
    /// Makes a new live segment, whose first id is on the disk before its first entry. The catalog
    /// does not know it yet.
    pub(super) fn create(
        directory: &Directory,
        first_id: u64,
        first_delivery: u64,
        created_at: Millis,
    ) -> Result<Live, StoreError> {
        let file = file_name::live(first_id);
        let path = directory.segment(&file);
        if path.exists() {
            // An attempt before that failed left it, without an entry.
            if !copies::is_empty(&path)? {
                let folder = directory.segments();
                return Err(StoreError::Unexplained { folder, files: vec![file] });
            }
            remove_database(&path)?;
        }
        let connection = sqlite::open(&path, &SEGMENT)?;
        connection
            .execute(
                "INSERT INTO segment (first_id, first_delivery, created_at) VALUES (?1, ?2, ?3)",
                (first_id, first_delivery, created_at.get()),
            )
            .doing("make a segment", &path)?;
        sync(&directory.segments())?;
        let segment = Segment {
            first_id,
            first_delivery,
            state: State::Live,
            file,
            created_at,
            closed: None,
            sealed: None,
        };
        Ok(Live {
            connection,
            path,
            segment,
            next_id: first_id,
            next_delivery: first_delivery,
            bytes: 0,
        })
    }

    /// Opens the live segment that the catalog knows.
    pub(super) fn open(directory: &Directory, segment: Segment) -> Result<Live, StoreError> {
        let path = directory.segment(&segment.file);
        // Its entries were acknowledged: an empty one must not take its place in silence.
        let bytes = fs::metadata(&path).doing("find the live segment", &path)?.len();
        if copies::open(&path)?.version() == 0 {
            return Err(StoreError::Emptied(path));
        }
        let connection = sqlite::open(&path, &SEGMENT)?;
        let next = |table: &str, first: u64| -> Result<u64, StoreError> {
            connection
                .query_row(&format!("SELECT max(id) FROM {table}"), [], |row| row.get(0))
                .map(|last: Option<u64>| last.map_or(first, |last| last + 1))
                .doing("read", &path)
        };
        let next_id = next("entries", segment.first_id)?;
        let next_delivery = next("deliveries", segment.first_delivery)?;
        Ok(Live { connection, path, segment, next_id, next_delivery, bytes })
    }

    /// How many entries it has.
    pub(super) fn entries(&self) -> u64 {
        self.next_id - self.segment.first_id
    }

    /// How large it is, roughly, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The ids that the segment after it begins with.
    pub(super) fn next_ids(&self) -> (u64, u64) {
        (self.next_id, self.next_delivery)
    }

    /// The highest ids that it has given out.
    pub(super) fn highest(&self) -> Highest {
        Highest { entry: self.next_id - 1, delivery: self.next_delivery - 1 }
    }

    /// Whether it has an entry of which this condition is true.
    pub(super) fn has(&self, condition: &str) -> Result<bool, StoreError> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM entries WHERE {condition})");
        self.connection.query_row(&sql, [], |row| row.get(0)).doing("read", &self.path)
    }

    /// What is known of it now that it takes no more.
    pub(super) fn closed(&self) -> Result<Closed, StoreError> {
        Closed::of(&self.connection).doing("read", &self.path)
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { next_id: self.next_id, next_delivery: self.next_delivery }
    }

    pub(super) fn return_to(&mut self, mark: Mark) {
        (self.next_id, self.next_delivery) = (mark.next_id, mark.next_delivery);
    }

    /// Runs a statement that begins or ends a transaction.
    pub(super) fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).doing("write", &self.path)
    }

    /// Writes what is there already, to see whether that can be done.
    pub(super) fn try_write(&self) -> Result<(), StoreError> {
        let version = "SELECT user_version FROM pragma_user_version";
        let tried = || -> rusqlite::Result<()> {
            let version: i64 = self.connection.query_row(version, [], |row| row.get(0))?;
            self.connection.pragma_update(None, "user_version", version)
        };
        tried().doing("write", &self.path)
    }

    /// The segment as one that an entry may be in, beside those that take no more appends.
    pub(super) fn with<'a>(&'a self, older: &'a mut Older) -> Segments<'a> {
        Segments { older, live: Some((self.segment.first_id, &self.connection)) }
    }

    /// Stores one delivery with its entries, within the transaction that is open. Entries that are there
    /// already are noted in `known`, those that are new in `classes`.
    pub(super) fn store(
        &mut self,
        delivery: &Delivery,
        entries: impl Iterator<Item = Entry>,
        known: &mut Known<'_>,
        classes: &mut Classes,
    ) -> Result<Appended, StoreError> {
        let mut appended = Appended::default();
        for entry in entries {
            appended.received += 1;
            *appended.count(entry.verdict.name()) += 1;
            match self.insert(&entry, delivery, known)? {
                None => {
                    self.next_id += 1;
                    self.bytes += entry.raw.len() as u64;
                    appended.stored += 1;
                    classes.count(&entry);
                }
                Some(found) => {
                    appended.duplicates += 1;
                    self.note_again(found, entry, delivery, known)?;
                }
            }
        }
        self.insert_delivery(delivery, &appended).doing("write", &self.path)?;
        self.next_delivery += 1;
        Ok(appended)
    }

    /// Stores an entry, or finds the one that is it already.
    fn insert(
        &self,
        entry: &Entry,
        delivery: &Delivery,
        known: &mut Known<'_>,
    ) -> Result<Option<Found>, StoreError> {
        if let Some(id) = known.older.find(entry) {
            return Ok(Some(Found { id, same_line: true }));
        }
        let stored = Stored {
            id: self.next_id,
            received_at: delivery.received_at,
            delivery: self.next_delivery,
            input: &delivery.input,
            delivery_count: 1,
        };
        // The segment itself refuses an identity that it has.
        let mut elsewhere = Segments { older: &mut *known.older, live: None };
        if let Some(id) = elsewhere.find_shown(known.catalog, entry)? {
            // The line may be here too: it was not found valid when it came first.
            let here = self.find(entry).doing("find a duplicate", &self.path)?;
            let here = here.filter(|found| found.same_line);
            return Ok(here.or(Some(Found { id, same_line: false })));
        }
        match row::insert(&self.connection, entry, &stored).doing("write", &self.path)? {
            true => Ok(None),
            false => self.find(entry).doing("find a duplicate", &self.path),
        }
    }

    /// Finds the entry here that has the line of `entry`, or else its signed identity.
    fn find(&self, entry: &Entry) -> rusqlite::Result<Option<Found>> {
        let signed = entry.signed.as_ref().map(|signed| signed.0.as_slice());
        self.connection
            .prepare_cached(
                "SELECT id, fingerprint = ?2 AS same_line FROM entries
                 WHERE event_time = ?1 AND (fingerprint = ?2 OR signed = ?3)
                 ORDER BY same_line DESC LIMIT 1",
            )?
            .query_row((older::time(entry), entry.fingerprint.0.as_slice(), signed), |row| {
                Ok(Found { id: row.get(0)?, same_line: row.get(1)? })
            })
            .optional()
    }

    /// Counts an entry that came again, and notes what it betters and how it is spelled.
    fn note_again(
        &self,
        found: Found,
        entry: Entry,
        delivery: &Delivery,
        known: &mut Known<'_>,
    ) -> Result<(), StoreError> {
        let Known { older, catalog, again, begun } = known;
        let shown = spellings::shown(&catalog.connection, found.id);
        let shown = shown.doing("read the spellings", &catalog.path)?;
        let (id, same_line) = match shown {
            Some(shown) => (shown, false),
            None => (found.id, found.same_line),
        };
        if id < self.segment.first_id {
            again.count(id);
        } else {
            self.count_again(id).doing("write", &self.path)?;
        }
        if !same_line {
            let (fingerprint, delivery) = (entry.fingerprint, self.next_delivery);
            let spelling = Spelling { entry: id, fingerprint, delivery };
            let (live, first) = (&self.connection, self.segment.first_delivery);
            spellings::keep(&catalog.connection, live, first, &spelling, &entry.raw)
                .doing("keep a spelling", &self.path)?;
            again.spelled(spelling);
        }
        let came = Came { id, same_line, entry, input: &delivery.input };
        again.better(catalog, &mut self.with(older), came, *begun)
    }

    fn count_again(&self, id: u64) -> rusqlite::Result<usize> {
        self.connection
            .prepare_cached("UPDATE entries SET delivery_count = delivery_count + 1 WHERE id = ?1")?
            .execute([id])
    }

    fn insert_delivery(&self, delivery: &Delivery, appended: &Appended) -> rusqlite::Result<usize> {
        let duration = delivery.started.elapsed().as_micros();
        self.connection
            .prepare_cached(
                "INSERT INTO deliveries (id, received_at, input, peer, bytes, decoded_bytes,
                     received, stored, duplicates, malformed, valid, invalid, unsigned, no_key,
                     status, duration_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 200, ?15)",
            )?
            .execute((
                self.next_delivery,
                delivery.received_at.get(),
                &delivery.input,
                &delivery.peer,
                delivery.bytes,
                delivery.decoded_bytes,
                appended.received,
                appended.stored,
                appended.duplicates,
                appended.malformed,
                appended.valid,
                appended.invalid,
                appended.unsigned,
                appended.no_key,
                i64::try_from(duration).unwrap_or(i64::MAX),
            ))
    }
}

impl Appended {
    /// The count of the received lines that have this verdict.
    fn count(&mut self, verdict: VerdictName) -> &mut u64 {
        match verdict {
            VerdictName::Valid => &mut self.valid,
            VerdictName::Invalid => &mut self.invalid,
            VerdictName::Unsigned => &mut self.unsigned,
            VerdictName::NoKey => &mut self.no_key,
            VerdictName::Malformed => &mut self.malformed,
        }
    }
}
