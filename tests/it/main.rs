//! The integration tests: one binary, for the sake of link time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect by it")]

mod check;
mod crash;
mod full_disk;
mod harness;
mod program;
mod project;
mod properties;
mod reading;
mod send;
mod store;
mod vectors;
mod verify;
