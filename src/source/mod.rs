//! Sources: what `serve` fetches into the store by itself, beside what it is sent.
//!
//! - `konnect_pull`: entries from Konnect's API that no delivery brought.
//! - [`journal`]: what receivers put into the journal.
//! - `late`: hides a pulled entry when a delivery brings it later.
//! - `reconcile`: compares what Konnect lists with the store.

pub(crate) mod journal;
mod konnect_pull;
mod late;
mod reconcile;

pub(crate) use konnect_pull::{KonnectPull, Settings};
pub(crate) use reconcile::Reconciler;
