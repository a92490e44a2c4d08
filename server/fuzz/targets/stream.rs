//! One connection's bytes, whole and cut anywhere, against a second reading of the protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::stream(data));
