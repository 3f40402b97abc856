//! The integration tests: one binary, for the sake of link time.

mod program;
mod send;
mod store;
mod vectors;
mod verify;
