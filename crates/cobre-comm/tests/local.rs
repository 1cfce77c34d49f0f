//! The conformance suite on the backend of one process.

use std::time::Duration;

use cobre_comm::LocalBackend;
use proptest::prelude::*;

mod common;

#[test]
fn conformance() {
    common::conformance::run(&LocalBackend);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sequences_equal_the_oracle(seed: u64, steps in 1usize..60) {
        common::sequence::run(&LocalBackend, seed, steps, Duration::ZERO);
    }
}
