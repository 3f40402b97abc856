//! Konnect's side: its API as it is documented, in `fixtures/konnect/`, the stand-in, and the
//! commands that work with the API.

mod client;
mod conformance;
mod demo;
mod schemas;
mod simulate;
mod story;
mod world;
