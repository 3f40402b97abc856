//! The integration tests: one binary, for the sake of link time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect")]

mod project;
mod properties;
mod store;
mod vectors;
