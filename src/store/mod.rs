//! The store: entries in segments, and a catalog of them. Only here is SQLite known.
//!
//! Segments are SQLite files of one schema. The newest takes appends, the others never change. What
//! is learned of an entry later stands in the catalog and is laid over it when it is read.
//!
//! Its parts. Each uses only those above it in this list:
//!
//! - `directory` (the data directory and its lock), `sqlite` and `schema` (how databases are
//!   opened, and the versions of their tables), `refused` (refused requests), `interrupt`,
//!   `options`, `origin` (places in a journal), `error`.
//! - `tiles`: the files of the log. `segment`: the file of a segment. Its rows, long lines in pieces, the
//!   identities of an entry, its leaf in the log, and conditions in SQL.
//! - `catalog`: which segments there are, the `overlay` of what was learned later, keys, the
//!   quarantine, and where outputs stand.
//! - `read` and `write`, which do not use each other. `read` finds, counts and follows entries; it
//!   takes no lock. `write` is one thread that stores deliveries and finds duplicates.
//! - `maintain`: sealing, late verdicts and retention in the background; tiles, checks, backups and
//!   repairs on request.
//! - Here: [`Store`], which puts the writing side together.

mod catalog;
mod directory;
mod error;
mod interrupt;
mod maintain;
mod options;
mod origin;
mod read;
mod refused;
mod schema;
mod segment;
mod sqlite;
#[cfg(test)]
mod tests;
mod tiles;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

pub use catalog::archived::Archived;
pub use catalog::coverage::{Reconciled, ReconciledRange, Scope, Uptime};
pub use catalog::gaps::Gap;
pub use catalog::outputs::{OutputCursor, OutputCursors, Position};
pub use catalog::quarantine::{Dropped, Quarantined};
pub use catalog::retirements::{RETIRE_AFTER, Retirements};
pub use catalog::segments::State;
pub use catalog::sightings;
pub use catalog::sightings::{Sighting, Source};
pub use directory::Directory;
pub use error::StoreError;
pub use interrupt::Interrupt;
pub use maintain::check::{CheckOptions, CheckReport, Difference, HashedFile, StoreCheck};
pub use maintain::late::Judge;
pub use maintain::rebuild::{Rebuild, Rebuilt, RebuiltSegment};
pub use maintain::reseal::Resealed;
pub use maintain::retention::Pruned;
pub use maintain::{backup, repair, snapshot};
pub use options::{Options, Retention};
pub use origin::{BadPositions, EpochCursor, EpochEnd, JournalState, Origin, Positions, Skip};
pub use read::Reader;
pub use read::archive::{
    ArchiveProgress, EntryPlace, Extent, KeptSpelling, SealedSegment, WholeEntry,
};
pub use read::counts::{self, CountRequest, Counts, FieldCounts, Receipts, Received, Stack};
pub use read::follow::{Event, EventBatch, Export, Follow};
pub use read::listed::{CatalogLists, ListedSegment};
pub use read::logged::{EntryState, LaterVersion, Logged, LoggedEntry, Slice};
pub use read::outputs::OutputStanding;
pub use read::page::{BadCursor, Page, PageCursor, Scan};
pub use read::provenance::{Provenance, SpellingLine};
pub use read::query::TimeRange;
pub use read::received::{EntryInLog, ReceivedEntry};
pub use read::stats::{SegmentStats, Stats, StoredDelivery};
pub use read::usage::Usage;
pub use read::watch::CatalogWatch;
pub use refused::Refused;
pub use segment::restored::RestoredEntry;
pub use tiles::{StreamLength, Tiles};
pub use write::observer::{self, Health, StoreObserver};
pub use write::pulse::Pulse;
pub use write::writer::{Appended, Delivery, StoredBatch};

use self::catalog::segments::Segment;
use self::catalog::{Catalog, quarantine, retirements};
use self::directory::Lock;
use self::error::SqliteContext;
use self::maintain::background::{Background, Task};
use self::maintain::events::EventLeaves;
use self::maintain::tiles::TileDeriver;
use self::maintain::{late, leftovers, retention};
use self::refused::{RefusedFile, Waiting};
use self::write::salted::SaltedEntry;
use self::write::writer::{Job, Message, Writer};
use crate::clock::now;
use crate::entry::Millis;
use crate::ingest::{Batch, Entry, ExpectedIds};
use crate::signature::{KeySet, Verdict};
use crate::tlog::leaf::Leaf;

