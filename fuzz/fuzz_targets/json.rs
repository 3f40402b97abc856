//! The JSON parser accepts or rejects any text.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::json(data));
