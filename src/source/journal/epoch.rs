//! Reads one epoch of the journal, object by object, until its seal.
//!
//! An object is stored as a whole before the next one is begun. While there are many, some are fetched
//! ahead. What is fetched ahead in all epochs has a limit. An object that cannot be read stops this
//! epoch alone, which gives its place to others and looks at the object again from time to time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::ingest::{IngestError, Ingester};
use super::status::SourceStatus;
use crate::clock::now;
use crate::journal::{Journal, JournalError, ObjectId, Read, SealOutcome};
use crate::objects::{MOST_READ, Objects};
use crate::store::{EpochCursor, EpochEnd, Positions, Store, StoreError};

/// The most objects that are fetched at once: of one epoch, and of all epochs while their sizes are not
/// known.
const MOST_AHEAD: usize = 4;

/// The most that fetched objects of all epochs take in memory, as they are in the object store, in MiB.
const MOST_FETCHED: usize = MOST_AHEAD * MOST_OF_AN_OBJECT as usize;

/// What an object may take until its size is known, in MiB.
const MOST_OF_AN_OBJECT: u32 = MOST_READ.div_ceil(MIB) as u32;

const MIB: usize = 1 << 20;

/// The most objects of all epochs in memory, decompressed.
const MOST_STORED_AT_ONCE: usize = 2;

/// The most epochs that are read at once. Others wait until one ends or stops.
const MOST_EPOCHS: usize = 1000;

/// The most stopped epochs that give their place to others. So the readers have a limit too.
const MOST_STOPPED: usize = 10_000;

/// How often a stopped epoch looks whether its object is good again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why an object that was there before cannot be read.
pub(super) const GONE: &str = "it was there before, and is gone from the object store";

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

/// Limits how many readers there are, and what they have in memory.
pub(super) struct Permits {
    /// One for each MiB.
    fetched: Arc<Semaphore>,
    stored: Arc<Semaphore>,
    /// The places of epochs that are read, and of those that are stopped.
    places: Arc<Semaphore>,
    stopped: Arc<Semaphore>,
}

