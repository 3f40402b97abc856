//! Vidimus receives the audit logs that Kong Konnect and its Dev Portals send, verifies the
//! signature on every entry, keeps the exact bytes, and answers questions about them.
//!
//! # The flow
//!
//! ```text
//! bytes -> lines -> entries with verdicts -> store (committed) -> 2xx
//!                                               |-> query, tail, export, console
//!                                               |-> outputs (files, syslog, HTTP)
//! ```
//!
//! Nothing flows back. Whatever reads, reads from the store.
//!
//! # The modules
//!
//! The domain takes bytes and a time and gives values; it does no I/O and asks no clock:
//! [`entry`] (what is a line), `signature` (is it genuine), `ingest` (a body to its entries),
//! [`search`] (a query to a filter).
//!
//! The rest is behind the Cargo feature `app`: `store` alone knows SQLite, `net` the sockets and
//! TLS, `receiver` the webhook endpoint, `output` where entries go, `console` the page and its API,
//! `metrics` what is counted, `control` what commands ask of the server, `konnect` Konnect's side, `config` the settings, and `cli` the
//! commands; only `cli` prints.
//!
//! ARCHITECTURE.md has the invariants.

pub mod entry;
pub mod ingest;
#[doc(hidden)]
pub mod properties;
pub mod search;
pub mod signature;

#[cfg(feature = "app")]
pub mod cli;
#[cfg(feature = "app")]
pub mod clock;
#[cfg(feature = "app")]
pub mod config;
#[cfg(feature = "app")]
pub(crate) mod console;
#[cfg(feature = "app")]
mod control;
#[cfg(feature = "app")]
mod keys;
#[cfg(feature = "app")]
pub mod konnect;
#[cfg(feature = "app")]
mod metrics;
#[cfg(feature = "app")]
pub mod net;
#[cfg(feature = "app")]
pub mod output;
#[cfg(feature = "app")]
mod private_file;
#[cfg(feature = "app")]
pub mod random;
#[cfg(feature = "app")]
mod receiver;
#[cfg(feature = "app")]
mod sanitise;
#[cfg(feature = "app")]
mod server;
#[cfg(feature = "app")]
pub mod settings;
#[cfg(feature = "app")]
pub mod store;
