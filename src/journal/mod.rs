//! The journal: deliveries on object storage, between many receivers and many stores.
//!
//! This is the protocol alone. It uses [`Objects`]: to create an object only if its key is free, to
//! read one, to delete one. It never lists, never overwrites, and knows no clock. It is correct
//! whatever becomes of a call: one that failed may have taken effect, may take effect later, and may
//! take effect twice. docs/journal.md defines the names and the bytes of the objects, and argues why
//! this is safe. `model` tests it against an object store that behaves as badly as that.
//!
//! - A receiver owns an [`Epoch`] and puts its deliveries there, one object at a time.
//! - A store joins ([`Journal::join`]), reads each epoch number by number ([`Journal::read`]), seals
//!   epochs that are silent ([`Journal::seal`]) and publishes how far it is ([`Membership`]).
//! - Prune deletes what every store has read ([`Journal::prune`]).
//!
//! What is in an object of deliveries is the business of [`mod@object`], and of [`cipher`] if the objects
//! are encrypted.

pub(crate) mod cipher;
mod control;
mod cursor;
mod epoch;
mod error;
mod floor;
mod header;
pub(crate) mod keys;
mod membership;
pub(crate) mod object;
mod platform;
mod prune;
mod reader;
mod registry;
mod series;
mod settle;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::cursor::{Cursor, EpochPosition};
pub(crate) use self::epoch::{Epoch, PutError};
pub(crate) use self::error::JournalError;
pub(crate) use self::floor::Floor;
#[cfg(test)]
pub(crate) use self::header::Nonce;
pub(crate) use self::header::{Header, HeaderError, Kind};
pub(crate) use self::keys::{BadStoreId, ObjectId, StoreId};
pub(crate) use self::membership::Membership;
pub(crate) use self::platform::{Platform, System};
pub(crate) use self::prune::Pruned;
pub(crate) use self::reader::{End, Read, SealOutcome};

use crate::objects::Objects;

/// A journal in an object store. A clone is the same journal.
#[derive(Debug)]
pub(crate) struct Journal<O, P = System> {
    objects: Arc<O>,
    platform: Arc<P>,
}

impl<O: Objects> Journal<O, System> {
    /// The journal in this object store. Nothing is sent yet.
    pub(crate) fn new(objects: Arc<O>) -> Journal<O, System> {
        Journal { objects, platform: Arc::new(System) }
    }
}

#[cfg(test)]
impl<O: Objects, P: Platform> Journal<O, P> {
    /// The journal in this object store, with other pauses and nonces than the system's.
    pub(crate) fn on(objects: Arc<O>, platform: Arc<P>) -> Journal<O, P> {
        Journal { objects, platform }
    }
}

impl<O, P> Clone for Journal<O, P> {
    fn clone(&self) -> Journal<O, P> {
        Journal { objects: Arc::clone(&self.objects), platform: Arc::clone(&self.platform) }
    }
}
