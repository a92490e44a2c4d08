//! Heads of the PROXY protocol, against a second reading of its specification.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::proxy(data));
