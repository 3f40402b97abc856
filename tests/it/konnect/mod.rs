//! The documented API of Konnect in `fixtures/konnect/`, the simulator, and the commands that use
//! the API.

mod answers;
mod client;
mod conformance;
mod demo;
mod schemas;
mod simulate;
mod story;
mod world;
