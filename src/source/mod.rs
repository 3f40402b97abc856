//! Sources: what `serve` fetches into the store by itself, beside what it is sent.
//!
//! - `konnect_pull`: entries from Konnect's API that no delivery brought.
//! - `late`: hides a pulled entry when a delivery brings it later.

mod konnect_pull;
mod late;

pub(crate) use konnect_pull::{KonnectPull, Settings};
