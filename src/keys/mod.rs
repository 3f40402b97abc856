//! Public keys: read from files and URLs, kept in the catalog, refreshed and retired.
//!
//! `source` reads a JWK set. `ring` chooses the keys for each input and each time. `refresh` is the task
//! that keeps the ring current.

mod refresh;
mod ring;
mod source;

pub(crate) use refresh::{RefreshObserver, RefreshTrigger, Refresher};
pub(crate) use ring::{InputVerification, KeyRing};
pub(crate) use source::read;
