//! Configuration files and flags: nothing panics, and a mistake is named with its line and key.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::config(data));
