//! The whole server in a simulated world: a peer that sends anything, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| corelane_fuzz::serve(data));
