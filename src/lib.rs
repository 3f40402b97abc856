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
//! Data flows one way. Every reader reads from the store.
//!
//! # The modules
//!
//! The domain turns bytes and a time into values. It does no I/O and reads no clock: [`entry`]
//! parses lines, [`signature`] verifies them, [`ingest`] turns a body into entries, [`search`]
//! parses queries, and [`tlog`] has the formats of transparency logs.
//!
//! The other modules need the Cargo feature `app`: `store` (the only user of SQLite), `net`
//! (sockets and TLS), `receiver` (the webhook endpoint), `keys` (the key sets), `output`
//! (forwarding), `console` (the web pages and the JSON API), `metrics`, `control` (requests from
//! commands to the server), `objects` (object storage), `archive` (the entries as Parquet files in
//! object storage), `evidence` (bundles of entries with proofs), `konnect` (the API of Konnect and a
//! simulator), `settings` (readers of settings), `config`, `server` and `cli` (the commands). Only `cli`
//! prints.
//!
//! ARCHITECTURE.md lists the invariants.

pub mod entry;
pub mod ingest;
#[doc(hidden)]
pub mod properties;
pub mod search;
pub mod signature;
pub mod tlog;

#[cfg(feature = "app")]
mod archive;
#[cfg(feature = "app")]
mod backup;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod clock;
#[cfg(feature = "app")]
mod config;
#[cfg(feature = "app")]
mod console;
#[cfg(feature = "app")]
mod control;
#[cfg(feature = "app")]
mod evidence;
#[cfg(feature = "app")]
mod journal;
#[cfg(feature = "app")]
mod keys;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod konnect;
#[cfg(feature = "app")]
mod last_lines;
#[cfg(feature = "app")]
mod log;
#[cfg(feature = "app")]
mod metrics;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod net;
#[cfg(feature = "app")]
mod objects;
#[cfg(feature = "app")]
mod output;
#[cfg(feature = "app")]
mod private_file;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod private_key;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod random;
#[cfg(feature = "app")]
mod receiver;
#[cfg(feature = "app")]
mod record_csv;
#[cfg(feature = "app")]
mod sanitise;
#[cfg(feature = "app")]
mod server;
#[cfg(feature = "app")]
mod settings;
#[cfg(feature = "app")]
mod source;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod store;
