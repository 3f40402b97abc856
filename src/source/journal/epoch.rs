//! Reads one epoch of the journal, object by object, until its seal.
//!
//! An object is stored as a whole before the next one is begun. While there are many, some are fetched
//! ahead. What is fetched ahead in all epochs has a limit. An object that cannot be read stops this
//! epoch alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::ingest::{IngestError, Ingester};
use super::status::SourceStatus;
use crate::clock::now;
use crate::journal::{Journal, JournalError, Read, SealOutcome};
use crate::objects::Objects;
use crate::store::{EpochCursor, EpochEnd, Positions, Store, StoreError};

/// The most objects that are fetched ahead in one epoch.
const MOST_AHEAD: usize = 8;

/// The most objects of all epochs in memory, as they are in the object store.
const MOST_FETCHED: usize = 16;

/// The most objects of all epochs in memory, decompressed.
const MOST_STORED_AT_ONCE: usize = 2;

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the readers of all epochs share.
pub(super) struct Shared<O> {
    pub(super) journal: Journal<O>,
    pub(super) store: Arc<Store>,
    pub(super) ingester: Arc<Ingester>,
    pub(super) status: Arc<SourceStatus>,
    /// How often new objects are asked for.
    pub(super) poll_interval: Duration,
    /// How long an epoch may have no new object before it is sealed.
    pub(super) seal_after: Duration,
    /// The shutdown waits until all clones are dropped.
    pub(super) writing: mpsc::Sender<()>,
    pub(super) permits: Permits,
}

/// Limits what all readers have in memory.
pub(super) struct Permits {
    fetched: Arc<Semaphore>,
    stored: Arc<Semaphore>,
}

impl Default for Permits {
    fn default() -> Permits {
        Permits {
            fetched: Arc::new(Semaphore::new(MOST_FETCHED)),
            stored: Arc::new(Semaphore::new(MOST_STORED_AT_ONCE)),
        }
    }
}

/// Why a reader cannot go on now.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Objects, and there may be more.
    Progress,
    /// Nothing new.
    Idle,
    /// The end of the epoch.
    Ended,
}

/// What was found at the next number.
enum Found {
    Objects,
    Nothing,
    Seal,
    /// An object that cannot be read, and why.
    Unreadable(String),
}

/// The reader of one epoch.
pub(super) struct EpochReader<O> {
    shared: Arc<Shared<O>>,
    epoch: u64,
    /// The number of the next object.
    next: u64,
    /// The positions of the next object that are stored already.
    done: Positions,
    /// Whether the next object was seen before, so that it must be there.
    is_known: bool,
    /// How many objects are fetched at once.
    ahead: usize,
    /// Since when there was nothing new.
    silent_since: Instant,
}

impl<O: Objects> EpochReader<O> {
    /// A reader that goes on where the store is.
    pub(super) fn new(
        shared: Arc<Shared<O>>,
        epoch: u64,
        from: Option<EpochCursor>,
    ) -> EpochReader<O> {
        let (next, done, is_known) = match from {
            None => (0, Positions::default(), false),
            Some(from) if from.skipped => {
                (from.number.saturating_add(1), Positions::default(), false)
            }
            Some(from) => (from.number, from.positions, true),
        };
        let silent_since = Instant::now();
        EpochReader { shared, epoch, next, done, is_known, ahead: 1, silent_since }
    }

