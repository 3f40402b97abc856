//! The live segment: the one that takes appends.
//!
//! Only the writer thread has it. A delivery and its entries are stored whole or not at all.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, ToSql};

use crate::clock::now;
use crate::entry::{Millis, VerdictName};
use crate::ingest::Entry;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::{Segment, State};
use crate::store::directory::{Directory, remove_database, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::origin::Origin;
use crate::store::segment::leaves::{self, LeafRow};
use crate::store::segment::origins::{self, EpochSpan};
use crate::store::segment::row::{self, EntryMetadata};
use crate::store::segment::{self, Closed, contents, file_name, identity};
use crate::store::sqlite::{self, Database};
use crate::store::write::duplicates::OlderSegments;
use crate::store::write::ids::HighestIds;
use crate::store::write::observer::Classes;
use crate::store::write::redeliveries::{Redeliveries, Redelivery};
use crate::store::write::salted::SaltedEntry;
use crate::store::write::spellings::{self, NewSpelling, Segments};
use crate::store::write::writer::{Appended, Delivery};
use crate::tlog::leaf::{EntryLeaf, Leaf, Salt};

/// The live segment.
pub(in crate::store) struct Live {
    pub(in crate::store) connection: Database,
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) segment: Segment,
    next: NextIds,
    /// The leaves of the delivery that is being stored.
    leaves: LeafRow,
    /// The size at opening, and of the lines stored since.
    bytes: u64,
    /// When the newest delivery of the store was stored.
    stored_at: Millis,
}

/// The next ids and the next leaf, to return to if a transaction fails.
#[derive(Clone, Copy)]
pub(in crate::store) struct NextIds {
    entry: u64,
    delivery: u64,
    leaf: u64,
}

impl NextIds {
    /// Whether the entry `id` existed at this point.
    pub(in crate::store) fn had(self, id: u64) -> bool {
        id < self.entry
    }
}

/// What a delivery needs besides the live segment.
pub(in crate::store) struct Context<'a> {
    pub(in crate::store) older: &'a mut OlderSegments,
    pub(in crate::store) catalog: &'a Catalog,
    pub(in crate::store) redeliveries: &'a mut Redeliveries,
    /// The next ids before the transaction.
    pub(in crate::store) begun: NextIds,
}

/// Waits until what was committed is on the disk. A process that was killed may have left it unsynced, and
/// leaves that are signed must not get lost.
fn sync_wal(segment: &Path) -> Result<(), StoreError> {
    let mut wal = segment.as_os_str().to_owned();
    wal.push("-wal");
    match File::open(&wal) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened.and_then(|wal| wal.sync_all()).doing("sync", Path::new(&wal)),
    }
}

/// An existing entry that a new one is a duplicate of.
struct Duplicate {
    id: u64,
    /// Whether the line is the same. Else only the signed identity is.
    same_line: bool,
}

