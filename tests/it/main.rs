//! The integration tests: one binary, for the sake of link time.

mod harness;
mod keys;
mod receiver;
mod store;
mod tls;
mod tools;
mod vectors;
mod verify;
