//! The writer: one thread that owns the live segment.
//!
//! Waiting deliveries are stored in one transaction, with a savepoint for each, and get their replies
//! after the commit. A body is stored completely or not at all. A write in progress continues if its
//! client disconnects.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use crate::clock::now;
use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::gaps::Gap;
use crate::store::catalog::segments::{Segment, State};
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::options::Options;
use crate::store::origin::Origin;
use crate::store::write::duplicates::OlderSegments;
use crate::store::write::ids::{HighestIds, Ids};
use crate::store::write::leaves::{self, LogStart};
use crate::store::write::live::{Context, Live, NextIds};
use crate::store::write::observer::{Classes, Health, StoreObserver};
use crate::store::write::redeliveries::Redeliveries;
use crate::store::write::salted::SaltedEntry;
use crate::tlog::leaf::{Leaf, Salt};

/// A delivery that is to be stored.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// When its headers were read.
    pub received_at: Millis,
    /// The same moment, to measure how long it takes.
    pub started: Instant,
    /// The name of the input.
    pub input: String,
    /// Who sent it: an address and a port.
    pub peer: String,
    /// The size of the body as sent.
    pub bytes: u64,
    /// The size of the body when it is decoded.
    pub decoded_bytes: u64,
    /// Where it stood in a journal. `None` if it came directly. It is stored once.
    pub origin: Option<Origin>,
}

/// The result of a delivery. `received = stored + duplicates`; malformed lines count in all three;
/// the verdicts count the received lines that are not malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Lines that are not blank.
    pub received: u64,
    /// Lines that were new.
    pub stored: u64,
    /// Lines that were there already.
    pub duplicates: u64,
    /// Lines that are no entries.
    pub malformed: u64,
    /// By verdict.
    pub valid: u64,
    /// By verdict.
    pub invalid: u64,
    /// By verdict.
    pub unsigned: u64,
    /// By verdict.
    pub no_key: u64,
}

/// A delivery that was stored.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// The id of the delivery.
    pub id: u64,
    pub delivery: Delivery,
    /// The number of its lines.
    pub appended: Appended,
    /// The number of its new entries by class.
    pub classes: Classes,
}

/// A message to the writer.
pub(in crate::store) enum Message {
    /// Store a delivery.
    Append(Job),
    /// Add leaves that are not of new entries to the log, and reply with the index of the first. Those of
    /// entries have a salt each.
    Leaves { leaves: Vec<Leaf>, salts: Vec<Salt>, reply: SyncSender<Result<u64, StoreError>> },
    /// Delete the records of these leaves that are not of entries of the live segment.
    Trim(Range<u64>),
    /// Read the list of segments again, because one was sealed or dropped, and reply.
    Relist(SyncSender<()>),
    /// Close the live segment, if it has entries that meet this condition in SQL. An empty one stays.
    Close { only_if: Option<&'static str>, reply: SyncSender<Result<(), StoreError>> },
    /// Record a step, and do the idle work.
    Beat,
    /// Finish.
    Stop,
}

/// A delivery and its entries.
pub(in crate::store) struct Job {
    pub(in crate::store) delivery: Delivery,
    /// The number of entries. If fewer arrive, the sender of `chunks` failed.
    pub(in crate::store) lines: usize,
    pub(in crate::store) chunks: Receiver<Vec<SaltedEntry>>,
    pub(in crate::store) reply: SyncSender<Result<StoredBatch, StoreError>>,
}

/// The maximum size of a transaction, in bytes of bodies. A single body may be larger.
const GROUP_BYTES: u64 = 16 << 20;

/// A segment is also closed at this size, in bytes of lines, so that sealing and retention do not
/// get too large files.
const SEGMENT_BYTES: u64 = 256 << 20;

/// The interval of syncing the highest ids when idle.
const SYNC: Duration = Duration::from_secs(1);

/// The interval of checking the age of the live segment when idle.
const IDLE: Duration = Duration::from_secs(10);

pub(in crate::store) struct Writer {
    directory: Directory,
    catalog: Catalog,
    live: Live,
    ids: Ids,
    older: OlderSegments,
    options: Options,
    /// Called when a segment was closed.
    closed: Box<dyn Fn() + Send>,
    observer: Arc<dyn StoreObserver>,
    health: Arc<Health>,
}

/// The result of each delivery of a group.
type Results = Vec<Result<Stored, StoreError>>;

/// A delivery in the open transaction.
struct Stored {
    id: u64,
    appended: Appended,
    /// The classes of its new entries.
    classes: Classes,
}

impl Writer {
    /// Opens the live segment, or creates the first one.
    pub(in crate::store) fn open(
        directory: Directory,
        options: Options,
        closed: Box<dyn Fn() + Send>,
        observer: Arc<dyn StoreObserver>,
        health: Arc<Health>,
    ) -> Result<Writer, StoreError> {
        let catalog = Catalog::open(&directory)?;
        let segments = catalog.segments()?;
        let mut live = match segments.iter().find(|segment| segment.state == State::Live) {
            Some(segment) => Some(Live::open(&directory, segment.clone())?),
            None => None,
        };
        let last = live.as_ref().map_or_else(|| highest(&segments), Live::highest);
        let ids = Ids::open(&directory, last)?;
        let newest = newest(&segments);
        if let Some(live) = &mut live {
            live.not_before(newest);
        }
        let known = match &live {
            Some(live) => live.next_ids().2,
            None => leaves::after(&directory, &segments),
        };
        let log = LogStart::new(&directory, known);
        let live = match live {
            Some(mut live)
                if ids.acknowledged().is_within(last) && log.last_lost_id() <= last.entry =>
            {
                live.begin_leaves(log.next_leaf(), &log.leaves(&directory, &segments, last)?)?;
                live
            }
            before => begin(&directory, &catalog, (before, &segments), (last, &log), &ids)?,
        };
        let older = OlderSegments::new(directory.clone(), without_live(catalog.segments()?));
        Ok(Writer { directory, catalog, live, ids, older, options, closed, observer, health })
    }

