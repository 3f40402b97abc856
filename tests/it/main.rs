//! The integration tests, in one binary to save link time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that fails panics and prints what it saw"
)]

mod archive;
mod backup;
mod browser;
mod check;
mod commands;
mod console;
mod control;
mod crash;
mod deployments;
mod duplicates;
mod evidence;
mod full_disk;
mod harness;
mod health;
mod integrations;
mod journal;
mod keys;
mod konnect;
mod log;
mod long_lines;
mod manager;
mod memory;
mod not_tried;
mod odd_signatures;
mod outputs;
mod packaging;
mod pages;
mod power_loss;
mod program;
mod project;
mod properties;
mod reading;
mod rebuild;
mod receiver;
mod send;
mod store;
mod store_format;
mod stores;
mod tls;
mod tools;
mod vectors;
mod verify;
