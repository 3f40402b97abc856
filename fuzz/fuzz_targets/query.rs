//! A parsed query that is written and parsed again is the same filter.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::query(data));