    /// Handles messages until it is told to stop or all senders are gone.
    pub(in crate::store) fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let idle = if self.ids.is_unsynced() { SYNC } else { IDLE };
            let message = messages.recv_timeout(idle);
            self.health.beat();
            match message {
                Ok(Message::Append(job)) => {
                    let (group, next) = group(job, messages);
                    self.append(group);
                    self.rotate_if_due();
                    match next {
                        Some(Message::Stop) => return,
                        Some(message) => self.handle(message),
                        None => {}
                    }
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                // This must also happen if there are many of these messages.
                Ok(Message::Beat) | Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.ids.sync_if_due() {
                        tracing::warn!(%error, "the highest ids are not on the disk");
                    }
                    self.try_again();
                    self.rotate_if_due();
                }
                Ok(message) => self.handle(message),
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Append(job) => self.append(vec![job]),
            Message::Leaves { leaves, salts, reply } => {
                // Nobody may be waiting any more.
                let _ = reply.send(self.live.add_leaves(&leaves, &salts));
            }
            Message::Trim(leaves) => {
                if let Err(error) = self.live.trim_leaves(&leaves) {
                    tracing::warn!(%error, "records that the files of the log have stay in the live segment");
                }
            }
            Message::Relist(reply) => {
                self.relist();
                // Nobody may be waiting any more.
                let _ = reply.send(());
            }
            Message::Close { only_if, reply } => {
                let is_due = only_if.is_none_or(|has| self.live.has(has).unwrap_or(true));
                let closed = if is_due { self.rotate() } else { Ok(()) };
                // Nobody may be waiting any more.
                let _ = reply.send(closed);
            }
            Message::Beat | Message::Stop => {}
        }
    }

    /// Stores a group of deliveries in one transaction and replies to each.
    fn append(&mut self, group: Vec<Job>) {
        let mut redeliveries = Redeliveries::default();
        let (begun, started) = (self.live.mark(), Instant::now());
        let results = self.transaction(&group, begun, &mut redeliveries);
        match results {
            Ok(results) => {
                // Without it a loss of these entries could not be detected. The sender sends them
                // again, and they are duplicates.
                if let Err(error) = self.ids.acknowledge(self.live.highest()) {
                    return self.refuse(group, &error);
                }
                if let Err(error) =
                    redeliveries.enter(&self.catalog, &mut self.live.with(&mut self.older))
                {
                    tracing::error!(%error, "what came again is not entered; its senders are asked to send it once more");
                    return self.refuse(group, &error);
                }
                self.report(&results, started.elapsed());
                for (Job { delivery, reply, .. }, result) in group.into_iter().zip(results) {
                    let _ = reply.send(result.map(|Stored { id, appended, classes }| {
                        StoredBatch { id, delivery, appended, classes }
                    }));
                }
            }
            Err(error) => {
                let _ = self.live.execute("ROLLBACK");
                self.live.return_to(begun);
                tracing::error!(%error, "a transaction failed, nothing of it is stored");
                self.refuse(group, &error);
            }
        }
    }

