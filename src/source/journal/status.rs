//! How far the source has read the journal: for the console, the metrics, readiness, and the cursor
//! that it publishes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::cursor_of;
use crate::clock::now;
use crate::entry::Millis;
use crate::journal::Cursor;
use crate::objects::ObjectError;
use crate::objects::watched::Watch;
use crate::store::JournalState;

/// The state of the source, which all of its tasks share.
#[derive(Debug)]
pub(crate) struct SourceStatus {
    /// The name of the source.
    name: String,
    /// Objects, their bytes and their deliveries that were read since the start.
    objects: AtomicU64,
    bytes: AtomicU64,
    deliveries: AtomicU64,
    state: Mutex<State>,
    /// Told when an epoch that is stopped may go on.
    resumed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How far the store has committed.
    committed: Cursor,
    /// How far a store would be that is rebuilt from the archive, if there is one.
    archived: Option<Cursor>,
    /// The cursor that was published last.
    published: Option<Cursor>,
    published_at: Option<Millis>,
    epochs: BTreeMap<u64, OpenEpoch>,
    /// What fails at the moment, by epoch. `None`: what is not of one epoch.
    failing: BTreeMap<Option<u64>, String>,
    /// The objects that cannot be created at the moment, and why.
    creates: BTreeMap<String, String>,
    /// Whether the store takes part in the journal.
    is_joined: bool,
    /// Why the store may not take part.
    denied: Option<String>,
    /// Why the source has stopped for good.
    stopped: Option<String>,
}

#[derive(Debug, Default)]
struct OpenEpoch {
    /// Since when an object is known that is not stored.
    unread_since: Option<Millis>,
    stopped: Option<StoppedEpoch>,
    /// Objects below this number were skipped, or stored before one was.
    skipped_below: u64,
    /// Whether a stopped epoch must look at its object now.
    looks_again: bool,
    /// Why a body finds no room in the quarantine.
    no_room: Option<String>,
}

/// An epoch that is stopped at an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoppedEpoch {
    pub(crate) epoch: u64,
    /// The number of the object.
    pub(crate) number: u64,
    pub(crate) why: String,
}

/// Why entries of the journal do not arrive until a person acts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the source has stopped: {0}")]
    Stopped(String),
    #[error("the store cannot take part in the journal: {0}")]
    Denied(String),
    #[error("epoch {} is stopped at object {}: {}", .0.epoch, .0.number, .0.why)]
    Epoch(StoppedEpoch),
    #[error("epoch {epoch} waits for room: {why}")]
    NoRoom { epoch: u64, why: String },
}

impl Trouble {
    /// What everybody may know: without the reason, which may have names of the object store.
    pub(crate) fn in_public(&self) -> String {
        let what = match self {
            Trouble::Stopped(_) => "the source that reads the journal has stopped".to_owned(),
            Trouble::Denied(_) => {
                "the object store does not let this store take part in the journal".to_owned()
            }
            Trouble::Epoch(StoppedEpoch { epoch, number, .. }) => {
                format!("epoch {epoch} of the journal is stopped at object {number}")
            }
            Trouble::NoRoom { epoch, .. } => {
                format!("epoch {epoch} of the journal waits for room in the quarantine")
            }
        };
        format!("{what}; the log says why")
    }
}

/// How the source stands at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceStanding {
    /// The name of the source.
    pub(crate) name: String,
    pub(crate) open_epochs: u64,
    pub(crate) stopped_epochs: Vec<StoppedEpoch>,
    /// Epochs that wait for room in the quarantine, and why.
    pub(crate) waiting_epochs: Vec<(u64, String)>,
    /// Since when the oldest object is known that is not stored. `None`: everything is stored.
    pub(crate) unread_since: Option<Millis>,
    /// Objects, their bytes and their deliveries that were read since the start.
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) deliveries: u64,
    /// When the cursor was last published.
    pub(crate) published_at: Option<Millis>,
    /// What fails at the moment and is tried again.
    pub(crate) failing: Option<String>,
    /// Why the source has stopped for good.
    pub(crate) stopped: Option<String>,
}

