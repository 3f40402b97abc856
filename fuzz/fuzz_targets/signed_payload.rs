//! Only the signed bytes verify.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::signed_payload(data));