/// The store, open for writing. Only one process can have it open for writing.
///
/// When it is dropped, the writes in progress are finished and the files are closed.
#[derive(Debug)]
pub struct Store {
    writer: Sender<Message>,
    background: Sender<Task>,
    /// For small and rare writes: keys and the quarantine.
    catalog: Mutex<Catalog>,
    waiting: Arc<Waiting>,
    health: Arc<Health>,
    options: Options,
    directory: Directory,
    tiles: Arc<TileDeriver>,
    stopping: Arc<AtomicBool>,
    threads: Option<(JoinHandle<()>, JoinHandle<()>)>,
    _lock: Lock,
}

/// The entries of a body are handed to the writer in chunks of this many entries, or of this many
/// bytes of lines. An entry may take many times as much memory as its line.
const CHUNK: usize = 512;
const CHUNK_BYTES: usize = 512 << 10;

/// The number of chunks of a body that wait for the writer.
const AHEAD: usize = 2;

/// Deliveries that are appended together wait for the writer until their bodies have this many bytes.
const BYTES_AHEAD: u64 = 2 << 20;

/// A delivery that the writer has.
struct HandedOver {
    answer: Receiver<Result<StoredBatch, StoreError>>,
    /// Whether it has entries whose signature was not tried.
    has_not_tried: bool,
}

impl HandedOver {
    /// Blocks until its transaction is on disk.
    fn wait(self, store: &Store) -> Result<StoredBatch, StoreError> {
        let stored = self.answer.recv().map_err(|_| StoreError::Closing)??;
        if self.has_not_tried {
            // It stops only when the store is dropped.
            let _ = store.background.send(Task::NotTried);
        }
        Ok(stored)
    }
}

impl Store {
    /// Takes the lock and opens the store. Interrupted work is resumed in the background.
    pub fn open(directory: &Directory, options: Options) -> Result<Store, StoreError> {
        Store::open_with_observer(directory, options, Arc::new(()))
    }

    /// Opens the store with an observer.
    pub fn open_with_observer(
        directory: &Directory,
        options: Options,
        observer: Arc<dyn StoreObserver>,
    ) -> Result<Store, StoreError> {
        let lock = directory.lock()?;
        let (to_writer, messages) = channel();
        let (to_background, tasks) = channel();
        let closed = {
            let to_background = to_background.clone();
            // It may have stopped.
            Box::new(move || drop(to_background.send(Task::Seal)))
        };
        let catalog = Catalog::open(directory)?;
        if catalog.is_part()? {
            let what =
                "has a part of a store, which was restored from an archive and can only be read";
            return Err(StoreError::Directory {
                path: directory.path().to_owned(),
                what: what.into(),
            });
        }
        leftovers::tidy(directory, &catalog)?;
        tiles::create(directory)?;
        let health = Arc::new(Health::default());
        let writer =
            Writer::open(directory.clone(), options, closed, observer, Arc::clone(&health))?;
        let tiles = Arc::new(TileDeriver::new(directory));
        let waiting = Arc::new(Waiting::default());
        let stopping = Arc::new(AtomicBool::new(false));
        let background = Background {
            directory: directory.clone(),
            catalog,
            refused: RefusedFile::new(directory),
            options,
            clocks: None,
            waiting: Arc::clone(&waiting),
            writer: to_writer.clone(),
            tiles: Arc::clone(&tiles),
            events: EventLeaves::new(directory, &to_writer, &tiles),
            stopping: Arc::clone(&stopping),
            queue: late::RecheckQueue::default(),
            archive: None,
            held: BTreeMap::new(),
            not_tried: false,
        };
        let writer = spawn("store-writer", move || writer.run(&messages))?;
        let background = spawn("store-background", move || background.run(&tasks))?;
        Ok(Store {
            writer: to_writer,
            background: to_background,
            catalog: Mutex::new(Catalog::open(directory)?),
            waiting,
            health,
            options,
            directory: directory.clone(),
            tiles,
            stopping,
            threads: Some((writer, background)),
            _lock: lock,
        })
    }

    /// The id of the store: 32 hexadecimal digits, made at random with the store. A backup has the same.
    pub fn id(&self) -> Result<String, StoreError> {
        let catalog = self.catalog();
        catalog.store_id()?.ok_or_else(|| StoreError::Foreign(catalog.path().to_owned()))
    }

    /// What the store has read of a journal. Right while nobody appends deliveries of a journal.
    pub fn journal(&self) -> Result<JournalState, StoreError> {
        self.catalog().journal(&self.directory)
    }

    /// Records that an object of a journal was given up. A record of the same object is replaced.
    pub fn record_skip(&self, skip: &Skip) -> Result<(), StoreError> {
        self.catalog().record_skip(skip)
    }

