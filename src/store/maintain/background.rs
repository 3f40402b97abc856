//! The background thread. It deletes leftovers, seals, checks verdicts again, prunes, and writes the
//! refused requests, while deliveries are stored.
//!
//! A recheck may take long, and so may the leaves of what happened later. They are done in slices. After
//! each slice the thread rests as long as the slice took, and does its other work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::clock::{Clocks, now, since_boot};
use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::State;
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::maintain::events::EventLeaves;
use crate::store::maintain::late::{self, Judge, Progress, RecheckQueue};
use crate::store::maintain::reseal::{self, Resealed};
use crate::store::maintain::retention::{self, Hold};
use crate::store::maintain::seal;
use crate::store::maintain::tiles::TileDeriver;
use crate::store::options::{Options, Retention};
use crate::store::refused::{RefusedFile, Waiting};
use crate::store::segment::{AWAITING_KEY, NOT_TRIED};
use crate::store::write::writer::Message;

/// A task of the background thread.
pub(in crate::store) enum Task {
    /// Seal closed segments.
    Seal,
    /// Close the live segment, seal all closed segments, and reply.
    SealAll(SyncSender<Result<(), StoreError>>),
    /// Rewrite the first sealed segment of an earlier version after this id, and reply.
    Reseal(u64, SyncSender<Result<Option<Resealed>, StoreError>>),
    /// Check the entries again that a new key may make valid.
    Recheck(Arc<dyn Judge>),
    /// Entries were stored that were not tried. Check them when there is time.
    NotTried,
    /// Let retention go by the records of the archive at this place, or of none.
    TrustArchive(Option<String>),
    /// Prune by these rules, and reply with the number of deleted segments.
    Prune(Retention, SyncSender<Result<usize, StoreError>>),
    /// Finish.
    Stop,
}

/// The interval of writing refused requests.
const TICK: Duration = Duration::from_secs(1);
/// The interval of retention and of retries. The live segment is closed at most as often for entries
/// that were not tried.
const ROUND: Duration = Duration::from_secs(30);
/// How long sealing waits for a recheck, because a segment that changes later is written twice.
const SOON: Duration = Duration::from_secs(10);

pub(in crate::store) struct Background {
    pub(in crate::store) directory: Directory,
    pub(in crate::store) catalog: Catalog,
    pub(in crate::store) refused: RefusedFile,
    pub(in crate::store) options: Options,
    pub(in crate::store) waiting: Arc<Waiting>,
    pub(in crate::store) writer: Sender<Message>,
    pub(in crate::store) tiles: Arc<TileDeriver>,
    pub(in crate::store) events: EventLeaves,
    /// The clocks at the first look.
    pub(in crate::store) clocks: Option<Clocks>,
    /// Set when the store is closing. Long tasks then stop where they can be resumed.
    pub(in crate::store) stopping: Arc<AtomicBool>,
    /// What is left to be checked again.
    pub(in crate::store) queue: RecheckQueue,
    /// The place of the archive whose records retention goes by. `None`: it needs none, or waits.
    pub(in crate::store) archive: Option<String>,
    /// The segments that retention kept the last time, by their first ids. Each is logged once.
    pub(in crate::store) held: BTreeMap<u64, Hold>,
    /// Whether there may be entries that were not tried and are not in `queue`.
    pub(in crate::store) not_tried: bool,
}

impl Background {
    /// Resumes interrupted work, and handles tasks until it is told to stop.
    pub(in crate::store) fn run(mut self, tasks: &Receiver<Task>) {
        self.round();
        let (mut next_round, mut next_closing) = (Instant::now() + ROUND, Instant::now());
        let (mut rested, mut next_leaves) = (Instant::now(), Instant::now());
        loop {
            let work = self.queue.current().map_or(next_leaves, |_| next_leaves.min(rested));
            let wait = work.saturating_duration_since(Instant::now()).min(TICK);
            match tasks.recv_timeout(wait) {
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(task) => self.handle(task),
                Err(RecvTimeoutError::Timeout) => {}
            }
            report("note refused requests", self.waiting.write(&mut self.refused));
            if Instant::now() >= next_round {
                self.round();
                self.queue.take_up_failed();
                next_round = Instant::now() + ROUND;
            }
            if self.not_tried && self.queue.has_judge() && Instant::now() >= next_closing {
                let added = self.add_not_tried();
                report("check what was not tried", added);
                next_closing = Instant::now() + ROUND;
            }
            if Instant::now() >= next_leaves {
                let begun = Instant::now();
                let more = self.add_leaves();
                next_leaves = Instant::now() + if more { begun.elapsed() } else { TICK };
            }
            if self.queue.current().is_some() && Instant::now() >= rested {
                let begun = Instant::now();
                self.check_again();
                rested = Instant::now() + begun.elapsed();
            }
        }
        report("note refused requests", self.waiting.write(&mut self.refused));
    }

    fn handle(&mut self, task: Task) {
        match task {
            Task::Seal => self.round(),
            Task::SealAll(reply) => {
                self.check_for_a_while();
                let sealed = self.close_live(None).and_then(|()| self.seal_closed(None));
                self.add_leaves();
                // Nobody may be waiting any more.
                let _ = reply.send(sealed);
            }
            Task::Reseal(after, reply) => {
                let switched = || relist(&self.writer);
                let resealed = reseal::next(&self.directory, &self.catalog, after, &switched);
                let _ = reply.send(resealed);
            }
            Task::Recheck(judge) => {
                let begun = self.recheck(judge);
                report("check verdicts again", begun);
            }
            Task::NotTried => self.not_tried = true,
            Task::TrustArchive(place) => {
                self.archive = place.filter(|_| self.options.retention_needs_archive);
            }
            Task::Prune(retention, reply) => {
                let pruned = self.prune(retention, None, "prune", now());
                self.add_leaves();
                let _ = reply.send(pruned);
            }
            Task::Stop => {}
        }
    }