impl Default for Permits {
    fn default() -> Permits {
        Permits {
            fetched: Arc::new(Semaphore::new(MOST_FETCHED)),
            stored: Arc::new(Semaphore::new(MOST_STORED_AT_ONCE)),
            places: Arc::new(Semaphore::new(MOST_EPOCHS)),
            stopped: Arc::new(Semaphore::new(MOST_STOPPED)),
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

impl StepError {
    /// Whether a person has to make room before the epoch goes on.
    fn is_full_quarantine(&self) -> bool {
        matches!(self, StepError::Ingest(IngestError::Store(StoreError::QuarantineFull { .. })))
    }
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
    /// The place among the epochs that are read. A stopped epoch gives it back.
    place: Option<OwnedSemaphorePermit>,
}

impl<O: Objects> EpochReader<O> {
    /// A reader that goes on where the store is, with its place.
    pub(super) fn new(
        shared: Arc<Shared<O>>,
        epoch: u64,
        from: Option<EpochCursor>,
        place: OwnedSemaphorePermit,
    ) -> EpochReader<O> {
        let (next, done, is_known) = match from {
            None => (0, Positions::default(), false),
            Some(from) if from.skipped => {
                (from.number.saturating_add(1), Positions::default(), false)
            }
            Some(from) => (from.number, from.positions, true),
        };
        let silent_since = Instant::now();
        let place = Some(place);
        EpochReader { shared, epoch, next, done, is_known, ahead: 1, silent_since, place }
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
                    if error.is_full_quarantine() {
                        shared.status.wait_for_room(self.epoch, error.to_string());
                    }
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
        if shared.status.is_skipped(epoch, self.next) {
            self.advance();
            return Ok(Step::Progress);
        }
        let permits = shared.permits.fetch(self.ahead).await;
        let journal = &shared.journal;
        let reads = (self.next..).zip(permits).map(|(number, permit)| async move {
            let read = journal.read(epoch, number).await;
            let permit = keep(permit, read.as_ref().map_or(0, size));
            (read, permit)
        });
        let mut fetched = join_all(reads).await.into_iter();
        let mut found = Found::Objects;
        for (read, permit) in fetched.by_ref() {
            found = match read? {
                Read::Deliveries(object) => match self.store(object).await? {
                    None => Found::Objects,
                    Some(why) => Found::Unreadable(why),
                },
                Read::Absent if self.is_known => Found::Unreadable(GONE.into()),
                Read::Absent => Found::Nothing,
                Read::Sealed => Found::Seal,
                Read::Unknown { why, .. } => Found::Unreadable(why),
            };
            drop(permit);
            if !matches!(found, Found::Objects) {
                break;
            }
        }
        // A reader that waits holds nothing that others need.
        drop(fetched);
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
        let shared = Arc::clone(&self.shared);
        let id = ObjectId { epoch: self.epoch, number: self.next };
        shared.status.found(self.epoch);
        let permit = Arc::clone(&shared.permits.stored).acquire_owned().await.ok();
        let (done, bytes) = (self.done.clone(), object.len() as u64);
        let (ingester, writing) = (Arc::clone(&shared.ingester), shared.writing.clone());
        let ingested = tokio::task::spawn_blocking(move || {
            let ingested = ingester.ingest(id, &object, &done);
            drop((permit, writing));
            ingested
        });
        match ingested.await? {
            Ok(deliveries) => {
                // The store recovers its position from what it has of an object, so it reads its last
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

    /// Stops at the next object until an operator skips it, or it is time to look at it again.
    async fn stop(&mut self, why: String) {
        let Shared { status, permits, .. } = &*self.shared;
        status.stop_epoch(self.epoch, self.next, why);
        // If it is gone the next time, that does not mean that nothing was there yet.
        (self.is_known, self.ahead) = (true, 1);
        let stopped = Arc::clone(&permits.stopped).try_acquire_owned().ok();
        if stopped.is_some() {
            self.place = None;
        }
        // What comes first does not matter: the next step looks whether the object was skipped.
        let skipped = status.wait_for_skip(self.epoch, self.next);
        let _ = timeout(jittered(LOOK_AGAIN), skipped).await;
        if self.place.is_none() {
            self.place = Arc::clone(&permits.places).acquire_owned().await.ok();
        }
        drop(stopped);
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
    /// A place for one more epoch; `None` if there is none.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// The permits to fetch at least one object, and at most `wanted`. Each is for the largest object. A
    /// reader that has one needs no other to go on, so readers never wait for one another in a circle.
    async fn fetch(&self, wanted: usize) -> Vec<OwnedSemaphorePermit> {
        let (fetched, each) = (&self.fetched, MOST_OF_AN_OBJECT);
        // The semaphore is never closed.
        let first = Arc::clone(fetched).acquire_many_owned(each).await.ok();
        let more = (1..wanted).map_while(|_| Arc::clone(fetched).try_acquire_many_owned(each).ok());
        first.into_iter().chain(more).collect()
    }
}

/// What an object takes in memory, in bytes.
fn size(read: &Read) -> usize {
    match read {
        Read::Deliveries(object) | Read::Unknown { object, .. } => object.len(),
        Read::Sealed | Read::Absent => 0,
    }
}

/// Keeps of a permit what an object of this size takes, and gives the rest back.
fn keep(mut permit: OwnedSemaphorePermit, bytes: usize) -> OwnedSemaphorePermit {
    drop(permit.split(permit.num_permits().saturating_sub(bytes.div_ceil(MIB))));
    permit
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
        let mut taken = permits.fetch(1).await;
        taken.extend(permits.fetch(MOST_AHEAD).await);
        // Objects of unknown sizes never take more than the limit.
        assert_eq!(taken.len(), MOST_FETCHED * MIB / MOST_READ);
        assert_eq!(permits.fetched.available_permits(), 0);
        let mut sizes = [0, 1, MIB + 1, MOST_READ].into_iter();
        let kept: Vec<_> =
            taken.into_iter().map(|one| keep(one, sizes.next().unwrap_or(0))).collect();
        let kept_sizes: Vec<_> = kept.iter().map(OwnedSemaphorePermit::num_permits).collect();
        assert_eq!(kept_sizes, [0, 1, 2, MOST_READ / MIB]);
        assert_eq!(permits.fetch(MOST_AHEAD).await.len(), 2);
        drop(kept);
        assert_eq!(permits.fetched.available_permits(), MOST_FETCHED);
    }

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let second = Duration::from_secs(1);
        assert_eq!([1, 2, 4, 5, 99].map(|n| backoff(second, n).as_secs()), [2, 4, 16, 30, 30]);
        assert_eq!(backoff(second * 60, 3), second * 60);
        assert!((75..=125).contains(&jittered(second / 10).as_millis()));
    }
}
