//! A query is the same filter again.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::query(data));
