//! What we accept, httparse and hyper read alike: where each request ends, and what it is.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::differential(data));
