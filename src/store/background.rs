//! The background thread: it cleans up, seals, checks verdicts again, prunes, and writes the refused
//! requests. Appending goes on beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, State};
use super::directory::Directory;
use super::late::{self, Judge};
use super::refused::{RefusedFile, Waiting};
use super::retention::{self, Retention};
use super::writer::Message;
use super::{Options, StoreError, seal};
use crate::clock::{Clocks, now, since_boot};
use crate::entry::Millis;

/// What the background thread is asked to do.
pub(super) enum Task {
    /// Seal what is closed.
    Seal,
    /// Close the live segment, seal what is closed, and say so.
    SealAll(SyncSender<Result<(), StoreError>>),
    /// Check again what a new key may make valid.
    Recheck(Arc<dyn Judge>),
    /// Prune by this, and say how many segments are gone.
    Prune(Retention, SyncSender<Result<usize, StoreError>>),
    /// Finish.
    Stop,
}

/// Refused requests are written this often.
const TICK: Duration = Duration::from_secs(1);
/// Retention is looked at this often, and what failed is tried again.
const ROUND: Duration = Duration::from_secs(30);

pub(super) struct Background {
    pub(super) directory: Directory,
    pub(super) catalog: Catalog,
    pub(super) refused: RefusedFile,
    pub(super) options: Options,
    pub(super) waiting: Arc<Waiting>,
    pub(super) writer: Sender<Message>,
    /// What the clocks said at first.
    pub(super) clocks: Option<Clocks>,
    /// Set when the store is being closed: what takes long stops where it can be taken up again.
    pub(super) stopping: Arc<AtomicBool>,
}

impl Background {
    /// Redoes what was interrupted, and works until it is told to stop.
    pub(super) fn run(mut self, tasks: &Receiver<Task>) {
        self.round();
        let mut next_round = Instant::now() + ROUND;
        loop {
            match tasks.recv_timeout(TICK) {
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(task) => self.handle(task),
                Err(RecvTimeoutError::Timeout) => {}
            }
            report("note refused requests", self.waiting.write(&mut self.refused));
            if Instant::now() >= next_round {
                self.round();
                next_round = Instant::now() + ROUND;
            }
        }
        report("note refused requests", self.waiting.write(&mut self.refused));
    }

    fn handle(&mut self, task: Task) {
        match task {
            Task::Seal => self.round(),
            Task::SealAll(reply) => {
                let sealed = self.close_live(false).and_then(|()| self.seal_closed());
                // Nobody may be waiting any more.
                let _ = reply.send(sealed);
            }
            Task::Recheck(judge) => {
                let rechecked = self.recheck(judge.as_ref());
                report("check verdicts again", rechecked);
            }
            Task::Prune(retention, reply) => {
                let _ = reply.send(self.prune(retention, "prune", now()));
            }
            Task::Stop => {}
        }
    }

    /// What is done whenever there is time.
    fn round(&mut self) {
        let sealed = self.seal_closed();
        report("seal", sealed);
        let pruned = self.retain();
        report("prune", pruned);
    }

    fn seal_closed(&mut self) -> Result<(), StoreError> {
        for segment in self.catalog.segments()? {
            if segment.state == State::Closed && !self.is_stopping() {
                seal::seal(&self.directory, &mut self.catalog, &segment)?;
                self.relist();
            }
        }
        Ok(())
    }

    fn recheck(&mut self, judge: &dyn Judge) -> Result<(), StoreError> {
        self.close_live(!late::live_is_older(&self.catalog)?)?;
        let changed = late::recheck(&self.directory, &mut self.catalog, judge, &self.stopping)?;
        if changed > 0 {
            tracing::info!(changed, "entries have another verdict now that keys have changed");
            self.relist();
        }
        self.seal_closed()
    }

    /// Does what retention asks for, unless the clock cannot be trusted.
    ///
    /// Age is counted from the newest receipt: a clock that was set ahead makes nothing old.
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
        let newest = retention::newest_receipt(&self.directory, &self.catalog)?;
        let now = newest.map_or(now, |newest| newest.min(now));
        self.prune(retention, "retention", now).map(drop)
    }

    fn prune(
        &mut self,
        retention: Retention,
        reason: &str,
        now: Millis,
    ) -> Result<usize, StoreError> {
        let gone = retention::prune(&self.directory, &mut self.catalog, retention, reason, now)?;
        for segment in &gone {
            tracing::info!(segment = segment.first_id, "given up by retention");
        }
        if !gone.is_empty() {
            self.relist();
        }
        Ok(gone.len())
    }

    /// Has the writer close the live segment.
    fn close_live(&self, only_if_awaiting: bool) -> Result<(), StoreError> {
        let (reply, closed) = sync_channel(1);
        self.writer
            .send(Message::Close { only_if_awaiting, reply })
            .map_err(|_| StoreError::Closing)?;
        closed.recv().map_err(|_| StoreError::Closing)?
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Has the writer read the list of segments again. It may have stopped.
    fn relist(&self) {
        let _ = self.writer.send(Message::Relist);
    }
}

fn report(what: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "cannot {what} now; it is tried again later");
    }
}