impl SourceStanding {
    /// How long the oldest known object that is not stored has waited, in milliseconds.
    pub(crate) fn lag(&self, now: Millis) -> i64 {
        self.unread_since.map_or(0, |since| now.get().saturating_sub(since.get()).max(0))
    }
}

impl SourceStatus {
    pub(crate) fn new(name: &str) -> SourceStatus {
        SourceStatus {
            name: name.to_owned(),
            objects: AtomicU64::default(),
            bytes: AtomicU64::default(),
            deliveries: AtomicU64::default(),
            state: Mutex::default(),
            resumed: Notify::new(),
        }
    }

    /// How the source stands now.
    pub(crate) fn standing(&self) -> SourceStanding {
        let state = self.state();
        let stopped = state.epochs.values().filter_map(|open| open.stopped.clone());
        let waiting =
            state.epochs.iter().filter_map(|(epoch, open)| Some((*epoch, open.no_room.clone()?)));
        SourceStanding {
            name: self.name.clone(),
            open_epochs: state.epochs.len() as u64,
            stopped_epochs: stopped.collect(),
            waiting_epochs: waiting.collect(),
            unread_since: state.epochs.values().filter_map(|open| open.unread_since).min(),
            objects: self.objects.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            deliveries: self.deliveries.load(Ordering::Relaxed),
            published_at: state.published_at,
            failing: state.failing.values().chain(state.creates.values()).next().cloned(),
            stopped: state.stopped.clone(),
        }
    }

