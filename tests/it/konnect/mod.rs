//! The documented API of Konnect in `fixtures/konnect/`, the simulator, and the commands that use
//! the API.

mod answers;
mod client;
mod conformance;
mod counterparts;
mod coverage;
mod demo;
mod listen;
mod portals;
mod pull;
mod schemas;
mod simulate;
mod source;
mod story;
mod world;
