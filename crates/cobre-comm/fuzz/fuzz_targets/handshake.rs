//! Any bytes as the frames of a peer that is not admitted yet.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cobre_comm::fuzzing::handshake(bytes));
