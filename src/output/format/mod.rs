//! How an entry is written.

pub mod ecs;
mod mapped;
#[cfg(test)]
mod mapped_tests;
pub mod ocsf;
