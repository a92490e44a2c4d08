//! Content-Length and Transfer-Encoding in any number and form.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::framing(data));
