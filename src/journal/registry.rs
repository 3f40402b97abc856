//! The stores that read the journal. Prune asks every one of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Journal;
use super::control::{self, Empty, Version};
use super::cursor::Cursor;
use super::error::JournalError;
use super::header::Kind;
use super::keys::{self, StoreId};
use super::platform::Platform;
use super::series::first_free;
use super::settle::Settled;
use crate::objects::Objects;

/// A registration that was forged or repeated costs a read each time, so their number has a limit.
const MAX_STORES: u64 = 10_000;

#[derive(Serialize, Deserialize)]
struct Registration {
    version: Version,
    store: String,
}

impl<O: Objects, P: Platform> Journal<O, P> {
    /// Registers a store, if it is not registered yet.
    ///
    /// # Errors
    /// [`JournalError::Objects`], [`JournalError::Random`], and [`JournalError::Full`] at 10,000.
    pub(crate) async fn register(&self, store: &StoreId) -> Result<(), JournalError> {
        let registration = Registration { version: Version, store: store.to_string() };
        for number in 0..MAX_STORES {
            let key = keys::registered(number);
            let found = match self.objects.get(&key).await? {
                Some(found) => found,
                None => match self.create(Kind::Store, &key, &registration).await? {
                    Settled::Ours => return Ok(()),
                    Settled::Other(found) => found,
                },
            };
            // One that cannot be read stops prune, not a new store.
            if registered(&key, &found).is_ok_and(|other| other == *store) {
                return Ok(());
            }
        }
        Err(JournalError::Full { key: keys::registered(MAX_STORES) })
    }

    /// Every store that was registered, retired ones included.
    ///
    /// # Errors
    /// [`JournalError::Malformed`] if a registration cannot be read: then a store is unknown.
    pub(crate) async fn stores(&self) -> Result<BTreeSet<StoreId>, JournalError> {
        let mut stores = BTreeSet::new();
        for number in 0..MAX_STORES {
            let key = keys::registered(number);
            let Some(found) = self.objects.get(&key).await? else { return Ok(stores) };
            stores.insert(registered(&key, &found)?);
        }
        Err(JournalError::Full { key: keys::registered(MAX_STORES) })
    }

    /// Says that a store is gone for ever, so that prune does not wait for it. If it is not gone, it
    /// stops when it notices.
    ///
    /// # Errors
    /// [`JournalError::Random`].
    pub(crate) async fn retire(&self, store: &StoreId) -> Result<(), JournalError> {
        // Another process may have retired it: the same.
        self.create(Kind::Retired, &keys::retired(store), &Empty::default()).await?;
        Ok(())
    }

    /// Whether a store was retired.
    ///
    /// # Errors
    /// [`JournalError::Objects`].
    pub(crate) async fn is_retired(&self, store: &StoreId) -> Result<bool, JournalError> {
        Ok(self.objects.get(&keys::retired(store)).await?.is_some())
    }

    /// The newest published cursor of a store, with its number; `None` if it has published none.
    ///
    /// # Errors
    /// [`JournalError::Objects`], [`JournalError::Malformed`].
    pub(crate) async fn newest_cursor(
        &self,
        store: &StoreId,
        hint: u64,
    ) -> Result<Option<(u64, Cursor)>, JournalError> {
        let name = |number| keys::cursor(store, number);
        let free = first_free(&*self.objects, name, 0, hint).await?;
        let Some(number) = free.checked_sub(1) else { return Ok(None) };
        let object = self.objects.get(&name(number)).await?.unwrap_or_default();
        Ok(Some((number, control::parse(Kind::Cursor, &name(number), &object)?)))
    }
}

fn registered(key: &str, object: &[u8]) -> Result<StoreId, JournalError> {
    let registration = control::parse::<Registration>(Kind::Store, key, object)?;
    registration.store.parse().map_err(|error: keys::BadStoreId| JournalError::Malformed {
        key: key.to_owned(),
        why: error.to_string(),
    })
}
