//! What is read of a transparency log is written as it was, and no proof proves what is not true.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vidimus::properties::tlog(data));
