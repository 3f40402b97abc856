//! Floors: what prunes delete, and whether they may.
//!
//! A prune publishes a floor before it deletes anything, and then a decision, which is create-only, so
//! there is one for each floor and it is final. A floor holds if the decision is to delete. A store that
//! is behind a floor without a decision decides against it. So a prune and a store that comes back
//! cannot both go on, and a prune that gives up stops nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Journal;
use super::control::{self, Version};
use super::cursor::Cursor;
use super::error::JournalError;
use super::header::Kind;
use super::keys;
use super::platform::Platform;
use super::series::first_free;
use super::settle::Settled;
use crate::objects::Objects;

/// What is deleted. A floor covers every floor before it that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Floor {
    version: Version,
    /// In every epoch below this number all deliveries are deleted, and every store has read the seal.
    pub finished_below: u64,
    /// In these epochs every object below the number is deleted.
    pub epochs: BTreeMap<u64, u64>,
    /// What this floor deletes: in these epochs, from the first number up to but without the second.
    pub deletes: BTreeMap<u64, (u64, u64)>,
}

/// Whether a floor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Choice {
    /// It holds: what is below it may be deleted at any time.
    Delete,
    /// It does not hold. Nothing was deleted for it, and nothing will be.
    Void,
}

#[derive(Serialize, Deserialize)]
struct Decision {
    version: Version,
    decision: Choice,
}

impl Floor {
    pub(super) fn new(finished_below: u64, epochs: impl IntoIterator<Item = (u64, u64)>) -> Floor {
        let epochs = epochs.into_iter().filter(|(_, below)| *below > 0).collect();
        Floor { version: Version, finished_below, epochs, deletes: BTreeMap::new() }
    }

    /// The first number of an epoch that is not deleted.
    pub(crate) fn first_unpruned(&self, epoch: u64) -> u64 {
        if epoch < self.finished_below {
            return u64::MAX;
        }
        self.epochs.get(&epoch).copied().unwrap_or(0)
    }
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// The newest floor that holds, with its number.
    ///
    /// # Errors
    /// [`JournalError::Objects`], [`JournalError::Malformed`].
    pub(crate) async fn newest_floor(&self) -> Result<Option<(u64, Floor)>, JournalError> {
        let free = first_free(&*self.objects, keys::floor, 0, 0).await?;
        for number in (0..free).rev() {
            if self.decision(number).await? == Some(Choice::Delete) {
                return Ok(Some((number, self.floor(number).await?)));
            }
        }
        Ok(None)
    }

    /// The first number of an epoch that is not deleted. If a reader asks after it found a number free
    /// or sealed, the answer tells whether a prune had deleted what was there.
    pub(super) async fn first_unpruned(&self, epoch: u64) -> Result<u64, JournalError> {
        let floor = self.newest_floor().await?;
        Ok(floor.map_or(0, |(_, floor)| floor.first_unpruned(epoch)))
    }

    /// Checks that a store that has committed this cursor lacks nothing that a prune deletes. The
    /// store must have published a cursor before, which may be less. It decides against floors that
    /// the published cursor is behind and that have no decision yet.
    ///
    /// # Errors
    /// [`JournalError::Behind`] if the store must stop.
    pub(super) async fn check_floors(
        &self,
        published: &Cursor,
        committed: &Cursor,
    ) -> Result<(), JournalError> {
        let free = first_free(&*self.objects, keys::floor, 0, 0).await?;
        for number in (0..free).rev() {
            let choice = self.decision(number).await?;
            if choice == Some(Choice::Void) {
                continue;
            }
            let floor = self.floor(number).await?;
            // A floor covers those before it, so a store that has passed one has passed all.
            if published.check(&floor).is_ok() {
                return Ok(());
            }
            if choice == Some(Choice::Delete)
                || self.decide(number, Choice::Void).await? == Choice::Delete
            {
                return committed.check(&floor);
            }
        }
        Ok(())
    }

    /// The floor of this number, which must be there.
    pub(super) async fn floor(&self, number: u64) -> Result<Floor, JournalError> {
        let key = keys::floor(number);
        let object = self.objects.get(&key).await?.unwrap_or_default();
        control::parse(Kind::Floor, &key, &object)
    }

    pub(super) async fn decision(&self, floor: u64) -> Result<Option<Choice>, JournalError> {
        let key = keys::decision(floor);
        let Some(object) = self.objects.get(&key).await? else { return Ok(None) };
        Ok(Some(control::parse::<Decision>(Kind::Decision, &key, &object)?.decision))
    }

    /// Decides about a floor. The first decision is final, and is returned.
    pub(super) async fn decide(&self, floor: u64, choice: Choice) -> Result<Choice, JournalError> {
        let key = keys::decision(floor);
        let decision = Decision { version: Version, decision: choice };
        match self.create(Kind::Decision, &key, &decision).await? {
            Settled::Ours => Ok(choice),
            Settled::Other(found) => {
                Ok(control::parse::<Decision>(Kind::Decision, &key, &found)?.decision)
            }
        }
    }
}