    /// Adds some leaves of what happened later. Returns whether there may be more.
    fn add_leaves(&mut self) -> bool {
        self.events.step(&self.catalog).unwrap_or_else(|error| {
            report("add leaves to the log", Err(error));
            false
        })
    }

    /// Seals and prunes.
    fn round(&mut self) {
        let sealed = self.seal_closed(self.queue.current());
        report("seal", sealed);
        let pruned = self.retain();
        report("prune", pruned);
    }

    /// Seals all closed segments, except the one that starts with `but`. If one cannot be sealed, the
    /// others are, and its error is returned.
    fn seal_closed(&mut self, but: Option<u64>) -> Result<(), StoreError> {
        let mut failed = Ok(());
        let mut segments = self.catalog.segments()?;
        segments.retain(|one| one.state == State::Closed && Some(one.first_id) != but);
        if !segments.is_empty() {
            self.tiles.write_before_removal();
        }
        for segment in segments {
            if !self.is_stopping() {
                let switched = || relist(&self.writer);
                match seal::seal(&self.directory, &self.catalog, &segment, &switched) {
                    Err(error) if seal::is_of_segment(&error) => failed = Err(error),
                    sealed => sealed?,
                }
            }
        }
        failed
    }

    /// Starts a recheck with a new key.
    fn recheck(&mut self, judge: Arc<dyn Judge>) -> Result<(), StoreError> {
        let only_if = (!late::live_is_older(&self.catalog)?).then_some(AWAITING_KEY);
        let closed = self.close_live(only_if);
        self.not_tried = closed.is_err();
        self.queue.begin(&self.catalog, judge)?;
        closed
    }

    /// Adds entries that were not tried to the queue.
    fn add_not_tried(&mut self) -> Result<(), StoreError> {
        self.close_live(Some(NOT_TRIED))?;
        self.not_tried = false;
        self.queue.add_not_tried(&self.catalog)
    }

    /// Checks some entries again.
    fn check_again(&mut self) {
        let switched = || relist(&self.writer);
        let step = self.queue.step(&self.directory, &self.catalog, &self.stopping, &switched);
        match step {
            Ok(Progress::Entries) => return,
            Ok(Progress::Segment) => {}
            Err(error) => report("check verdicts again", Err(error)),
        }
        if self.queue.current().is_none() {
            let changed = self.queue.take_changed();
            if changed > 0 {
                tracing::info!(
                    changed,
                    "entries have another verdict now, for they were checked again"
                );
            }
        }
        let sealed = self.seal_closed(self.queue.current());
        report("seal", sealed);
    }

    /// Checks entries again without a rest, because a caller waits.
    fn check_for_a_while(&mut self) {
        let begun = Instant::now();
        while self.queue.current().is_some() && begun.elapsed() < SOON && !self.is_stopping() {
            self.check_again();
        }
    }

    /// Applies retention, unless the clock cannot be trusted.
    ///
    /// Age is counted from when the newest delivery was stored, so a clock that was set ahead makes
    /// nothing old.
    fn retain(&mut self) -> Result<(), StoreError> {
        let retention = self.options.retention;
        if retention.age.is_none() && retention.size.is_none() {
            return Ok(());
        }
        let (now, awake) = (now(), since_boot());
        if let Some(seconds) = self.clocks.get_or_insert(Clocks { now, awake }).apart(now, awake) {
            tracing::warn!(
                seconds,
                "the clock was set since the program started, so retention waits; restart it once the time is right"
            );
            return Ok(());
        }
        let archive = self.archive.clone();
        if self.options.retention_needs_archive && archive.is_none() {
            // The records may be of another archive, or the archive may have lost something.
            return Ok(());
        }
        let newest = retention::newest_stored(&self.directory, &self.catalog)?;
        let now = newest.map_or(now, |newest| newest.min(now));
        self.prune(retention, archive.as_deref(), "retention", now).map(drop)
    }

    fn prune(
        &mut self,
        retention: Retention,
        archive: Option<&str>,
        reason: &str,
        now: Millis,
    ) -> Result<usize, StoreError> {
        self.tiles.write_before_removal();
        let (directory, catalog) = (&self.directory, &self.catalog);
        let due = retention::prune(directory, catalog, retention, archive, reason, now)?;
        let gone = due.segments;
        for segment in &gone {
            tracing::info!(segment = segment.first_id, "given up by retention");
        }
        for (segment, hold) in &due.held {
            if !self.held.contains_key(segment) {
                tracing::warn!(segment, "retention keeps a segment that {hold}");
            }
        }
        self.held = due.held;
        if !gone.is_empty() {
            relist(&self.writer);
        }
        Ok(gone.len())
    }

    /// Makes the writer close the live segment, if one of its entries meets this condition.
    fn close_live(&self, only_if: Option<&'static str>) -> Result<(), StoreError> {
        let (reply, closed) = sync_channel(1);
        self.writer.send(Message::Close { only_if, reply }).map_err(|_| StoreError::Closing)?;
        closed.recv().map_err(|_| StoreError::Closing)?
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// Makes the writer read the list of segments again, and waits for it. The writer may have stopped.
fn relist(writer: &Sender<Message>) {
    let (reply, read) = sync_channel(1);
    if writer.send(Message::Relist(reply)).is_ok() {
        let _ = read.recv();
    }
}

fn report(what: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "cannot {what} now; it is tried again later");
    }
}
