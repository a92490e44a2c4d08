//! Paths and queries, as handlers see them, against a plain decoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::decode(data));
