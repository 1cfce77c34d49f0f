//! The conformance suite over shared memory: ranks as threads and as processes.
#![cfg(all(feature = "shm", target_os = "linux", not(loom)))]

use std::time::Duration;

use cobre_comm::{CommError, Communicator, SharedMemoryProvider, SharedRegion, ShmBackend, ShmConfig};
use common::misuse::Misuse;
use common::ranks::{Processes, on_threads, role, unique};
use proptest::prelude::*;

mod common;

const SIZES: [usize; 5] = [1, 2, 3, 4, 8];
const LIMIT: Duration = Duration::from_mins(3);
const NAME: &str = "COBRE_TEST_NAME";

fn new_name() -> String {
    format!("/cobre-test-{:x}", unique())
}

fn connect(name: &str, rank: usize, size: usize) -> ShmBackend {
    let mut config = ShmConfig::new(name, rank, size);
    // Nothing here waits that long: a hang becomes an error.
    config.timeout = Some(Duration::from_mins(1));
    ShmBackend::connect(&config).unwrap_or_else(|error| panic!("rank {rank} of {size}: {error}"))
}

fn threads<R: Send>(size: usize, work: impl Fn(&ShmBackend) -> R + Sync) -> Vec<R> {
    let name = new_name();
    on_threads(size, |rank| connect(&name, rank, size), work)
}

/// As a rank, the rank's communicator; otherwise none, after this test ran as processes of all sizes.
fn as_rank(test: &str, sizes: &[usize]) -> Option<ShmBackend> {
    if let Some((rank, size)) = role() {
        return Some(connect(&std::env::var(NAME).unwrap(), rank, size));
    }
    for &size in sizes {
        let name = new_name();
        Processes::start(test, size, |_| vec![(NAME.to_owned(), name.clone())]).succeed(LIMIT);
    }
    None
}

#[test]
fn conformance_of_threads() {
    for size in SIZES {
        threads(size, common::conformance::run);
    }
}

#[test]
fn conformance_of_processes() {
    if let Some(comm) = as_rank("conformance_of_processes", &SIZES) {
        common::conformance::run(&comm);
    }
}

#[test]
fn misuse_is_an_error_on_all_ranks() {
    for size in [2, 3, 4] {
        for misuse in Misuse::ALL {
            threads(size, |comm| misuse.commit(comm));
        }
    }
}

#[test]
fn misuse_between_processes() {
    if role().is_none() {
        for misuse in 0..Misuse::ALL.len() {
            let name = new_name();
            let environment = |_| {
                vec![(NAME.to_owned(), name.clone()), ("COBRE_TEST_MISUSE".to_owned(), misuse.to_string())]
            };
            Processes::start("misuse_between_processes", 3, environment).succeed(LIMIT);
        }
    } else if let Some(comm) = as_rank("misuse_between_processes", &[]) {
        let misuse: usize = std::env::var("COBRE_TEST_MISUSE").unwrap().parse().unwrap();
        Misuse::ALL[misuse].commit(&comm);
    }
}

#[test]
fn regions_of_different_sizes_are_an_error_on_all_ranks() {
    threads(3, |comm| {
        let outcome = comm.create_shared_region::<u32>(10 + comm.rank() / 2);
        assert!(matches!(outcome.err(), Some(CommError::Mismatch { .. })));
        comm.barrier().unwrap();
    });
}

#[test]
fn regions_are_shared() {
    threads(3, |comm| {
        let mut region = comm.create_shared_region::<u64>(100).unwrap();
        assert!(region.is_shared());
        assert_eq!(region.as_mut_slice().len(), if comm.rank() == 0 { 100 } else { 0 });
        let rank = comm.rank();
        region.local_part_mut(rank..rank + 1)[0] = 5;
        region.fence().unwrap();
        assert_eq!(region.as_slice().iter().sum::<u64>(), 15);
        region.fence().unwrap();
    });
}

#[test]
fn many_ranks() {
    for size in [16, 32] {
        threads(size, |comm| common::sequence::run(comm, size as u64, 40, Duration::ZERO));
    }
}

#[test]
fn sequences_of_processes() {
    if let Some(comm) = as_rank("sequences_of_processes", &[2, 3, 4]) {
        for seed in 0..12 {
            common::sequence::run(&comm, seed, 40, Duration::from_millis(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sequences_equal_the_oracle(seed: u64, steps in 1usize..60, size in 1usize..6, delay in 0u64..3) {
        threads(size, |comm| common::sequence::run(comm, seed, steps, Duration::from_millis(delay)));
    }
}

#[test]
fn a_second_thread_of_a_rank_is_refused() {
    let was_refused = std::sync::Barrier::new(2);
    let name = new_name();
    let outcomes = on_threads(
        2,
        |rank| connect(&name, rank, 2),
        |comm| {
            if comm.rank() == 1 {
                was_refused.wait();
                return vec![comm.barrier()];
            }
            // Neither call can end before rank 1 comes, which does when the other was refused.
            let call = || {
                let outcome = comm.barrier();
                if outcome.is_err() {
                    was_refused.wait();
                }
                outcome
            };
            std::thread::scope(|scope| {
                let calls = [scope.spawn(call), scope.spawn(call)];
                calls.map(|call| call.join().unwrap()).to_vec()
            })
        },
    );
    assert_eq!(outcomes[1], [Ok(())]);
    assert_eq!(outcomes[0].iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes[0].iter().find_map(|outcome| outcome.as_ref().err());
    assert!(matches!(refused, Some(CommError::CollectiveFailed { .. })));
}
