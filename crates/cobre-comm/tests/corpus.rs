//! Replays the inputs that fuzzing keeps.
#![cfg(any(feature = "tcp", all(feature = "shm", not(loom))))]

use std::fs;
use std::path::Path;

/// Feeds every input of a target's corpus; returns how many there are.
fn replay(target: &str, read: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    inputs.map(|input| read(&fs::read(input.unwrap().path()).unwrap())).count()
}

#[cfg(all(feature = "shm", not(loom)))]
#[test]
fn headers_of_segments() {
    use cobre_comm::fuzzing::{shm_header, shm_header_example};
    assert!(replay("shm_header", shm_header) >= 5);
    let example = shm_header_example(4, 65_536);
    for at in 0..example.len() {
        for bit in 0..8 {
            let mut input = example.clone();
            input[at] ^= 1 << bit;
            shm_header(&input);
            shm_header(&input[..at]);
        }
    }
}

#[cfg(feature = "tcp")]
#[test]
fn what_comes_over_tcp() {
    use cobre_comm::fuzzing::{environment, frame, handshake};
    let text = |bytes: &[u8]| environment(&String::from_utf8_lossy(bytes));
    assert!(replay("frame", frame) >= 5);
    assert!(replay("handshake", handshake) >= 4);
    assert!(replay("environment", text) >= 5);
}

/// What fuzzing would try first: every bit of every input turned, and every input cut off anywhere.
#[cfg(feature = "tcp")]
#[test]
fn neighbours_of_what_comes_over_tcp() {
    use cobre_comm::fuzzing::{environment, frame, handshake};
    let text = |bytes: &[u8]| environment(&String::from_utf8_lossy(bytes));
    let disturb = |target: &str, read: &dyn Fn(&[u8])| {
        replay(target, |input| {
            for at in 0..input.len() {
                read(&input[..at]);
                for bit in 0..8 {
                    let mut input = input.to_vec();
                    input[at] ^= 1 << bit;
                    read(&input);
                }
            }
        });
    };
    disturb("frame", &frame);
    disturb("handshake", &handshake);
    disturb("environment", &text);
}
