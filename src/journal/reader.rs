//! The store's side: reading an epoch number by number, and ending one that is silent.
//!
//! A number that is free says nothing: the object may still come. Only a seal ends an epoch. A seal is
//! put at the first free number, so it and an object exclude each other, and every store finds the same
//! one. Whether it is put early or late decides only which epoch the receiver goes on in.

use bytes::Bytes;

use super::control::Empty;
use super::error::JournalError;
use super::header::{Header, Kind};
use super::keys;
use super::platform::Platform;
use super::series::first_free;
use super::settle::Settled;
use super::{Floor, Journal};
use crate::objects::{ObjectError, Objects};

/// What stands at a number of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// An object of deliveries, with its header.
    Deliveries(Bytes),
    /// The end of the epoch. Nothing above it is ever read.
    Sealed,
    /// Nothing yet.
    Absent,
    /// An object that this version cannot read; without its bytes if it is too large. It stops this
    /// epoch, not the others.
    Unknown { object: Bytes, why: String },
}

/// What a store that wants to end an epoch finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealOutcome {
    /// The epoch ends at this number.
    Sealed,
    /// There is an object at this number now. The store reads on.
    Present,
}

/// Where an epoch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The first number that is not deleted.
    pub first: u64,
    /// The number of the seal, or the first free number.
    pub next: u64,
    /// Whether `next` is the seal.
    pub sealed: bool,
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Whether a receiver has begun this epoch. Epochs have no gaps, so a store asks for the one after
    /// the last that it knows.
    ///
    /// # Errors
    /// [`JournalError::Objects`].
    pub(crate) async fn exists_epoch(&self, epoch: u64) -> Result<bool, JournalError> {
        Ok(self.objects.exists(&keys::epoch(epoch)).await?)
    }

    /// Reads one number of an epoch.
    ///
    /// # Errors
    /// [`JournalError::Behind`] if there is a seal where a prune deleted an object: the store lacks it
    /// and must stop.
    pub(crate) async fn read(&self, epoch: u64, number: u64) -> Result<Read, JournalError> {
        let read = self.look(epoch, number).await?;
        if read == Read::Sealed {
            self.check_unpruned(epoch, number).await?;
        }
        Ok(read)
    }

    /// Reads one number of an epoch, and does not ask whether it was pruned.
    async fn look(&self, epoch: u64, number: u64) -> Result<Read, JournalError> {
        let object = match self.objects.get(&keys::object(epoch, number)).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Read::Absent),
            Err(error @ ObjectError::TooLarge { .. }) => {
                return Ok(Read::Unknown { object: Bytes::new(), why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        let why = match Header::parse(&object) {
            Ok((Header { kind: Kind::Deliveries, .. }, _)) => return Ok(Read::Deliveries(object)),
            Ok((Header { kind: Kind::Seal, .. }, _)) => return Ok(Read::Sealed),
            Ok((Header { kind, .. }, _)) => format!("it is of the kind {kind:?}"),
            Err(error) => error.to_string(),
        };
        Ok(Read::Unknown { object, why })
    }

    /// Ends an epoch at a number, unless there is an object. The store must have committed everything
    /// below the number. It is always safe; a receiver that is at work then begins a new epoch.
    ///
    /// # Errors
    /// [`JournalError::Behind`] if a prune deleted the object: the store lacks it and must stop.
    pub(crate) async fn seal(&self, epoch: u64, number: u64) -> Result<SealOutcome, JournalError> {
        let key = keys::object(epoch, number);
        if !self.objects.exists(&key).await? {
            // The number is free because nothing was there yet, or because prune deleted it. A floor is
            // published before anything is deleted, so this tells.
            self.check_unpruned(epoch, number).await?;
            if self.create(Kind::Seal, &key, &Empty::default()).await? == Settled::Ours {
                self.check_unpruned(epoch, number).await?;
                return Ok(SealOutcome::Sealed);
            }
        }
        match self.read(epoch, number).await? {
            Read::Sealed => Ok(SealOutcome::Sealed),
            _ => Ok(SealOutcome::Present),
        }
    }

    /// Where an epoch ends, above the newest floor that holds. `hint` is a guess of the end.
    ///
    /// # Errors
    /// [`JournalError::Objects`], [`JournalError::Full`].
    pub(crate) async fn end(
        &self,
        floor: &Floor,
        epoch: u64,
        hint: u64,
    ) -> Result<End, JournalError> {
        let first = floor.first_unpruned(epoch);
        let name = |number| keys::object(epoch, number);
        let free = first_free(&*self.objects, name, first, hint).await?;
        if let Some(last) = free.checked_sub(1).filter(|last| *last >= first)
            && self.look(epoch, last).await? == Read::Sealed
        {
            return Ok(End { first, next: last, sealed: true });
        }
        Ok(End { first, next: free, sealed: false })
    }

    /// Checks that no floor that holds is above a number, which was found free or sealed before.
    async fn check_unpruned(&self, epoch: u64, number: u64) -> Result<(), JournalError> {
        let floor = self.first_unpruned(epoch).await?;
        if floor > number {
            return Err(JournalError::Behind { epoch, next: number, floor: Some(floor) });
        }
        Ok(())
    }
}
