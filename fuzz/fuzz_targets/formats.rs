//! A payload that is signed in one format is valid in no other format.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::formats(data));
