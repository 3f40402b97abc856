//! A key set is written as it was read.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::key_set(data));
