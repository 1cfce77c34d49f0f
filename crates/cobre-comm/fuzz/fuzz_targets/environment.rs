//! Any text as the settings of a rank and as addresses.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| cobre_comm::fuzzing::environment(text));
