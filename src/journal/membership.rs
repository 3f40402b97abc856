//! A store that takes part in the journal: it is registered and publishes how far it has read.
//!
//! The published cursors are numbered and create-only. A process that finds another's cursor where its
//! next one was to be has lost its id to another process, and stops.

use super::Journal;
use super::control;
use super::cursor::Cursor;
use super::error::JournalError;
use super::header::{Header, Kind, Nonce};
use super::keys::{self, StoreId};
use super::platform::Platform;
use super::series::first_free;
use super::settle::Settled;
use crate::objects::Objects;

/// The right of this process to read for a store.
#[derive(Debug)]
pub(crate) struct Membership<O, P = super::System> {
    journal: Journal<O, P>,
    store: StoreId,
    /// In the header of every cursor that this process publishes.
    nonce: Nonce,
    /// The number of the next cursor.
    next: u64,
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Lets a store take part: registers it, publishes its cursor, and then checks that prune has
    /// deleted nothing that it lacks. The order matters: from the publication on prune waits for
    /// it. A store does this at its start, before it reads. It may publish less than it has
    /// committed, and then prune leaves the rest too. `hint` is a guess of the number of its next
    /// cursor.
    ///
    /// # Errors
    /// [`JournalError::Retired`] and [`JournalError::Behind`] if the store must stop.
    pub(crate) async fn join(
        &self,
        store: &StoreId,
        (published, committed): (&Cursor, &Cursor),
        hint: u64,
    ) -> Result<Membership<O, P>, JournalError> {
        self.register(store).await?;
        let nonce = self.platform.nonce()?;
        let name = |number| keys::cursor(store, number);
        let mut next = first_free(&*self.objects, name, 0, hint).await?;
        let body = control::encode(Kind::Cursor, nonce, published);
        // A process that ran before, or one that starts now, may have taken the number. Of two that
        // run at once the one with the lower number finds the other's cursor when it publishes again.
        while self.settle(&name(next), &body).await != Settled::Ours {
            next = after(store, next)?;
        }
        let next = after(store, next)?;
        self.check_store(store, (published, committed)).await?;
        Ok(Membership { journal: self.clone(), store: store.clone(), nonce, next })
    }

    /// Checks that a store may go on: it is not retired, and not behind a floor.
    async fn check_store(
        &self,
        store: &StoreId,
        (published, committed): (&Cursor, &Cursor),
    ) -> Result<(), JournalError> {
        if self.is_retired(store).await? {
            return Err(JournalError::Retired { store: store.clone() });
        }
        self.check_floors(published, committed).await
    }
}

impl<O: Objects, P: Platform> Membership<O, P> {
    /// The number of the next cursor, which is the best hint for the next start.
    #[cfg(test)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Publishes how far the store is, so that prune may delete what is below. It may publish less
    /// than it has committed. It may be dropped and called again.
    ///
    /// # Errors
    /// [`JournalError::Collision`], [`JournalError::Retired`] and [`JournalError::Behind`] if the store
    /// must stop.
    pub(crate) async fn publish(
        &mut self,
        (published, committed): (&Cursor, &Cursor),
    ) -> Result<(), JournalError> {
        let body = control::encode(Kind::Cursor, self.nonce, published);
        loop {
            let key = keys::cursor(&self.store, self.next);
            let settled = self.journal.settle(&key, &body).await;
            if let Settled::Other(found) = &settled {
                let owner = Header::parse(found).map(|(header, _)| header.nonce);
                if owner != Ok(self.nonce) {
                    return Err(JournalError::Collision { store: self.store.clone(), key });
                }
                // An earlier call of this process, which was dropped, wrote an older cursor here.
            }
            self.next = after(&self.store, self.next)?;
            if settled == Settled::Ours {
                break;
            }
        }
        self.journal.check_store(&self.store, (published, committed)).await
    }
}

fn after(store: &StoreId, number: u64) -> Result<u64, JournalError> {
    let full = || JournalError::Full { key: keys::cursor(store, number) };
    number.checked_add(1).ok_or_else(full)
}
