//! `[[source]] type = "journal"`: reads into the store what receivers put into the journal.
//!
//! A store joins the journal, reads every epoch to its end, and publishes how far it is, or how far
//! it is archived. It goes on from what it has stored, so nothing is counted twice. If the object
//! store fails, it tries again. If the protocol says that it must stop (another process has its id,
//! it was retired, or what it lacks was pruned), it stops for good and says so.
//!
//! - `epoch`: reads one epoch. `ingest`: stores the deliveries of an object.
//! - `status`: how far it is, for others. `skip`: gives up an object that cannot be read.

mod epoch;
pub(crate) mod ingest;
pub(crate) mod skip;
pub(crate) mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use self::epoch::{EpochReader, Permits, Shared, backoff, jittered};
use self::ingest::Ingester;
use self::skip::Skipper;
use self::status::SourceStatus;
use crate::journal::{Cursor, Journal, JournalError, Membership, StoreId};
use crate::net::Shutdown;
use crate::objects::Bucket;
use crate::objects::watched::{LIMIT, Watched};
use crate::store::{Directory, EpochCursor, JournalState, Store, StoreError};

/// How often the cursor is published at most.
const PUBLISH_INTERVAL: Duration = Duration::from_secs(60);

/// How long a publication may take, and at the end.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);
const LAST_PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// How many new epochs are looked for at once, when there was one.
const MOST_LOOKS: u64 = 16;

/// The settings of the source.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Its name, for the log.
    pub(crate) name: String,
    /// How often new objects are asked for.
    pub(crate) poll_interval: Duration,
    /// How long an epoch may have no new object before it is sealed.
    pub(crate) seal_after: Duration,
}

/// The object store of the source.
type Calls = Watched<Bucket, SourceStatus>;

