//! Any bytes as the frames of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cobre_comm::fuzzing::frame(bytes));
