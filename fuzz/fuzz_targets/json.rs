//! Any text is a JSON line or none.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::json(data));