    /// Records that an epoch of a journal has ended: everything below its seal is stored. The first record
    /// of an epoch stays.
    pub fn record_epoch_end(&self, end: &EpochEnd) -> Result<(), StoreError> {
        self.catalog().record_epoch_end(end)
    }

    /// Records that a segment is in an archive, and was read back. A record of the same segment is
    /// replaced, also that of another archive.
    pub fn record_archived(&self, archived: &Archived) -> Result<(), StoreError> {
        self.catalog().record_archived(archived)
    }

    /// Records that the late verdicts of all segments that are recorded in the archive at this place are
    /// there too, up to the change with this number.
    pub fn record_archived_changes(&self, place: &str, change: u64) -> Result<(), StoreError> {
        self.catalog().record_archived_changes(place, change)
    }

    /// Removes the record that the segment with this first id is in an archive.
    pub fn forget_archived(&self, first_id: u64) -> Result<(), StoreError> {
        self.catalog().forget_archived(first_id)
    }

    /// Lets retention go by the records of the archive at this place, for they were compared with what is
    /// there. Where retention needs an archive, it deletes nothing before, and nothing after `None`.
    pub fn trust_archive(&self, place: Option<String>) {
        // It stops only when the store is dropped.
        let _ = self.background.send(Task::TrustArchive(place));
    }

    /// Stores a delivery. Blocks until its transaction is on disk.
    ///
    /// # Errors
    /// [`StoreError::AlreadyStored`] if the delivery from its place in a journal is stored or was dropped
    /// from the quarantine. It may be in quarantine: this is how it leaves it.
    pub fn append(
        &self,
        delivery: Delivery,
        batch: &Batch,
        expected: &ExpectedIds,
    ) -> Result<StoredBatch, StoreError> {
        self.hand_over(delivery, batch, expected)?.wait(self)
    }

    /// Stores deliveries in this order. Blocks until the last transaction is on disk. They share
    /// transactions, so this takes less time than one after the other.
    ///
    /// # Errors
    /// Each delivery has a result of its own, as of [`Store::append`].
    pub fn append_all<'a>(
        &self,
        all: impl IntoIterator<Item = (Delivery, &'a Batch, Arc<ExpectedIds>)>,
    ) -> Vec<Result<StoredBatch, StoreError>> {
        let (mut begun, mut stored, mut bytes) = (VecDeque::new(), Vec::new(), 0);
        for (delivery, batch, expected) in all {
            let size = delivery.decoded_bytes;
            bytes += size;
            begun.push_back((self.hand_over(delivery, batch, &expected), size));
            // Entries that wait take many times as much memory as their lines.
            while bytes > BYTES_AHEAD
                && let Some((oldest, size)) = begun.pop_front()
            {
                stored.push(oldest.and_then(|oldest| oldest.wait(self)));
                bytes -= size;
            }
        }
        stored.extend(begun.into_iter().map(|(one, _)| one.and_then(|one| one.wait(self))));
        stored
    }

    /// Hands a delivery to the writer. Blocks until all entries are handed over.
    fn hand_over(
        &self,
        delivery: Delivery,
        batch: &Batch,
        expected: &ExpectedIds,
    ) -> Result<HandedOver, StoreError> {
        let (received_at, input) = (delivery.received_at, delivery.input.clone());
        let (to_chunks, chunks) = sync_channel(AHEAD);
        let (reply, answer) = sync_channel(1);
        let mut job = Some(Job { delivery, lines: batch.len(), chunks, reply });
        let mut entries = batch.entries(expected, received_at);
        let mut to_chunks = Some(to_chunks);
        let mut ready = 0;
        while let Some(sender) = &to_chunks {
            let (chunk, done) = chunk(&mut entries);
            // If the writer gave up, it takes no more chunks. Its reply has the reason.
            if sender.send(SaltedEntry::all(chunk, &input)?).is_err() || done {
                to_chunks = None;
            }
            ready += 1;
            // The writer has its transaction open while it waits for chunks. So it gets a delivery
            // when all of its chunks are ready, or as many as are kept.
            if (ready == AHEAD || to_chunks.is_none())
                && let Some(job) = job.take()
            {
                self.writer.send(Message::Append(job)).map_err(|_| StoreError::Closing)?;
            }
        }
        let has_not_tried = batch.verdicts().any(Verdict::is_not_tried);
        Ok(HandedOver { answer, has_not_tried })
    }

