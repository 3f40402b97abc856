//! The API, the entries and the deliveries of Kong Konnect.
//!
//! - [`event`]: an entry before it is signed, and its text in each format. `request`: the entries
//!   of one API request.
//! - `traffic`: consistent entries of a made-up organization and its `people`. [`generate`]:
//!   unrelated entries of every kind, for load tests. Both repeat by a seed.
//! - [`tampering`]: which entries are tampered with, unsigned or sent twice.
//! - [`sign`]: signs entries. [`batch`]: builds the bodies of deliveries. [`deliver`]: sends one
//!   with Konnect's retries.
//! - `test_entry`: delivers one made-up entry.
//! - `api`: the types of the audit-log API. `client`: a client for it. `simulator`: a server.
//! - `cursor`: the position of a pull. `reconcile`: finds pulled entries that the store lacks.
//!
//! The formats are those of Kong's page "Konnect and Dev Portal audit logs". Only the client, the
//! simulator and `test_entry` open connections.

pub(crate) mod api;
pub mod batch;
pub(crate) mod client;
pub(crate) mod cursor;
pub mod deliver;
pub mod event;
pub mod generate;
pub(crate) mod people;
pub(crate) mod reconcile;
pub(crate) mod request;
pub mod sign;
pub(crate) mod simulator;
pub mod tampering;
pub(crate) mod test_entry;
pub(crate) mod traffic;
