//! What is signed in one format is valid in no other.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::formats(data));
