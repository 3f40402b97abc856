//! Deletes deliveries that every store has committed and that are old enough.
//!
//! The order makes it safe: it publishes a floor, reads the cursors after that, decides, and deletes
//! last. It deletes nothing but deliveries. It can be interrupted at any point: the next prune goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::Journal;
use super::control::Empty;
use super::cursor::Cursor;
use super::error::JournalError;
use super::floor::{Choice, Floor};
use super::header::Kind;
use super::keys::{self, StoreId};
use super::platform::Platform;
use super::reader::Read;
use super::series::first_free;
use super::settle::Settled;
use crate::objects::Objects;

/// How many objects are deleted at once.
const DELETES: usize = 32;

/// What became of a prune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pruned {
    /// Nothing more can be deleted.
    Nothing,
    /// Everything below the floor is deleted.
    Deleted,
    /// A store that is behind came back at this moment, so nothing was deleted.
    GaveUp,
    /// Another prune runs.
    Another,
}

/// What a prune did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub outcome: Pruned,
    /// How many objects it deleted in this call, the rest of an interrupted prune included.
    pub deleted: u64,
    /// Stores that have read less than what is old enough, with an epoch and the number they are at.
    pub waits_for: BTreeMap<StoreId, (u64, u64)>,
}

/// The stores that prune must ask, with how far they have read.
type Stores = BTreeMap<StoreId, Cursor>;

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Deletes what every registered store that is not retired has committed. If there is no such store
    /// it deletes nothing. `old_enough` has, for
    /// each epoch, the number below which the objects are old enough; epochs that it lacks are left
    /// alone. The caller sets the limit of time by dropping the future.
    ///
    /// # Errors
    /// [`JournalError::Malformed`] if a control object cannot be read: then a store may be unknown.
    pub(crate) async fn prune(
        &self,
        old_enough: &BTreeMap<u64, u64>,
    ) -> Result<Report, JournalError> {
        let (number, mut deleted) = self.finish_last().await?;
        let (floor, waits_for) = self.plan(old_enough).await?;
        let report =
            |outcome, deleted| Ok(Report { outcome, deleted, waits_for: waits_for.clone() });
        if floor.deletes.is_empty() {
            return report(Pruned::Nothing, deleted);
        }
        // A floor covers those before it, because they were all decided when it was planned. If another
        // prune has published one since then, this number is taken.
        if self.create(Kind::Floor, &keys::floor(number), &floor).await? != Settled::Ours {
            return report(Pruned::Another, deleted);
        }
        if self.conclude(number, &floor).await? == Choice::Void {
            return report(Pruned::GaveUp, deleted);
        }
        deleted += self.delete(number, &floor).await?;
        report(Pruned::Deleted, deleted)
    }

    /// What a prune would delete now, and the stores that hold it back.
    ///
    /// # Errors
    /// As [`Journal::prune`].
    pub(crate) async fn plan(
        &self,
        old_enough: &BTreeMap<u64, u64>,
    ) -> Result<(Floor, BTreeMap<StoreId, (u64, u64)>), JournalError> {
        let last = self.newest_floor().await?.map(|(_, floor)| floor).unwrap_or_default();
        let stores = self.cursors().await?;
        let mut floor = Floor::new(last.finished_below, last.epochs.clone());
        let mut waits_for = BTreeMap::new();
        if stores.is_empty() {
            return Ok((floor, waits_for));
        }
        for (&epoch, &limit) in old_enough {
            let from = last.first_unpruned(epoch);
            let mut to = limit;
            for (store, cursor) in &stores {
                let Some(position) = cursor.position(epoch) else { continue };
                if position.next < limit {
                    waits_for.entry(store.clone()).or_insert((epoch, position.next));
                }
                to = to.min(position.next);
            }
            // The caller counts the seal of an old epoch too, and a seal is never deleted.
            if to > from && self.read(epoch, to - 1).await? == Read::Sealed {
                to -= 1;
            }
            // The caller may be wrong about where the epoch ends. An object of deliveries has no seal
            // below it.
            if to > from && matches!(self.read(epoch, to - 1).await?, Read::Deliveries(_)) {
                floor.epochs.insert(epoch, to);
                floor.deletes.insert(epoch, (from, to));
            }
        }
        // Epochs of which nothing is left need no line of their own.
        let finished = stores.values().map(Cursor::finished_below).min().unwrap_or(0);
        while floor.finished_below < finished {
            let epoch = floor.finished_below;
            let below = floor.first_unpruned(epoch);
            if self.read(epoch, below).await? != Read::Sealed {
                break;
            }
            floor.epochs.remove(&epoch);
            floor.finished_below += 1;
        }
        Ok((floor, waits_for))
    }

    /// Brings the newest floor to its end, if the prune that published it was interrupted. Returns the
    /// number of the next floor, and how many objects were deleted.
    async fn finish_last(&self) -> Result<(u64, u64), JournalError> {
        let free = first_free(&*self.objects, keys::floor, 0, 0).await?;
        for number in (0..free).rev() {
            let floor = self.floor(number).await?;
            let choice = match self.decision(number).await? {
                Some(choice) => choice,
                None => self.conclude(number, &floor).await?,
            };
            if choice == Choice::Delete {
                // Each prune finishes the floor before its own, so the older ones are done.
                let done = self.objects.get(&keys::deletion(number)).await?.is_some();
                let deleted = if done { 0 } else { self.delete(number, &floor).await? };
                return Ok((free, deleted));
            }
        }
        Ok((free, 0))
    }

    /// Decides about a floor that is published: reads every cursor now, and not before.
    async fn conclude(&self, number: u64, floor: &Floor) -> Result<Choice, JournalError> {
        let stores = self.cursors().await?;
        let all_are_past = stores.values().all(|cursor| cursor.check(floor).is_ok());
        let delete = all_are_past && !stores.is_empty();
        self.decide(number, if delete { Choice::Delete } else { Choice::Void }).await
    }

    /// Deletes what is below a floor that holds.
    async fn delete(&self, number: u64, floor: &Floor) -> Result<u64, JournalError> {
        let mut count = 0;
        for (&epoch, &(from, to)) in &floor.deletes {
            let delete = |number| {
                let objects = Arc::clone(&self.objects);
                async move { objects.delete(&keys::object(epoch, number)).await }
            };
            let mut deletes = stream::iter(from..to).map(delete).buffer_unordered(DELETES);
            while let Some(()) = deletes.try_next().await? {
                count += 1;
            }
        }
        self.create(Kind::Deletion, &keys::deletion(number), &Empty::default()).await?;
        Ok(count)
    }

    /// The cursors of every registered store that is not retired. One that has published none has read
    /// nothing.
    async fn cursors(&self) -> Result<Stores, JournalError> {
        let mut stores = Stores::new();
        for store in self.stores().await? {
            if !self.is_retired(&store).await? {
                let newest = self.newest_cursor(&store, 0).await?;
                stores.insert(store, newest.map(|(_, cursor)| cursor).unwrap_or_default());
            }
        }
        Ok(stores)
    }
}
