//! The conformance suite, misuse and random sequences over TCP, with ranks as threads and as processes.
#![cfg(feature = "tcp")]

use std::time::Duration;

use cobre_comm::{CommError, Communicator, ReduceOp};
use common::misuse::Misuse;
use common::ranks::role;
use proptest::prelude::*;
use tcp_jobs::{connect_from_env, processes, threads};

mod common;
mod tcp_jobs;

const SIZES: [usize; 5] = [1, 2, 3, 4, 8];
const LIMIT: Duration = Duration::from_mins(2);
#[test]
fn conformance_of_threads() {
    for size in SIZES {
        threads(size, common::conformance::run);
    }
}

#[test]
fn conformance_of_processes() {
    if role().is_some() {
        return common::conformance::run(&connect_from_env());
    }
    for size in SIZES {
        processes("conformance_of_processes", size, &[]).succeed(LIMIT);
    }
}

#[test]
fn misuse_is_an_error_on_all_ranks() {
    for size in [2, 3, 5] {
        for misuse in Misuse::ALL {
            threads(size, |comm| misuse.commit(comm));
        }
    }
}

#[test]
fn a_wrong_argument_of_any_rank_stops_all() {
    for odd in 0..3 {
        threads(3, |comm| {
            let len = usize::from(comm.rank() != odd);
            let outcome = comm.allreduce(&vec![1.0; len], &mut vec![0.0; len], ReduceOp::Sum);
            if comm.rank() == odd {
                assert!(matches!(outcome, Err(CommError::InvalidBufferSize { .. })), "{outcome:?}");
            } else {
                let Err(CommError::Mismatch { rank, detail, .. }) = outcome else { panic!("{outcome:?}") };
                assert_eq!(rank, Some(odd));
                assert!(detail.contains(&format!("rank {odd}")), "{detail}");
            }
            assert_eq!(comm.broadcast(&mut [0u8], 0), Err(CommError::Poisoned));
        });
    }
}

#[test]
fn whoever_leaves_is_named() {
    for leaver in 0..3 {
        let outcomes = threads(3, |comm| if comm.rank() == leaver { Ok(()) } else { comm.barrier() });
        for (rank, outcome) in outcomes.into_iter().enumerate() {
            let how = "it left the job".to_owned();
            let expected =
                if rank == leaver { Ok(()) } else { Err(CommError::PeerLost { rank: leaver, how }) };
            assert_eq!(outcome, expected);
        }
    }
}

#[test]
fn two_threads_of_a_rank_are_refused() {
    let outcomes = threads(2, |comm| {
        if comm.rank() == 1 {
            std::thread::sleep(Duration::from_millis(200));
            return vec![comm.barrier(), comm.barrier()];
        }
        std::thread::scope(|scope| {
            let first = scope.spawn(|| comm.barrier());
            std::thread::sleep(Duration::from_millis(50));
            let second = comm.barrier();
            vec![first.join().unwrap(), second, comm.barrier()]
        })
    });
    assert_eq!(outcomes[0][0], Ok(()), "the call that was there first is not disturbed");
    assert!(matches!(outcomes[0][1], Err(CommError::CollectiveFailed { .. })), "{outcomes:?}");
    assert_eq!(outcomes[0][2], Err(CommError::Poisoned));
    assert_eq!(outcomes[1][0], Ok(()));
    assert!(matches!(outcomes[1][1], Err(CommError::CollectiveFailed { .. })), "{outcomes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_equal_the_oracle(seed: u64, steps in 1usize..50, size in 2usize..6) {
        threads(size, |comm| common::sequence::run(comm, seed, steps, Duration::from_millis(2)));
    }
}

#[test]
fn sequences_of_processes_equal_the_oracle() {
    if role().is_some() {
        let comm = connect_from_env();
        for seed in 0..20 {
            common::sequence::run(&comm, seed, 40, Duration::from_micros(300));
        }
        return;
    }
    for size in [2, 4] {
        processes("sequences_of_processes_equal_the_oracle", size, &[]).succeed(LIMIT);
    }
}
