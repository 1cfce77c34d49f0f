//! The conformance suite, misuse and random sequences over TCP, with ranks as threads and as processes.
#![cfg(feature = "tcp")]

use std::net::TcpListener;
use std::time::Duration;

use cobre_comm::{CommError, Communicator, ReduceOp, TcpBackend, TcpConfig, Token};
use common::misuse::Misuse;
use common::ranks::{Processes, on_threads, role};
use proptest::prelude::*;

mod common;

const SIZES: [usize; 5] = [1, 2, 3, 4, 8];
const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Runs `work` on the threads of a job.
fn threads<R: Send>(size: usize, work: impl Fn(&TcpBackend) -> R + Sync) -> Vec<R> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connect = |rank| {
        let mut config = TcpConfig::new(rank, size, &address);
        config.token = Token::from_hex(TOKEN);
        if rank == 0 {
            config.listener = Some(listener.try_clone().unwrap());
        }
        TcpBackend::connect(&config).unwrap()
    };
    on_threads(size, connect, work)
}

/// The environment of a rank of a job at `port`.
fn environment(size: usize, port: u16) -> impl Fn(usize) -> Vec<(String, String)> {
    move |rank| {
        [
            ("COBRE_TCP_RANK", rank.to_string()),
            ("COBRE_TCP_SIZE", size.to_string()),
            ("COBRE_TCP_COORDINATOR", format!("127.0.0.1:{port}")),
            ("COBRE_COMM_TOKEN", TOKEN.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn connect_from_env() -> TcpBackend {
    TcpBackend::connect(&TcpConfig::from_env().unwrap()).unwrap()
}

/// Starts the test `test` again as the ranks of a job.
fn processes(test: &str, size: usize) -> Processes {
    Processes::start(test, size, environment(size, free_port()))
}

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
        processes("conformance_of_processes", size).succeed(LIMIT);
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
            let len = if comm.rank() == odd { 0 } else { 1 };
            let outcome = comm.allreduce(&vec![1.0; len], &mut vec![0.0; len], ReduceOp::Sum);
            if comm.rank() == odd {
                assert!(matches!(outcome, Err(CommError::InvalidBufferSize { .. })), "{outcome:?}");
            } else {
                let Err(CommError::Mismatch { detail, .. }) = outcome else { panic!("{outcome:?}") };
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
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 0, ..ProptestConfig::default() })]

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
        processes("sequences_of_processes_equal_the_oracle", size).succeed(LIMIT);
    }
}
