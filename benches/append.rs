//! Appends entries while segments are sealed in the background, to see whether the rate stays flat.
//!
//! Entries are parsed, fingerprinted and stored in groups of 1,000. No signature is verified.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::time::{Duration, Instant};

use vidimus::entry::Format;
use vidimus::signature::KeySet;
use vidimus::store::{Directory, Options, Store};

const GROUP: usize = 1000;

fn main() {
    let total = common::scaled(1_000_000);
    let tenth = total / 10;
    let folder = common::folder();
    let directory = Directory::create(&folder.path().join("data")).expect("a directory");
    let store = Store::open(&directory, Options::default()).expect("a store");
    let mut lines = common::UnverifiedLines::new(Format::Json);
    let keys = KeySet::default();

    println!("append: {total} entries in groups of {GROUP}");
    let mut tenths = Vec::new();
    for part in 0..10 {
        let mut took = Duration::ZERO;
        for group in 0..tenth / GROUP {
            let first = part * tenth + group * GROUP;
            let body = lines.body(first..first + GROUP);
            let started = Instant::now();
            let appended = common::append(&store, body, &keys);
            took += started.elapsed();
            assert_eq!(appended.stored, GROUP as u64);
        }
        tenths.push(common::rate(tenth, took));
    }
    for (part, rate) in tenths.iter().enumerate() {
        common::figure(&format!("tenth {}: entries a second", part + 1), format!("{rate:.0}"), "");
    }
    let ratio = tenths[9] / tenths[0];
    common::figure("the last tenth to the first", format!("{ratio:.2}"), "at least 0.90");
    let started = Instant::now();
    store.seal().expect("sealed");
    common::figure("sealing what was left", format!("{:.2?}", started.elapsed()), "");
}