    /// Why entries of the journal do not arrive until a person acts; `None` if they do.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let state = self.state();
        if let Some(why) = &state.stopped {
            return Some(Trouble::Stopped(why.clone()));
        }
        if let Some(why) = &state.denied {
            return Some(Trouble::Denied(why.clone()));
        }
        state.epochs.iter().find_map(|(&epoch, open)| match (&open.no_room, &open.stopped) {
            (Some(why), _) => Some(Trouble::NoRoom { epoch, why: why.clone() }),
            (None, stopped) => stopped.clone().map(Trouble::Epoch),
        })
    }

    /// Begins at a cursor.
    pub(super) fn begin(&self, committed: Cursor) {
        self.state().committed = committed;
    }

    /// Notes how far a store would be that is rebuilt from the archive of this one. From now on no
    /// more than that is published: prune must leave the rest for such a store.
    pub(crate) fn archived(&self, archived: &JournalState) {
        self.state().archived = Some(cursor_of(archived));
    }

    /// Whether the store has an archive.
    pub(super) fn has_archive(&self) -> bool {
        self.state().archived.is_some()
    }

    /// Notes that an epoch is read now.
    pub(super) fn open(&self, epoch: u64) {
        self.state().epochs.entry(epoch).or_default();
    }

    /// Notes that an object is there and is not stored yet.
    pub(super) fn found(&self, epoch: u64) {
        let mut state = self.state();
        let open = state.epochs.entry(epoch).or_default();
        open.unread_since.get_or_insert_with(now);
    }

    /// Notes that the deliveries of an object are stored. `safe` is the number below which everything
    /// stays known to the store after a restart.
    pub(super) fn stored(&self, epoch: u64, safe: u64, bytes: u64, deliveries: u64) {
        self.objects.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        let mut state = self.state();
        state.committed.read_below(epoch, safe);
        if let Some(open) = state.epochs.get_mut(&epoch) {
            // The next object, if there is one, has waited since now at the latest.
            open.unread_since = open.unread_since.map(|_| now());
            if let Some(StoppedEpoch { number, .. }) = open.stopped.take() {
                tracing::info!(epoch, number, "an object of the journal can be read again");
            }
        }
    }

    /// Notes that everything in an epoch is stored that is known to be there.
    pub(super) fn caught_up(&self, epoch: u64) {
        if let Some(open) = self.state().epochs.get_mut(&epoch) {
            open.unread_since = None;
        }
    }

    /// Notes that an epoch has ended, and everything below its seal is stored.
    pub(super) fn ended(&self, epoch: u64, seal: u64) {
        let mut state = self.state();
        state.committed.finish(epoch, seal);
        state.epochs.remove(&epoch);
    }

    /// Stops an epoch at an object.
    pub(super) fn stop_epoch(&self, epoch: u64, number: u64, why: String) {
        let mut state = self.state();
        let open = state.epochs.entry(epoch).or_default();
        if number < open.skipped_below {
            return;
        }
        let stopped = StoppedEpoch { epoch, number, why };
        if open.stopped.as_ref() != Some(&stopped) {
            tracing::error!(
                epoch,
                number,
                why = stopped.why,
                "an object of the journal cannot be read: nothing above it in its epoch is read until \
                 it is restored, or `vidimus journal skip {epoch} {number}`"
            );
        }
        open.stopped = Some(stopped);
        open.unread_since.get_or_insert_with(now);
    }

    /// Notes that an epoch waits for room in the quarantine.
    pub(super) fn wait_for_room(&self, epoch: u64, why: String) {
        let mut state = self.state();
        let open = state.epochs.entry(epoch).or_default();
        if open.no_room.is_none() {
            tracing::error!(epoch, why, "an epoch of the journal waits for room in the quarantine");
        }
        open.no_room = Some(why);
    }

    /// Whether an epoch is stopped at an object.
    pub(super) fn is_stopped_at(&self, epoch: u64, number: u64) -> bool {
        let state = self.state();
        let stopped = state.epochs.get(&epoch).and_then(|open| open.stopped.as_ref());
        stopped.is_some_and(|stopped| stopped.number == number)
    }

    /// Lets a stopped epoch go on after the object, which the store has recorded as skipped.
    pub(super) fn resume(&self, epoch: u64, number: u64) {
        let mut state = self.state();
        state.committed.read_below(epoch, number.saturating_add(1));
        if let Some(open) = state.epochs.get_mut(&epoch) {
            open.stopped = None;
            open.skipped_below = number.saturating_add(1);
        }
        drop(state);
        self.resumed.notify_waiters();
    }

    /// Whether an object of an epoch that was stopped is skipped.
    pub(super) fn is_skipped(&self, epoch: u64, number: u64) -> bool {
        self.state().epochs.get(&epoch).is_some_and(|open| number < open.skipped_below)
    }

    /// Lets a stopped epoch look at its object now.
    pub(super) fn look_again(&self, epoch: u64) {
        if let Some(open) = self.state().epochs.get_mut(&epoch) {
            open.looks_again = true;
        }
        self.resumed.notify_waiters();
    }

    /// Waits until an epoch is no longer stopped at an object, or must look at it again.
    pub(super) async fn wait_for_skip(&self, epoch: u64, number: u64) {
        loop {
            let mut resumed = std::pin::pin!(self.resumed.notified());
            resumed.as_mut().enable();
            let looks_again = |open: &mut OpenEpoch| std::mem::take(&mut open.looks_again);
            if !self.is_stopped_at(epoch, number)
                || self.state().epochs.get_mut(&epoch).is_some_and(looks_again)
            {
                return;
            }
            resumed.await;
        }
    }

    /// Notes that something fails and is tried again. Only the first of several is logged.
    pub(super) fn fails(&self, epoch: Option<u64>, why: String) {
        let mut state = self.state();
        if !state.is_failing() {
            let source = &self.name;
            tracing::warn!(source, why, "the journal cannot be read; trying again");
        }
        state.failing.insert(epoch, why);
    }

    /// Notes that it works again.
    pub(super) fn works(&self, epoch: Option<u64>) {
        let mut state = self.state();
        if let Some(open) = epoch.and_then(|epoch| state.epochs.get_mut(&epoch)) {
            open.no_room = None;
        }
        if state.failing.remove(&epoch).is_some() && !state.is_failing() {
            let source = &self.name;
            tracing::info!(source, "the journal can be read again");
        }
    }

    /// Notes that the store takes part in the journal.
    pub(super) fn joined(&self) {
        let mut state = self.state();
        (state.is_joined, state.denied) = (true, None);
    }

    /// Notes that the source has stopped for good.
    pub(super) fn stop(&self, why: String) {
        let source = &self.name;
        tracing::error!(source, why, "nothing more is read from the journal");
        self.state().stopped = Some(why);
    }

    /// The cursor to publish, and the one that is committed.
    pub(super) fn cursors(&self) -> (Cursor, Cursor) {
        let State { committed, archived, .. } = &*self.state();
        let cursor = archived.as_ref().map(|archived| committed.common(archived));
        (cursor.unwrap_or_else(|| committed.clone()), committed.clone())
    }

    /// The same, if it was not published yet.
    pub(super) fn unpublished(&self) -> Option<(Cursor, Cursor)> {
        let cursors = self.cursors();
        (self.state().published.as_ref() != Some(&cursors.0)).then_some(cursors)
    }

    /// Notes that a cursor was published.
    pub(super) fn published(&self, cursor: Cursor) {
        let mut state = self.state();
        state.published = Some(cursor);
        state.published_at = Some(now());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for SourceStatus {
    fn failed(&self, error: &ObjectError) {
        // A store that may not join needs a person. The reader tells what else there is to tell.
        let mut state = self.state();
        if !state.is_joined && matches!(error, ObjectError::Denied { .. }) {
            state.denied = Some(error.to_string());
        }
    }

    fn create_failed(&self, key: &str, error: &ObjectError) {
        let mut state = self.state();
        if !state.is_failing() {
            let source = &self.name;
            tracing::warn!(source, %error, "the journal cannot be written; trying again");
        }
        state.creates.insert(key.to_owned(), error.to_string());
    }

    fn exists(&self, key: &str) {
        let mut state = self.state();
        if state.creates.remove(key).is_some() && !state.is_failing() {
            let source = &self.name;
            tracing::info!(source, "the journal can be written again");
        }
    }
}

impl State {
    fn is_failing(&self) -> bool {
        !self.failing.is_empty() || !self.creates.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::Journal;
    use crate::objects::testing::ReadOnly;
    use crate::objects::watched::{LIMIT, Watched};
    use crate::store::{EpochCursor, EpochEnd, Positions};

    /// The cursor to publish.
    fn unpublished(status: &SourceStatus) -> Option<Cursor> {
        status.unpublished().map(|(cursor, _)| cursor)
    }

    #[test]
    fn a_cursor_is_published_when_it_has_changed() {
        let status = SourceStatus::new("main");
        status.begin(Cursor::default());
        assert_eq!(unpublished(&status), Some(Cursor::default()));
        status.published(Cursor::default());
        status.open(0);
        status.stored(0, 0, 10, 1);
        assert_eq!(unpublished(&status), None);
        status.stored(0, 1, 10, 1);
        let cursor = unpublished(&status).unwrap();
        status.stored(0, 2, 10, 1);
        status.published(cursor);
        let cursor = unpublished(&status).unwrap();
        status.published(cursor);
        assert_eq!(unpublished(&status), None);
        status.ended(0, 3);
        assert_eq!(unpublished(&status).unwrap().finished_below(), 1);
        let standing = status.standing();
        assert_eq!((standing.objects, standing.bytes, standing.open_epochs), (3, 30, 0));
    }

    #[test]
    fn a_store_with_an_archive_publishes_what_is_archived() {
        let status = SourceStatus::new("main");
        status.archived(&JournalState::default());
        status.begin(Cursor::new(3, []));
        status.stored(3, 5, 10, 1);
        assert_eq!(unpublished(&status), Some(Cursor::default()));
        let end = |epoch| EpochEnd { epoch, number: 0, found_at: Millis::MIN };
        let mut archived = JournalState { ends: vec![end(0), end(1)], ..JournalState::default() };
        status.archived(&archived);
        let (cursor, committed) = status.unpublished().unwrap();
        assert_eq!((cursor, committed.finished_below()), (Cursor::new(2, []), 3));
        // The archive may have what another process with this id has read.
        archived.ends.push(end(2));
        archived.cursors.push(EpochCursor {
            epoch: 3,
            number: 9,
            positions: Positions::default(),
            skipped: false,
        });
        status.archived(&archived);
        assert_eq!(unpublished(&status).unwrap().position(3).unwrap().next, 5);
    }

    #[tokio::test]
    async fn a_stopped_epoch_goes_on_after_a_skip() {
        let status = SourceStatus::new("main");
        status.open(2);
        assert_eq!(status.trouble(), None);
        status.stop_epoch(2, 7, "damaged".into());
        let trouble = status.trouble().unwrap();
        assert_eq!(trouble.to_string(), "epoch 2 is stopped at object 7: damaged");
        let public = "epoch 2 of the journal is stopped at object 7; the log says why";
        assert_eq!(trouble.in_public(), public);
        assert!(status.is_stopped_at(2, 7) && !status.is_stopped_at(2, 8));
        assert!(status.standing().unread_since.is_some());
        let (waited, ()) = tokio::join!(
            async {
                status.wait_for_skip(2, 7).await;
                status.trouble()
            },
            async { status.resume(2, 7) }
        );
        assert_eq!(waited, None);
        // The reader may be looking at the object meanwhile.
        status.stop_epoch(2, 7, "damaged".into());
        assert_eq!(status.trouble(), None);
        assert!(status.is_skipped(2, 7) && !status.is_skipped(2, 8));
        assert_eq!(unpublished(&status).unwrap().position(2).unwrap().next, 8);
    }

    #[tokio::test]
    async fn a_stopped_epoch_goes_on_when_its_object_is_good() {
        let status = SourceStatus::new("main");
        status.open(2);
        status.stop_epoch(2, 7, "damaged".into());
        tokio::join!(status.wait_for_skip(2, 7), async { status.look_again(2) });
        assert!(status.trouble().is_some() && !status.is_skipped(2, 7));
        status.stored(2, 7, 1, 1);
        assert_eq!(status.trouble(), None);
    }

    #[test]
    fn a_full_quarantine_is_trouble_until_there_is_room() {
        let status = SourceStatus::new("main");
        status.open(3);
        status.fails(Some(3), "full".into());
        assert_eq!(status.trouble(), None);
        status.wait_for_room(3, "full".into());
        let trouble = status.trouble().unwrap();
        assert_eq!(trouble.to_string(), "epoch 3 waits for room: full");
        assert!(trouble.in_public().contains("epoch 3 of the journal waits for room"));
        assert_eq!(status.standing().waiting_epochs, [(3, "full".to_owned())]);
        status.works(Some(3));
        assert_eq!((status.trouble(), status.standing().waiting_epochs), (None, Vec::new()));
    }

    #[test]
    fn what_fails_is_shown_until_all_works() {
        let status = SourceStatus::new("main");
        status.fails(None, "gone".into());
        status.fails(Some(3), "gone too".into());
        status.works(None);
        assert_eq!(status.standing().failing.as_deref(), Some("gone too"));
        status.works(Some(3));
        assert_eq!(status.standing().failing, None);
        status.stop("collision".into());
        assert_eq!(status.trouble(), Some(Trouble::Stopped("collision".into())));
    }
    #[tokio::test]
    async fn a_store_that_may_not_write_says_so() {
        let status = Arc::new(SourceStatus::new("main"));
        let watch = Arc::clone(&status);
        let objects = Watched { objects: ReadOnly::default(), limit: LIMIT, watch };
        let journal = Journal::new(Arc::new(objects));
        let store = "s".parse().unwrap();
        let cursor = Cursor::default();
        let mut joining = std::pin::pin!(journal.join(&store, (&cursor, &cursor), 0));
        // It tries for ever, so it is polled until it pauses.
        assert!(futures_util::poll!(joining.as_mut()).is_pending());
        let failing = status.standing().failing.unwrap();
        assert!(failing.contains("read only") && failing.contains("registry/0"), "{failing}");
        let trouble = status.trouble().unwrap();
        assert!(trouble.to_string().contains("does not allow"), "{trouble}");
        assert!(!trouble.in_public().contains("read only"), "{}", trouble.in_public());
        status.joined();
        status.exists("registry/0");
        assert_eq!((status.standing().failing, status.trouble()), (None, None));
    }
}