    /// Adds a leaf that is not of an entry to the log, and returns its index. Blocks until it is on disk.
    pub fn append_leaf(&self, leaf: Leaf) -> Result<u64, StoreError> {
        let (reply, added) = sync_channel(1);
        let message = Message::Leaves { leaves: vec![leaf], salts: Vec::new(), reply };
        self.writer.send(message).map_err(|_| StoreError::Closing)?;
        added.recv().map_err(|_| StoreError::Closing)?
    }

    /// Records that the store was compared with Konnect, and returns the leaf that says so. Blocks until
    /// it is on disk.
    pub fn record_reconciled(&self, reconciled: &Reconciled) -> Result<u64, StoreError> {
        let leaf = self.append_leaf(reconciled.leaf())?;
        self.catalog().record_reconciled(leaf, reconciled)?;
        Ok(leaf)
    }

    /// Records that a run of `serve` begins, and returns the number of the record.
    pub fn begin_uptime(&self, uptime: &Uptime) -> Result<i64, StoreError> {
        self.catalog().begin_uptime(uptime)
    }

    /// Records a sign of life of a run of `serve`.
    pub fn extend_uptime(&self, number: i64, last_seen_at: Millis) -> Result<(), StoreError> {
        self.catalog().extend_uptime(number, last_seen_at)
    }

    /// Writes the files of the log for all leaves that are committed, and returns their number. Blocks
    /// until the files are on disk. Threads that call it wait for one another.
    ///
    /// # Errors
    /// [`StoreError::LeavesMissing`] if leaves are neither in the files nor in a segment. Then the log
    /// cannot go on.
    pub fn write_tiles(&self) -> Result<u64, StoreError> {
        self.tiles.write()
    }