    /// Reads until the end of the epoch. It can be dropped at any time.
    ///
    /// # Errors
    /// [`JournalError`] if the whole source must stop.
    pub(super) async fn run(mut self) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        shared.status.open(self.epoch);
        let mut failures = 0;
        loop {
            let pause = match self.step().await {
                Ok(step) => {
                    shared.status.works(Some(self.epoch));
                    failures = 0;
                    match step {
                        Step::Ended => return Ok(()),
                        Step::Progress => continue,
                        Step::Idle => shared.poll_interval,
                    }
                }
                Err(StepError::Journal(error)) if !error.is_temporary() => return Err(error),
                Err(error) => {
                    shared.status.fails(Some(self.epoch), error.to_string());
                    // Nothing is known of the time in which nothing could be read.
                    (self.silent_since, self.ahead) = (Instant::now(), 1);
                    failures += 1;
                    backoff(shared.poll_interval, failures)
                }
            };
            tokio::time::sleep(jittered(pause)).await;
        }
    }

    /// Reads the objects that are there, a few at most.
    async fn step(&mut self) -> Result<Step, StepError> {
        let (shared, epoch) = (Arc::clone(&self.shared), self.epoch);
        let mut permits = shared.permits.fetch(self.ahead).await;
        let numbers = (self.next..).take(permits.len());
        let fetched = join_all(numbers.map(|number| shared.journal.read(epoch, number))).await;
        let mut found = Found::Objects;
        for read in fetched {
            found = match read? {
                Read::Deliveries(object) => match self.store(object).await? {
                    None => Found::Objects,
                    Some(why) => Found::Unreadable(why),
                },
                Read::Absent if self.is_known => Found::Unreadable(
                    "it was read before, and is gone from the object store".into(),
                ),
                Read::Absent => Found::Nothing,
                Read::Sealed => Found::Seal,
                Read::Unknown { why, .. } => Found::Unreadable(why),
            };
            if !matches!(found, Found::Objects) {
                break;
            }
            permits.pop();
        }
        // A reader that waits holds nothing that others need.
        drop(permits);
        match found {
            Found::Objects => self.ahead = (self.ahead * 2).min(MOST_AHEAD),
            Found::Nothing => return self.idle().await,
            Found::Seal => {
                self.end().await?;
                return Ok(Step::Ended);
            }
            Found::Unreadable(why) => self.stop(why).await,
        }
        Ok(Step::Progress)
    }

    /// Stores the deliveries of the next object. Returns why if it cannot be read.
    async fn store(&mut self, object: Bytes) -> Result<Option<String>, StepError> {
        let (shared, place) = (Arc::clone(&self.shared), (self.epoch, self.next));
        shared.status.found(self.epoch);
        let permit = Arc::clone(&shared.permits.stored).acquire_owned().await.ok();
        let (done, bytes) = (self.done.clone(), object.len() as u64);
        let (ingester, writing) = (Arc::clone(&shared.ingester), shared.writing.clone());
        let ingested = tokio::task::spawn_blocking(move || {
            let ingested = ingester.ingest(place, &object, &done);
            drop((permit, writing));
            ingested
        });
        match ingested.await? {
            Ok(deliveries) => {
                // The store recovers its place from what it has of an object, so it reads its last
                // object again after a restart. Prune must leave that one.
                let safe = if deliveries > 0 { self.next } else { 0 };
                shared.status.stored(self.epoch, safe, bytes, deliveries);
                self.advance();
                Ok(None)
            }
            Err(IngestError::Content(error)) => Ok(Some(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops until an operator skips the next object.
    async fn stop(&mut self, why: String) {
        let status = &self.shared.status;
        status.stop_epoch(self.epoch, self.next, why);
        status.wait_for_skip(self.epoch, self.next).await;
        self.advance();
    }

    fn advance(&mut self) {
        self.next = self.next.saturating_add(1);
        (self.done, self.is_known) = (Positions::default(), false);
        self.silent_since = Instant::now();
    }

    /// Seals the epoch if it was silent too long.
    async fn idle(&mut self) -> Result<Step, StepError> {
        self.ahead = 1;
        self.shared.status.caught_up(self.epoch);
        if self.silent_since.elapsed() < self.shared.seal_after {
            return Ok(Step::Idle);
        }
        let (epoch, number) = (self.epoch, self.next);
        match self.shared.journal.seal(epoch, number).await? {
            SealOutcome::Sealed => tracing::info!(epoch, number, "a silent epoch was sealed"),
            SealOutcome::Present => {}
        }
        Ok(Step::Progress)
    }

    /// Records that the epoch has ended.
    async fn end(&mut self) -> Result<(), StepError> {
        let end = EpochEnd { epoch: self.epoch, number: self.next, found_at: now() };
        let store = Arc::clone(&self.shared.store);
        tokio::task::spawn_blocking(move || store.record_epoch_end(&end)).await??;
        self.shared.status.ended(self.epoch, self.next);
        Ok(())
    }
}

impl Permits {
    /// At least one permit, and at most `wanted`. A reader that has one needs no other to go on, so
    /// readers never wait for one another in a circle.
    async fn fetch(&self, wanted: usize) -> Vec<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        let first = Arc::clone(&self.fetched).acquire_owned().await.ok();
        let more = (1..wanted).map_while(|_| Arc::clone(&self.fetched).try_acquire_owned().ok());
        first.into_iter().chain(more).collect()
    }
}

/// The pause after so many failures.
pub(super) fn backoff(least: Duration, failures: u32) -> Duration {
    least.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE.max(least))
}

/// A pause of about this length, so that stores and epochs do not ask all at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.75 + 0.5 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_are_shared_and_one_is_enough() {
        let permits = Permits::default();
        let mut taken = Vec::new();
        for expected in [MOST_AHEAD, 4, 3] {
            taken.push(permits.fetch(expected).await);
            assert_eq!(taken.last().map(Vec::len), Some(expected));
        }
        assert_eq!(permits.fetch(MOST_AHEAD).await.len(), MOST_FETCHED - MOST_AHEAD - 7);
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let second = Duration::from_secs(1);
        assert_eq!([1, 2, 4, 5, 99].map(|n| backoff(second, n).as_secs()), [2, 4, 16, 30, 30]);
        assert_eq!(backoff(second * 60, 3), second * 60);
        assert!((75..=125).contains(&jittered(second / 10).as_millis()));
    }
}