    /// Replies to a group of deliveries with an error.
    fn refuse(&self, group: Vec<Job>, error: &StoreError) {
        self.observer.failed();
        self.health.note(Some(error.to_string()));
        for job in group {
            let _ = job.reply.send(Err(StoreError::RolledBack(error.to_string())));
        }
    }

    /// Reports a commit to the observer.
    fn report(&self, results: &Results, took: Duration) {
        self.observer.committed(results.len(), took);
        let mut trouble = None;
        for result in results {
            match result {
                Ok(_) => {}
                // Nothing failed.
                Err(StoreError::AlreadyStored(_)) => {}
                // The sender's thread failed, not the disk.
                Err(StoreError::Incomplete { .. }) => self.observer.failed(),
                Err(error) => {
                    self.observer.failed();
                    trouble = Some(error.to_string());
                }
            }
        }
        self.health.note(trouble);
    }

    /// Tests whether the store can be written to, after a failure.
    fn try_again(&self) {
        if self.health.trouble().is_some() {
            let tried = self.live.try_write();
            self.health.note(tried.err().map(|error| error.to_string()));
        }
    }

    fn transaction(
        &mut self,
        group: &[Job],
        begun: NextIds,
        redeliveries: &mut Redeliveries,
    ) -> Result<Results, StoreError> {
        self.live.execute("BEGIN IMMEDIATE")?;
        let mut results = Vec::with_capacity(group.len());
        for job in group {
            self.live.execute("SAVEPOINT delivery")?;
            let (mark, before) = (self.live.mark(), redeliveries.savepoint());
            let result = self.store(job, begun, redeliveries);
            if result.is_err() {
                // Fails if the error ended the transaction: then the whole group failed.
                self.live.execute("ROLLBACK TO delivery")?;
                self.live.return_to(mark);
                redeliveries.return_to(&before, mark);
            }
            self.live.execute("RELEASE delivery")?;
            results.push(result);
        }
        self.ids.reserve(self.live.highest())?;
        self.live.execute("COMMIT")?;
        Ok(results)
    }

    fn store(
        &mut self,
        job: &Job,
        begun: NextIds,
        redeliveries: &mut Redeliveries,
    ) -> Result<Stored, StoreError> {
        if let Some(origin) = job.delivery.origin
            && (self.live.has_origin(&origin)?
                || self.catalog.had_before(&self.directory, &origin)?)
        {
            return Err(StoreError::AlreadyStored(origin));
        }
        let mut classes = Classes::default();
        let (_, id, _) = self.live.next_ids();
        // A large delivery takes long, and is no reason to think that the writer hangs.
        let entries = job.chunks.iter().inspect(|_| self.health.beat()).flatten();
        let mut context =
            Context { older: &mut self.older, catalog: &self.catalog, redeliveries, begun };
        let appended = self.live.store(&job.delivery, entries, &mut context, &mut classes)?;
        match usize::try_from(appended.received).unwrap_or(usize::MAX) {
            got if got == job.lines => Ok(Stored { id, appended, classes }),
            got => Err(StoreError::Incomplete { got, expected: job.lines }),
        }
    }

    fn rotate_if_due(&mut self) {
        let age = now().get().saturating_sub(self.live.segment.created_at.get());
        let old = u128::try_from(age).unwrap_or(0) >= self.options.segment_age.as_millis();
        let full = self.live.entries() >= self.options.segment_entries
            || self.live.bytes() >= SEGMENT_BYTES;
        if (full || old)
            && let Err(error) = self.rotate()
        {
            tracing::warn!(%error, "a new segment cannot be begun; the old one goes on");
        }
    }