    /// Whether the store can be written to.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// A watch on the writer thread.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.writer.clone(), Arc::clone(&self.health))
    }

    /// Hides the entry `hidden`, because the entry `shown` is the same one. Nothing is deleted. Returns
    /// `false` if there is no entry `hidden`.
    pub fn hide(&self, reader: &Reader, hidden: u64, shown: u64) -> Result<bool, StoreError> {
        let Some((fingerprint, delivery)) = reader.first_delivery(hidden)? else {
            return Ok(false);
        };
        self.catalog().transaction("hide an entry", |catalog| {
            let hide = catalog.overlay().hide(hidden, shown, &fingerprint, delivery);
            hide.doing("hide an entry", catalog.path())
        })?;
        Ok(true)
    }

    /// Stores a body that cannot be decoded in the quarantine, and returns its number. The number
    /// and the size in `what` are ignored.
    ///
    /// # Errors
    /// [`StoreError::AlreadyStored`] if the delivery from its place in a journal is stored, in quarantine
    /// or dropped.
    pub fn quarantine(&self, what: &Quarantined, body: &[u8]) -> Result<u64, StoreError> {
        let catalog = self.catalog();
        if let Some(origin) = what.origin
            && catalog.has_origin(&self.directory, &origin)?
        {
            return Err(StoreError::AlreadyStored(origin));
        }
        quarantine::put(&catalog, what, body, self.options.quarantine_size)
    }

    /// A body in quarantine.
    pub fn quarantined(&self, id: u64) -> Result<(Quarantined, Vec<u8>), StoreError> {
        quarantine::get(&self.catalog(), id)
    }

    /// The numbers of the bodies in quarantine, oldest first.
    pub fn quarantined_ids(&self) -> Result<Vec<u64>, StoreError> {
        Ok(quarantine::list(&self.catalog())?.into_iter().map(|one| one.id).collect())
    }

    /// Removes a body from the quarantine, after its entries were stored.
    pub fn release(&self, id: u64) -> Result<(), StoreError> {
        quarantine::remove(&self.catalog(), id)
    }

    /// Drops a body from the quarantine, and records that. `None` if there is no such body.
    pub fn drop_quarantined(&self, id: u64, now: Millis) -> Result<Option<Dropped>, StoreError> {
        quarantine::drop_body(&self.catalog(), id, now)
    }

    /// Records a refused request, within about a second.
    pub fn note_refused(&self, refused: Refused) {
        self.waiting.note(refused);
    }

    /// Records the result of a source of keys: its key set or an error.
    pub fn enter_keys(
        &self,
        source: &str,
        result: Result<&KeySet, &str>,
        now: Millis,
    ) -> Result<(), StoreError> {
        sightings::enter(&self.catalog(), source, result, now)
    }

    /// Records how long keys verify after they left their set, for what is received from `now` on. What
    /// was received before keeps its period.
    pub fn enter_retirement(
        &self,
        retire_after: std::time::Duration,
        now: Millis,
    ) -> Result<Retirements, StoreError> {
        retirements::enter(&self.catalog(), retire_after, now)
    }

    /// The recorded periods for which keys verify after they left their set.
    pub fn retirements(&self) -> Result<Retirements, StoreError> {
        retirements::all(&self.catalog())
    }

    /// Every key that was ever seen, and every source.
    pub fn keys(&self) -> Result<(Vec<Sighting>, Vec<Source>), StoreError> {
        sightings::all(&self.catalog())
    }

    /// Records the key sources of each input.
    pub fn enter_inputs(&self, inputs: &[(String, Vec<String>)]) -> Result<(), StoreError> {
        sightings::enter_inputs(&self.catalog(), inputs)
    }

    /// The key sources of each input.
    pub fn inputs(&self) -> Result<Vec<(String, String)>, StoreError> {
        sightings::inputs(&self.catalog())
    }

    /// Checks the entries again that a new key may make valid, in the background. From then on,
    /// entries that were stored without being tried are checked too.
    pub fn recheck(&self, judge: Arc<dyn Judge>) {
        // It stops only when the store is dropped.
        let _ = self.background.send(Task::Recheck(judge));
    }

    /// Closes the live segment, seals all closed segments, and returns when that is done. A recheck
    /// in progress is finished first if it takes at most 10 seconds.
    pub fn seal(&self) -> Result<(), StoreError> {
        let (reply, sealed) = sync_channel(1);
        self.background.send(Task::SealAll(reply)).map_err(|_| StoreError::Closing)?;
        sealed.recv().map_err(|_| StoreError::Closing)?
    }

    /// Closes the live segment if it is as old as a segment may be and has an entry. It is sealed soon.
    pub fn close_old(&self) -> Result<(), StoreError> {
        let age = self.options.segment_age.as_millis();
        let is_old = |segment: Segment| {
            let since = now().get().saturating_sub(segment.created_at.get());
            segment.closed.is_none() && u128::try_from(since).unwrap_or(0) >= age
        };
        let newest = {
            let catalog = self.catalog();
            let first_id = catalog.newest()?;
            first_id.map_or(Ok(None), |first_id| catalog.segment(first_id))?
        };
        if !newest.is_some_and(is_old) {
            return Ok(());
        }
        let (reply, closed) = sync_channel(1);
        let close = Message::Close { only_if: None, reply };
        self.writer.send(close).map_err(|_| StoreError::Closing)?;
        closed.recv().map_err(|_| StoreError::Closing)?
    }

    /// Rewrites the first sealed segment of an earlier version that begins after the id `after`, in
    /// the newest version. `None` if there is no such segment.
    pub fn reseal_next(&self, after: u64) -> Result<Option<Resealed>, StoreError> {
        let (reply, resealed) = sync_channel(1);
        self.background.send(Task::Reseal(after, reply)).map_err(|_| StoreError::Closing)?;
        resealed.recv().map_err(|_| StoreError::Closing)?
    }

    /// What `retention` would remove now, oldest first.
    pub fn prunable(&self, retention: Retention) -> Result<Vec<Pruned>, StoreError> {
        let catalog = self.catalog();
        let due = retention::due(&self.directory, &catalog, retention, None, now())?;
        Ok(due.segments.into_iter().map(|segment| Pruned::of(&self.directory, segment)).collect())
    }

    /// Deletes what `retention` says, and returns the number of deleted segments.
    pub fn prune(&self, retention: Retention) -> Result<usize, StoreError> {
        let (reply, pruned) = sync_channel(1);
        self.background.send(Task::Prune(retention, reply)).map_err(|_| StoreError::Closing)?;
        pruned.recv().map_err(|_| StoreError::Closing)?
    }

    fn catalog(&self) -> std::sync::MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let Some((writer, background)) = self.threads.take() else { return };
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        };
        // The background thread may be waiting for the writer. And whoever closes a segment last takes its
        // write-ahead log into it, which only the writer may do.
        let _ = self.background.send(Task::Stop);
        join(background);
        let _ = self.writer.send(Message::Stop);
        join(writer);
    }
}

/// The next chunk of entries, and whether it is the last.
fn chunk(entries: &mut impl Iterator<Item = Entry>) -> (Vec<Entry>, bool) {
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    while chunk.len() < CHUNK && bytes < CHUNK_BYTES {
        let Some(entry) = entries.next() else { return (chunk, true) };
        bytes += entry.raw.len();
        chunk.push(entry);
    }
    (chunk, false)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|source| StoreError::Io {
        path: name.into(),
        doing: "start a thread",
        source,
    })
}
