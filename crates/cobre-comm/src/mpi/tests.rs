//! The suite with limits so low that everything is sent in pieces, which real limits need gigabytes for.

use std::sync::Arc;
use std::time::Duration;

use ferrompi::{Mpi, ThreadLevel};

use super::message::Operation;
use super::ranks::{Limits, Poison, Ranks};
use super::reduction::Reduction;
use super::{MpiBackend, MpiSession, mpi_library_version};
use crate::{CommError, Communicator};

#[allow(dead_code, unreachable_pub, reason = "this program uses its part")]
#[path = "../../tests/common/conformance.rs"]
mod conformance;
#[allow(dead_code, unreachable_pub, reason = "this program uses its part")]
#[path = "../../tests/common/mpirun.rs"]
mod mpirun;
#[allow(unreachable_pub, reason = "the file is that of other programs")]
#[path = "../../tests/common/sequence.rs"]
mod sequence;

/// A job that runs a test of this file, or none where there is no launcher.
#[allow(clippy::print_stderr, reason = "tests that are skipped say so")]
fn start(test: &str, size: usize) -> Option<mpirun::Job> {
    let test = format!("mpi::tests::{test}");
    let library = mpi_library_version();
    let launcher = mpirun::launcher(&library);
    if launcher.is_none() {
        eprintln!("SKIPPED {test}: no launcher of {library} was found; COBRE_MPIRUN can name it");
    }
    launcher.map(|launcher| mpirun::Job::start(Some(&launcher), &test, size, &[]))
}

const LIMIT: Duration = Duration::from_mins(4);

#[test]
fn a_call_of_mpi_that_fails_on_one_rank_ends_the_job() {
    if !mpirun::is_rank() {
        if let Some(job) = start("a_call_of_mpi_that_fails_on_one_rank_ends_the_job", 3) {
            let end = job.wait(LIMIT);
            assert_eq!(end.status.code(), Some(4), "{}{}", end.stdout, end.stderr);
        }
        return;
    }
    let session = MpiSession::start().unwrap();
    let comm = session.backend().unwrap();
    comm.barrier().unwrap();
    if comm.rank() == 1 {
        // The library cannot be made to fail on one rank alone; this is what its failure is turned into.
        let failed = Err(ferrompi::Error::Internal("out of order".into()));
        let error = comm.job.check(failed, Operation::Barrier, 0).unwrap_err();
        assert!(matches!(error, CommError::CollectiveFailed { .. }));
        assert_eq!(comm.barrier(), Err(CommError::Poisoned));
    } else {
        // Nobody comes.
        drop(comm.barrier());
    }
}

#[test]
fn everything_travels_in_pieces() {
    if !mpirun::is_rank() {
        for size in [2, 3] {
            if let Some(job) = start("everything_travels_in_pieces", size) {
                job.succeed(LIMIT);
            }
        }
        return;
    }
    let mpi = Mpi::init_thread(ThreadLevel::Funneled).unwrap();
    let limits = [
        Limits { most_elements: 4_099, gathered_bytes: 0, block_bytes: 10_000 },
        Limits { most_elements: 50_000, gathered_bytes: 1_000, block_bytes: 999_999 },
    ];
    for (round, limits) in limits.into_iter().enumerate() {
        let ranks = |comm| {
            let mut ranks = Ranks::new(Arc::new(comm), Reduction::RankOrder, Poison::default());
            ranks.limits = limits;
            ranks
        };
        let comm = MpiBackend::new(
            ranks(mpi.world().duplicate().unwrap()),
            ranks(mpi.world().split_shared().unwrap()),
        );
        if round == 0 {
            conformance::run(&comm);
        }
        sequence::run(&comm, round as u64, 60, Duration::ZERO);
    }
}