    /// Closes the live segment and creates a new one, unless it is empty.
    fn rotate(&mut self) -> Result<(), StoreError> {
        if self.live.entries() == 0 {
            return Ok(());
        }
        let (closed, epochs) = (self.live.closed()?, self.live.epochs()?);
        let (id, delivery, leaf) = self.live.next_ids();
        let now = self.live.now();
        let live = Live::create(&self.directory, (id, delivery, Some(leaf)), now)?;
        let before = Some((self.live.segment.first_id, &closed, &*epochs));
        self.catalog.rotate(before, &live.segment, None)?;
        self.live = live;
        self.relist();
        (self.closed)();
        Ok(())
    }

    fn relist(&mut self) {
        match self.catalog.segments() {
            Ok(segments) => self.older.set(without_live(segments)),
            Err(error) => tracing::warn!(%error, "the list of segments cannot be read"),
        }
    }
}

/// The first job and the waiting ones, and the message that ended the group.
fn group(first: Job, messages: &Receiver<Message>) -> (Vec<Job>, Option<Message>) {
    let mut bytes = first.delivery.decoded_bytes;
    let mut group = vec![first];
    while bytes < GROUP_BYTES {
        match messages.try_recv() {
            Ok(Message::Append(job)) => {
                bytes = bytes.saturating_add(job.delivery.decoded_bytes);
                group.push(job);
            }
            Ok(other) => return (group, Some(other)),
            Err(mpsc::TryRecvError::Empty | mpsc::TryRecvError::Disconnected) => break,
        }
    }
    (group, None)
}

/// Creates a live segment if there is none, or if the one `before` has lost entries. `last` are the highest
/// existing ids.
fn begin(
    directory: &Directory,
    catalog: &Catalog,
    (mut before, segments): (Option<Live>, &[Segment]),
    (last, log): (HighestIds, &LogStart),
    ids: &Ids,
) -> Result<Live, StoreError> {
    let (acknowledged, reserved) = (ids.acknowledged(), ids.reserved());
    let given_out = acknowledged.entry.max(log.last_lost_id());
    let is_lost = !acknowledged.is_within(last) || given_out > last.entry;
    // A client may have seen reserved ids, and the log names those of leaves.
    let mut from = if is_lost { reserved } else { last };
    from.entry = from.entry.max(given_out);
    let gap = is_lost.then(|| Gap {
        first_id: last.entry + 1,
        last_id: from.entry,
        found_at: now(),
        reason: format!(
            "ids up to {given_out} were given out, and the newest segment ends with {}",
            last.entry
        ),
    });
    if let Some(gap) = &gap {
        tracing::error!(
            from = gap.first_id,
            to = gap.last_id,
            "entries are lost: {}. Ids go on after the gap; see `vidimus store check`",
            gap.reason
        );
    }
    let now = before.as_mut().map_or_else(|| now().max(newest(segments)), Live::now);
    let next = (from.entry + 1, from.delivery + 1, Some(log.next_leaf()));
    let mut live = Live::create(directory, next, now)?;
    // Before the catalog lists the segment: if this is interrupted, it is made again with its leaves.
    live.begin_leaves(log.next_leaf(), &log.leaves(directory, segments, last)?)?;
    let closed = match &before {
        Some(before) => Some((before.segment.first_id, before.closed()?, before.epochs()?)),
        None => None,
    };
    let closed = closed.as_ref().map(|(first_id, closed, epochs)| (*first_id, closed, &**epochs));
    catalog.rotate(closed, &live.segment, gap.as_ref())?;
    Ok(live)
}

/// The closed segments.
fn without_live(mut segments: Vec<Segment>) -> Vec<Segment> {
    segments.retain(|segment| segment.closed.is_some());
    segments
}

/// When the newest delivery of the closed segments was stored.
fn newest(segments: &[Segment]) -> Millis {
    let closed = segments.iter().filter_map(|segment| segment.closed.as_ref());
    let newest = closed.filter_map(|closed| closed.stored_at).map(|(_, newest)| newest).max();
    newest.map_or(Millis::MIN, Millis::saturating)
}

/// The highest ids of all segments.
fn highest(segments: &[Segment]) -> HighestIds {
    let closed = segments.iter().filter_map(|segment| segment.closed.as_ref());
    closed.fold(HighestIds::default(), |highest, closed| HighestIds {
        entry: highest.entry.max(closed.last_id),
        delivery: highest.delivery.max(closed.last_delivery),
    })
}
