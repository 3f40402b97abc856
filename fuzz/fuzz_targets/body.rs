//! Splitting a body into lines loses no byte.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::body(data));