impl Live {
    /// Creates a new live segment. Its first ids and its first leaf are on disk before its first entry.
    /// Without a first leaf, its entries have none. The catalog does not list it yet.
    pub(in crate::store) fn create(
        directory: &Directory,
        (first_id, first_delivery, first_leaf): (u64, u64, Option<u64>),
        created_at: Millis,
    ) -> Result<Live, StoreError> {
        let file = file_name::live(first_id);
        let path = directory.segment(&file);
        if path.exists() {
            // An earlier attempt failed and left it, without an entry.
            if !contents::is_empty(&path)? {
                let folder = directory.segments();
                return Err(StoreError::Unexplained { folder, files: vec![file] });
            }
            remove_database(&path)?;
        }
        let connection = sqlite::open(&path, &segment::SCHEMA)?;
        connection
            .execute(
                "INSERT INTO segment (first_id, first_delivery, created_at, first_leaf)
                 VALUES (?1, ?2, ?3, ?4)",
                (first_id, first_delivery, created_at.get(), first_leaf),
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
            next: NextIds {
                entry: first_id,
                delivery: first_delivery,
                leaf: first_leaf.unwrap_or(0),
            },
            leaves: LeafRow::default(),
            bytes: 0,
            stored_at: created_at,
        })
    }

    /// Opens the live segment that the catalog lists.
    pub(in crate::store) fn open(
        directory: &Directory,
        segment: Segment,
    ) -> Result<Live, StoreError> {
        let path = directory.segment(&segment.file);
        // Its entries were acknowledged, so an empty file must not silently replace it.
        let bytes = fs::metadata(&path).doing("find the live segment", &path)?.len();
        if contents::open(&path)?.version() == 0 {
            return Err(StoreError::Emptied(path));
        }
        sync_wal(&path)?;
        let connection = sqlite::open(&path, &segment::SCHEMA)?;
        let next = |table: &str, first: u64| -> Result<u64, StoreError> {
            connection
                .query_row(&format!("SELECT max(id) FROM {table}"), [], |row| row.get(0))
                .map(|last: Option<u64>| last.map_or(first, |last| last + 1))
                .doing("read", &path)
        };
        let next = NextIds {
            entry: next("entries", segment.first_id)?,
            delivery: next("deliveries", segment.first_delivery)?,
            leaf: leaves::next(&connection).doing("read", &path)?,
        };
        let newest = origins::stored_at(&connection, connection.version()).doing("read", &path)?;
        let newest = newest.map(|(_, newest)| Millis::saturating(newest));
        let stored_at = segment.created_at.max(newest.unwrap_or(Millis::MIN));
        let leaves = LeafRow::default();
        Ok(Live { connection, path, segment, next, leaves, bytes, stored_at })
    }

    /// The time by the clock of the store, which never goes back.
    pub(in crate::store) fn now(&mut self) -> Millis {
        self.stored_at = self.stored_at.max(now());
        self.stored_at
    }

    /// Sets the clock of the store ahead to `time`, if it is not there yet.
    pub(in crate::store) fn not_before(&mut self, time: Millis) {
        self.stored_at = self.stored_at.max(time);
    }

    /// Whether it has the delivery from this origin.
    pub(in crate::store) fn has_origin(&self, origin: &Origin) -> Result<bool, StoreError> {
        origins::has(&self.connection, origin).doing("read", &self.path)
    }

    /// The epochs from which it has deliveries.
    pub(in crate::store) fn epochs(&self) -> Result<Vec<EpochSpan>, StoreError> {
        origins::spans(&self.connection).doing("read", &self.path)
    }

    /// The number of entries.
    pub(in crate::store) fn entries(&self) -> u64 {
        self.next.entry - self.segment.first_id
    }

    /// The approximate size in bytes.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The ids of the next entry and of the next delivery, and the next leaf.
    pub(in crate::store) fn next_ids(&self) -> (u64, u64, u64) {
        (self.next.entry, self.next.delivery, self.next.leaf)
    }

    /// The highest ids that it has assigned.
    pub(in crate::store) fn highest(&self) -> HighestIds {
        HighestIds { entry: self.next.entry - 1, delivery: self.next.delivery - 1 }
    }

    /// Whether it has an entry that meets this condition.
    pub(in crate::store) fn has(&self, condition: &str) -> Result<bool, StoreError> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM entries WHERE {condition})");
        self.connection.query_row(&sql, [], |row| row.get(0)).doing("read", &self.path)
    }

    /// Its summary, for the catalog.
    pub(in crate::store) fn closed(&self) -> Result<Closed, StoreError> {
        Closed::of(&self.connection, self.connection.version()).doing("read", &self.path)
    }

    pub(in crate::store) fn mark(&self) -> NextIds {
        self.next
    }

    pub(in crate::store) fn return_to(&mut self, mark: NextIds) {
        self.next = mark;
    }

    /// Runs a statement that begins or ends a transaction.
    pub(in crate::store) fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        self.connection.execute_batch(sql).doing("write", &self.path)
    }

    /// Tests whether the file can be written, without changing it.
    pub(in crate::store) fn try_write(&self) -> Result<(), StoreError> {
        let version = "SELECT user_version FROM pragma_user_version";
        let tried = || -> rusqlite::Result<()> {
            let version: i64 = self.connection.query_row(version, [], |row| row.get(0))?;
            self.connection.pragma_update(None, "user_version", version)
        };
        tried().doing("write", &self.path)
    }

    /// All segments: this one and the older ones.
    pub(in crate::store) fn with<'a>(&'a self, older: &'a mut OlderSegments) -> Segments<'a> {
        Segments { older, live: Some((self.segment.first_id, &self.connection)) }
    }

    /// Begins the leaves of a start with these. The first gets the index `from`, or the next one if that
    /// is higher.
    pub(in crate::store) fn begin_leaves(
        &mut self,
        from: u64,
        leaves: &[Leaf],
    ) -> Result<(), StoreError> {
        self.next.leaf = self.next.leaf.max(from);
        let sql = "UPDATE segment SET first_leaf = ?1 WHERE first_leaf IS NULL";
        self.connection.execute(sql, [self.next.leaf]).doing("write", &self.path)?;
        self.add_leaves(leaves, &[]).map(drop)
    }

    /// Adds at most [`leaves::MOST`] leaves that are not of new entries, in a transaction of their own.
    /// Those of entries have a salt each. Returns the index of the first.
    pub(in crate::store) fn add_leaves(
        &mut self,
        leaves: &[Leaf],
        salts: &[Salt],
    ) -> Result<u64, StoreError> {
        let (first, stored_at) = (self.next.leaf, self.now());
        self.leaves.begin(first);
        for (at, leaf) in leaves.iter().enumerate() {
            self.leaves.add(leaf, stored_at, salts.get(at))?;
        }
        self.leaves.insert(&self.connection).doing("write", &self.path)?;
        self.next.leaf = first + leaves.len() as u64;
        Ok(first)
    }

    /// Deletes the records of these leaves, which the files of the log have, unless they are of entries of
    /// this segment. The last row stays: it says which leaf is the next.
    pub(in crate::store) fn trim_leaves(&self, leaves: &Range<u64>) -> Result<(), StoreError> {
        leaves::delete(&self.connection, leaves).doing("write", &self.path)
    }

    /// Adds the leaf of the entry that was just inserted.
    fn add_leaf(
        &mut self,
        entry: &SaltedEntry,
        received_at: Millis,
        stored_at: Millis,
    ) -> Result<(), StoreError> {
        let SaltedEntry { entry, salt, line, input } = entry;
        let leaf = Leaf::Entry(EntryLeaf {
            id: self.next.entry,
            received_at,
            verdict: entry.verdict.name(),
            line: *line,
            input: *input,
            key: entry.verdict.proof().map(|proof| *proof.key().thumbprint().bytes()),
        });
        self.leaves.add(&leaf, stored_at, Some(salt))?;
        self.next.leaf += 1;
        if self.leaves.count() == leaves::MOST {
            self.insert_leaves()?;
        }
        Ok(())
    }

    /// Inserts the leaves that were added.
    fn insert_leaves(&mut self) -> Result<(), StoreError> {
        self.leaves.insert(&self.connection).doing("write", &self.path)?;
        self.leaves.begin(self.next.leaf);
        Ok(())
    }

    /// Stores one delivery and its entries, with their leaves, in the open transaction. Duplicates are
    /// noted in `context`, new entries in `classes`.
    pub(in crate::store) fn store(
        &mut self,
        delivery: &Delivery,
        entries: impl Iterator<Item = SaltedEntry>,
        context: &mut Context<'_>,
        classes: &mut Classes,
    ) -> Result<Appended, StoreError> {
        let mut appended = Appended::default();
        // The leaves of the delivery have the time that its row has.
        let stored_at = self.now();
        self.leaves.begin(self.next.leaf);
        for salted in entries {
            let entry = &salted.entry;
            appended.received += 1;
            *appended.count(entry.verdict.name()) += 1;
            match self.insert(entry, delivery, context)? {
                None => {
                    self.add_leaf(&salted, delivery.received_at, stored_at)?;
                    self.next.entry += 1;
                    self.bytes += entry.raw.len() as u64;
                    appended.stored += 1;
                    classes.count(entry);
                }
                Some(found) => {
                    appended.duplicates += 1;
                    self.note_again(found, salted.entry, delivery, context)?;
                }
            }
        }
        self.insert_leaves()?;
        self.insert_delivery(delivery, stored_at, &appended).doing("write", &self.path)?;
        self.next.delivery += 1;
        Ok(appended)
    }

    /// Stores an entry, or finds the one that it is a duplicate of.
    fn insert(
        &self,
        entry: &Entry,
        delivery: &Delivery,
        context: &mut Context<'_>,
    ) -> Result<Option<Duplicate>, StoreError> {
        if let Some(id) = context.older.find(entry) {
            return Ok(Some(Duplicate { id, same_line: true }));
        }
        let stored = EntryMetadata {
            id: self.next.entry,
            received_at: delivery.received_at,
            delivery: self.next.delivery,
            input: &delivery.input,
            delivery_count: 1,
        };
        // This segment is searched by its unique indexes, on insert.
        let mut elsewhere = Segments { older: &mut *context.older, live: None };
        if let Some(id) = elsewhere.find_shown(context.catalog, entry)? {
            // The same line may be here too, if it was not valid when it came first.
            let here = self.find(entry).doing("find a duplicate", &self.path)?;
            let here = here.filter(|found| found.same_line);
            return Ok(here.or(Some(Duplicate { id, same_line: false })));
        }
        let inserted = row::insert_with_leaf(&self.connection, entry, &stored, self.next.leaf);
        match inserted.doing("write", &self.path)? {
            true => Ok(None),
            false => self.find(entry).doing("find a duplicate", &self.path),
        }
    }

    /// Finds the entry of this segment with the line of `entry`, or else with its signed identity.
    fn find(&self, entry: &Entry) -> rusqlite::Result<Option<Duplicate>> {
        let signed = entry.signed.as_ref().map(|signed| signed.0.as_slice());
        self.connection
            .prepare_cached(
                "SELECT id, fingerprint = ?2 AS same_line FROM entries
                 WHERE event_time = ?1 AND (fingerprint = ?2 OR signed = ?3)
                 ORDER BY same_line DESC LIMIT 1",
            )?
            .query_row((identity::time(entry), entry.fingerprint.0.as_slice(), signed), |row| {
                Ok(Duplicate { id: row.get(0)?, same_line: row.get(1)? })
            })
            .optional()
    }

    /// Counts a duplicate, and notes whether it is better and whether its line is another one.
    fn note_again(
        &self,
        found: Duplicate,
        entry: Entry,
        delivery: &Delivery,
        context: &mut Context<'_>,
    ) -> Result<(), StoreError> {
        let Context { older, catalog, redeliveries, begun } = context;
        let shown = catalog.overlay().shown_instead_of(found.id);
        let shown = shown.doing("read the spellings", catalog.path())?;
        let (id, same_line) = match shown {
            Some(shown) => (shown, false),
            None => (found.id, found.same_line),
        };
        if id < self.segment.first_id {
            redeliveries.count_older(id);
        } else {
            self.count_again(id).doing("write", &self.path)?;
        }
        if !same_line {
            let (fingerprint, delivery) = (entry.fingerprint, self.next.delivery);
            let spelling = NewSpelling { entry: id, fingerprint, delivery };
            let (live, first) = (&self.connection, self.segment.first_delivery);
            spellings::keep(&catalog.overlay(), live, first, &spelling, &entry.raw)
                .doing("keep a spelling", &self.path)?;
            redeliveries.note_spelling(spelling);
        }
        let redelivery = Redelivery { id, same_line, entry, input: &delivery.input };
        redeliveries.note_improvement(catalog, &mut self.with(older), redelivery, *begun)
    }

    fn count_again(&self, id: u64) -> rusqlite::Result<usize> {
        self.connection
            .prepare_cached("UPDATE entries SET delivery_count = delivery_count + 1 WHERE id = ?1")?
            .execute([id])
    }

    fn insert_delivery(
        &self,
        delivery: &Delivery,
        stored_at: Millis,
        appended: &Appended,
    ) -> rusqlite::Result<()> {
        let duration = delivery.started.elapsed().as_micros();
        let (epoch, number, position) = origins::values(delivery.origin);
        let values: [&dyn ToSql; 19] = [
            &self.next.delivery,
            &delivery.received_at.get(),
            &delivery.input,
            &delivery.peer,
            &delivery.bytes,
            &delivery.decoded_bytes,
            &appended.received,
            &appended.stored,
            &appended.duplicates,
            &appended.malformed,
            &appended.valid,
            &appended.invalid,
            &appended.unsigned,
            &appended.no_key,
            &i64::try_from(duration).unwrap_or(i64::MAX),
            &stored_at.get(),
            &epoch,
            &number,
            &position,
        ];
        self.connection
            .prepare_cached(
                "INSERT INTO deliveries (id, received_at, input, peer, bytes, decoded_bytes,
                     received, stored, duplicates, malformed, valid, invalid, unsigned, no_key,
                     status, duration_us, stored_at, epoch, number, position)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 200, ?15,
                     ?16, ?17, ?18, ?19)",
            )?
            .execute(values)
            .map(drop)
    }
}

impl Appended {
    /// The number of received lines with this verdict.
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
