//! Any bytes as the header of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cobre_comm::fuzzing::shm_header(bytes));