/// Why the source stops for good.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store has no id that the journal takes: {0}")]
    Id(#[from] crate::journal::BadStoreId),
    #[error("a task of the source failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// The source, ready to run.
pub(crate) struct JournalSource {
    shared: Arc<Shared<Calls>>,
    directory: Directory,
}

/// Where a store begins to read.
struct Start {
    cursor: Cursor,
    /// Where it goes on in each epoch that has not ended.
    epochs: BTreeMap<u64, EpochCursor>,
    /// The first epoch of which nothing is known.
    unknown_from: u64,
}

impl JournalSource {
    /// The source of a store. `writing` is held while something is stored.
    pub(crate) fn new(
        settings: Settings,
        bucket: Bucket,
        (store, directory): (Arc<Store>, &Directory),
        ingester: Ingester,
        writing: mpsc::Sender<()>,
    ) -> JournalSource {
        let status = Arc::new(SourceStatus::new(&settings.name));
        let objects = Watched { objects: bucket, limit: LIMIT, watch: Arc::clone(&status) };
        let shared = Shared {
            journal: Journal::new(Arc::new(objects)),
            store,
            ingester: Arc::new(ingester),
            status,
            poll_interval: settings.poll_interval,
            seal_after: settings.seal_after,
            writing,
            permits: Permits::default(),
        };
        JournalSource { shared: Arc::new(shared), directory: directory.clone() }
    }

    /// How far it is, at any time.
    pub(crate) fn status(&self) -> &Arc<SourceStatus> {
        &self.shared.status
    }

    /// What skips objects. Must be called in a runtime of tokio.
    pub(crate) fn skipper(&self) -> Skipper {
        Skipper {
            journal: self.shared.journal.clone(),
            status: Arc::clone(&self.shared.status),
            ingester: Arc::clone(&self.shared.ingester),
            store: Arc::clone(&self.shared.store),
            directory: self.directory.clone(),
            runtime: Handle::current(),
        }
    }

    /// Reads until shutdown, or until it must stop.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        if let Err(error) = self.read(&mut shutdown).await {
            self.shared.status.stop(error.to_string());
        }
    }

    async fn read(&self, shutdown: &mut Shutdown) -> Result<(), SourceError> {
        let (shared, status) = (&self.shared, &self.shared.status);
        let store = Arc::clone(&shared.store);
        let recovered = tokio::task::spawn_blocking(move || {
            Ok::<_, StoreError>((store.id()?, store.journal()?))
        });
        let (id, state) = recovered.await??;
        let id: StoreId = id.parse()?;
        let mut start = Start::of(state);
        status.begin(start.cursor.clone());
        let mut member = tokio::select! {
            joined = self.join(&id) => joined?,
            _ = shutdown.begun() => return Ok(()),
        };
        // How far the archive is, is published as soon as it is known.
        let mut published = (!status.has_archive()).then(Instant::now);
        // The epochs from `next` to `count` are there, and are not read yet. They are never listed: a
        // forged number must not cost memory.
        let mut next = start.cursor.finished_below();
        let mut count = start.unknown_from.max(next);
        let mut looks = 1;
        tracing::info!(store = %id, "reading the journal");
        // Dropping the set ends the readers. What they are storing is stored.
        let mut readers = JoinSet::new();
        let mut failures = 0;
        loop {
            while next < count
                && let Some(place) = shared.permits.place()
            {
                if !start.cursor.is_finished(next) {
                    let from = start.epochs.remove(&next);
                    readers.spawn(EpochReader::new(Arc::clone(shared), next, from, place).run());
                }
                next += 1;
            }
            let found = tokio::select! {
                _ = shutdown.begun() => break,
                found = self.new_epochs(count, looks), if next == count => Some(found),
                // There is no place for more.
                () = std::future::ready(()), if next < count => None,
            };
            let pause = match found.transpose() {
                Ok(Some(0)) => {
                    status.works(None);
                    (looks, failures) = (1, 0);
                    shared.poll_interval
                }
                Ok(Some(new)) => {
                    count = count.saturating_add(new);
                    looks = MOST_LOOKS;
                    continue;
                }
                Ok(None) => shared.poll_interval,
                Err(error) if error.is_temporary() => {
                    status.fails(None, error.to_string());
                    failures += 1;
                    backoff(shared.poll_interval, failures)
                }
                Err(error) => return Err(error.into()),
            };
            if published.is_none_or(|at| at.elapsed() >= PUBLISH_INTERVAL)
                && status.unpublished().is_some()
            {
                tokio::select! {
                    _ = shutdown.begun() => break,
                    done = self.publish(&mut member, PUBLISH_TIMEOUT) => done?,
                }
                published = Some(Instant::now());
            }
            let ended = tokio::select! {
                _ = shutdown.begun() => break,
                Some(ended) = readers.join_next() => ended,
                () = tokio::time::sleep(jittered(pause)) => continue,
            };
            ended??;
        }
        self.publish(&mut member, LAST_PUBLISH_TIMEOUT).await?;
        Ok(())
    }

    /// How many epochs there are from a number on, up to a limit. It asks for each of them: a number
    /// that was forged far above the others is not found.
    async fn new_epochs(&self, from: u64, limit: u64) -> Result<u64, JournalError> {
        let looks =
            (from..from.saturating_add(limit)).map(|one| self.shared.journal.exists_epoch(one));
        let mut found = 0;
        for exists in join_all(looks).await {
            if !exists? {
                break;
            }
            found += 1;
        }
        Ok(found)
    }

    /// Joins the journal. It tries until that succeeds, or cannot succeed.
    async fn join(&self, id: &StoreId) -> Result<Membership<Calls>, JournalError> {
        let (journal, status) = (&self.shared.journal, &self.shared.status);
        let mut failures = 0;
        loop {
            let (cursor, committed) = status.cursors();
            match journal.join(id, (&cursor, &committed), 0).await {
                Ok(joined) => {
                    status.works(None);
                    status.joined();
                    status.published(cursor);
                    return Ok(joined);
                }
                Err(error) if error.is_temporary() => {
                    status.fails(None, error.to_string());
                    failures += 1;
                    tokio::time::sleep(jittered(backoff(self.shared.poll_interval, failures)))
                        .await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Publishes the cursor if it has changed. A failure that may pass is left to the next time.
    async fn publish(
        &self,
        member: &mut Membership<Calls>,
        limit: Duration,
    ) -> Result<(), JournalError> {
        let status = &self.shared.status;
        let Some((cursor, committed)) = status.unpublished() else { return Ok(()) };
        match timeout(limit, member.publish((&cursor, &committed))).await {
            Ok(Ok(())) => status.published(cursor),
            Ok(Err(error)) if !error.is_temporary() => return Err(error),
            Ok(Err(error)) => tracing::debug!(%error, "the cursor could not be published"),
            Err(_) => tracing::debug!("the cursor could not be published in time"),
        }
        Ok(())
    }
}

impl Start {
    /// From what the store has recovered.
    fn of(state: JournalState) -> Start {
        let cursor = cursor_of(&state);
        let JournalState { cursors, ends, .. } = state;
        let known = cursors.iter().map(|one| one.epoch).chain(ends.iter().map(|end| end.epoch));
        let unknown_from = known.max().map_or(0, |epoch| epoch.saturating_add(1));
        let mut epochs: BTreeMap<_, _> =
            cursors.into_iter().map(|cursor| (cursor.epoch, cursor)).collect();
        ends.iter().for_each(|end| drop(epochs.remove(&end.epoch)));
        Start { cursor, epochs, unknown_from }
    }
}

/// The cursor of a store that has this of a journal.
fn cursor_of(state: &JournalState) -> Cursor {
    let mut cursor = Cursor::default();
    for one in &state.cursors {
        // The last object is read again, because some of it may be missing.
        cursor.read_below(one.epoch, one.number.saturating_add(u64::from(one.skipped)));
    }
    state.ends.iter().for_each(|end| cursor.finish(end.epoch, end.number));
    cursor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::journal::EpochPosition;
    use crate::store::{EpochEnd, Positions};

    #[test]
    fn a_store_goes_on_where_it_was() {
        let cursor = |epoch, number, skipped| EpochCursor {
            epoch,
            number,
            positions: Positions::default(),
            skipped,
        };
        let end = |epoch, number| EpochEnd { epoch, number, found_at: Millis::MIN };
        let start = Start::of(JournalState {
            cursors: vec![cursor(0, 4, false), cursor(2, 7, false), cursor(3, 9, true)],
            ends: vec![end(0, 5), end(1, 0)],
            skips: Vec::new(),
        });
        assert_eq!(start.cursor.finished_below(), 2);
        let at = |next| Some(EpochPosition { next, sealed: false });
        assert_eq!([start.cursor.position(2), start.cursor.position(3)], [at(7), at(10)]);
        assert_eq!(start.epochs.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(start.unknown_from, 4);
        let fresh = Start::of(JournalState::default());
        assert_eq!((fresh.cursor, fresh.unknown_from), (Cursor::default(), 0));
    }
}
