//! The body of a chunked request, whole and cut anywhere.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::chunked(data));
