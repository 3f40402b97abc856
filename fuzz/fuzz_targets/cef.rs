//! Any text is a CEF line or none.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::cef(data));
