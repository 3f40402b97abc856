//! A key set that is written and read again is the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::key_set(data));
