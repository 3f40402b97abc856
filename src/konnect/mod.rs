//! Konnect's side of the wire: entries as it writes them, its signatures, its deliveries.
//!
//! - [`event`]: an entry before it is signed, and its text in each format.
//! - [`request`]: one request, and the entries that tell of it; [`authentication`] has its words.
//! - [`traffic`]: what the people of an organization do, from a seed ([`crate::random`]): who they are is in
//!   [`people`] and `accounts`, what they call in `endpoints`.
//! - [`generate`]: single entries of every kind, for load.
//! - [`share`]: which of them are tampered with, unsigned or sent twice.
//! - [`sign`]: a signing key, and the signature in its place.
//! - [`batch`]: the two together: a batch of signed lines, and its body as it goes over the wire.
//! - [`deliver`]: one delivery with Konnect's retry rules.
//! - [`api`]: the types of its audit-log API; [`simulator`]: a stand-in for all of Konnect.
//! - [`client`]: a client for the API; [`cursor`]: where a pull stands; [`reconcile`]: which pulled
//!   entries the store does not have.
//!
//! The formats are those of the vendor's page "Konnect and Dev Portal audit logs". Only the client
//! and the simulator open connections: a delivery is given the function that posts it.

mod accounts;
pub mod api;
pub mod authentication;
pub mod batch;
pub mod client;
pub mod cursor;
pub mod deliver;
mod endpoints;
pub mod event;
pub mod generate;
pub mod people;
pub mod reconcile;
pub mod request;
pub mod share;
pub mod sign;
pub mod simulator;
pub mod traffic;
