//! Konnect's side of the wire: entries as it writes them, its signatures, its deliveries.
//!
//! - [`event`]: an entry before it is signed, and its text in each format.
//! - [`request`]: one request, and the entries that it leaves.
//! - [`traffic`]: what the [`people`] of an organization do, repeated by a seed.
//! - [`generate`]: single entries of every kind, for load.
//! - [`tampering`]: which of them are tampered with, unsigned or sent twice.
//! - [`sign`]: a signing key, and the signature in its place.
//! - [`batch`]: the two together: a batch of signed lines, and its body as it goes over the wire.
//! - [`deliver`]: one delivery with Konnect's retry rules.
//! - [`api`]: the types of its audit-log API; [`simulator`]: a stand-in for all of Konnect.
//! - [`client`]: a client for the API; [`cursor`]: where a pull stands; [`reconcile`]: which pulled
//!   entries the store does not have.
//!
//! The formats are those of the vendor's page "Konnect and Dev Portal audit logs". Only the client
//! and the simulator open connections: a delivery is given the function that posts it.

pub mod api;
pub mod batch;
pub mod client;
pub mod cursor;
pub mod deliver;
pub mod event;
pub mod generate;
pub mod people;
pub mod reconcile;
pub mod request;
pub mod sign;
pub mod simulator;
pub mod tampering;
pub mod traffic;
