//! The conformance suite under an MPI: each test starts the launcher with ranks that run the same test.
#![cfg(feature = "mpi")]
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests that are skipped say so; ranks tell their pids"
)]

use std::time::{Duration, Instant};

use cobre_comm::{
    BackendError, CommError, Communicator, MpiBackend, MpiSession, ReduceOp, SharedMemoryProvider,
    SharedRegion, mpi_library_version,
};
use common::misuse::Misuse;
use common::mpirun::{Job, JobEnd, foreign_launcher, is_rank, launcher};

mod common;

/// Ranks that outnumber the processors are slow with libraries that wait at full speed.
const LIMIT: Duration = Duration::from_mins(4);

/// Runs `work` on jobs of these sizes: here as a rank, or by a launcher.
fn on_ranks(test: &str, sizes: &[usize], work: impl FnOnce(&MpiBackend)) {
    if is_rank() {
        let session = MpiSession::start().unwrap();
        return work(&session.backend().unwrap());
    }
    for &size in sizes {
        if let Some(job) = start(test, size, &[]) {
            job.succeed(LIMIT);
        }
    }
}

/// A job, or none where there is no launcher.
fn start(test: &str, size: usize, environment: &[(&str, &str)]) -> Option<Job> {
    let library = mpi_library_version();
    let launcher = launcher(&library);
    if launcher.is_none() {
        eprintln!("SKIPPED {test}: no launcher of {library} was found; COBRE_MPIRUN can name it");
    }
    launcher.map(|launcher| Job::start(Some(&launcher), test, size, environment))
}

#[test]
fn conformance() {
    on_ranks("conformance", &[1, 2, 3, 4], common::conformance::run);
}

#[test]
fn eight_ranks() {
    on_ranks("eight_ranks", &[8], |comm| {
        if mpi_library_version().starts_with("MPICH") {
            // Its ranks wait at full speed: where they outnumber the processors, the whole suite takes minutes.
            common::sequence::run(comm, 8, 40, Duration::ZERO);
            let mut region = comm.create_shared_region::<u64>(100).unwrap();
            region.as_mut_slice().fill(3);
            region.fence().unwrap();
            assert_eq!(region.as_slice(), [3; 100]);
        } else {
            common::conformance::run(comm);
        }
    });
}

#[test]
fn sequences_equal_the_oracle() {
    on_ranks("sequences_equal_the_oracle", &[2, 3], |comm| {
        for seed in 0..10 {
            common::sequence::run(comm, seed, 40, Duration::from_millis(1));
        }
    });
}

#[test]
fn a_long_sequence_of_more_ranks() {
    on_ranks("a_long_sequence_of_more_ranks", &[4], |comm| {
        common::sequence::run(comm, 77, 100, Duration::ZERO);
    });
}

#[test]
fn misuse_is_an_error_on_all_ranks() {
    if is_rank() {
        let session = MpiSession::start().unwrap();
        for misuse in Misuse::ALL {
            misuse.commit(&session.backend().unwrap());
        }
        return;
    }
    on_ranks("misuse_is_an_error_on_all_ranks", &[2, 3, 4], |_| {});
}

#[test]
fn a_root_that_is_no_rank() {
    on_ranks("a_root_that_is_no_rank", &[2], |comm| {
        let root = if comm.rank() == 0 { usize::MAX } else { 0 };
        let outcome = comm.broadcast(&mut [1.0; 100], root);
        if comm.rank() == 0 {
            assert_eq!(outcome, Err(CommError::InvalidRoot { root, size: 2 }));
        } else {
            let error = outcome.unwrap_err();
            assert!(matches!(error, CommError::Mismatch { .. }) && error.to_string().contains("rank 0"));
            assert_eq!(error.named_rank(), Some(0));
        }
        assert_eq!(comm.barrier(), Err(CommError::Poisoned));
    });
}

#[test]
fn a_failure_among_the_ranks_of_a_machine_reaches_the_job() {
    on_ranks("a_failure_among_the_ranks_of_a_machine_reaches_the_job", &[3], |comm| {
        // Rank 2 asks for another size than its peers.
        let error = comm.create_shared_region::<u8>(10 + comm.rank() / 2).map(drop).unwrap_err();
        assert!(matches!(error, CommError::Mismatch { .. }), "{error:?}");
        let local = comm.split_local().unwrap();
        // The ranks agreed that the sizes differ, in collectives that did not fail.
        local.barrier().unwrap();
        comm.barrier().unwrap();
        // Now one leaves out a collective of the machine.
        if comm.rank() == 2 {
            drop(local.barrier());
        } else {
            drop(comm.create_shared_region::<u8>(5).map(drop));
        }
        let outcome = comm.barrier();
        assert!(outcome.as_ref().is_err_and(CommError::is_consequence), "{outcome:?}");
        assert_eq!(comm.barrier(), Err(CommError::Poisoned));
    });
}

#[test]
fn reductions_by_mpi() {
    if !is_rank() {
        for size in [1, 3] {
            if let Some(job) = start("reductions_by_mpi", size, &[("COBRE_MPI_REDUCE", "native")]) {
                job.succeed(LIMIT);
            }
        }
        return;
    }
    on_ranks("", &[], |comm| {
        for len in [1, 13, 5_000] {
            let send: Vec<u32> = (0..len).map(|index| index + comm.rank() as u32).collect();
            let mut recv = vec![0; len as usize];
            let size = comm.size() as u32;
            let reduced = |op, recv: &mut Vec<u32>| comm.allreduce(&send, recv, op).unwrap();
            reduced(ReduceOp::Sum, &mut recv);
            assert!((0..len).all(|index| recv[index as usize] == size * index + size * (size - 1) / 2));
            reduced(ReduceOp::Max, &mut recv);
            assert!((0..len).all(|index| recv[index as usize] == index + size - 1));
            reduced(ReduceOp::Min, &mut recv);
            assert!((0..len).all(|index| recv[index as usize] == index));
            reduced(ReduceOp::BitwiseOr, &mut recv);
            let all = |index: u32| (0..size).fold(0, |all, rank| all | (index + rank));
            assert!((0..len).all(|index| recv[index as usize] == all(index)));
        }
    });
}

#[test]
fn a_word_that_is_no_reduction() {
    if is_rank() {
        let error = MpiSession::start().err().map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains("COBRE_MPI_REDUCE is tree")));
        return;
    }
    Job::start(None, "a_word_that_is_no_reduction", 1, &[("COBRE_MPI_REDUCE", "tree")]).succeed(LIMIT);
}

#[test]
fn a_rank_without_a_launcher_is_alone() {
    if is_rank() {
        return on_ranks("", &[], |comm| {
            assert_eq!((comm.rank(), comm.size()), (0, 1));
            common::conformance::run(comm);
        });
    }
    Job::start(None, "a_rank_without_a_launcher_is_alone", 1, &[]).succeed(LIMIT);
}

#[test]
fn the_launcher_of_another_mpi_is_refused() {
    if is_rank() {
        let error = MpiSession::start().map(drop).unwrap_err();
        assert!(matches!(error, BackendError::InitializationFailed { backend: "mpi", .. }));
        assert!(error.to_string().contains("another MPI"), "{error}");
        return;
    }
    match foreign_launcher(&mpi_library_version()) {
        Some(name) => {
            Job::start(Some(&name), "the_launcher_of_another_mpi_is_refused", 2, &[]).succeed(LIMIT);
        }
        None => eprintln!("SKIPPED the_launcher_of_another_mpi_is_refused: there is no other MPI"),
    }
}

#[test]
fn other_threads_are_refused_and_may_read_regions() {
    on_ranks("other_threads_are_refused_and_may_read_regions", &[2], |comm| {
        let refused = std::thread::scope(|scope| scope.spawn(|| comm.barrier()).join().unwrap());
        assert!(
            matches!(&refused, Err(CommError::CollectiveFailed { message, .. }) if message.contains("thread"))
        );
        comm.barrier().unwrap();
        let mut region = comm.create_shared_region::<f64>(1_000).unwrap();
        assert!(region.is_shared());
        region.as_mut_slice().fill(2.0);
        region.fence().unwrap();
        let sum = |region: &cobre_comm::NodeRegion<f64>| region.as_slice().iter().sum::<f64>();
        std::thread::scope(|scope| {
            for thread in [scope.spawn(|| sum(&region)), scope.spawn(|| sum(&region))] {
                assert_eq!(thread.join().unwrap(), 2_000.0);
            }
        });
        let clone = comm.clone();
        std::thread::spawn(move || drop((region, clone))).join().unwrap();
        comm.barrier().unwrap();
    });
}

#[test]
fn a_backend_that_outlives_its_session() {
    if is_rank() {
        let session = MpiSession::start().unwrap();
        let comm = session.backend().unwrap();
        comm.barrier().unwrap();
        assert!(matches!(MpiSession::start(), Err(BackendError::InitializationFailed { .. })));
        drop(session);
        for _ in 0..2 {
            assert_eq!(comm.barrier(), Err(CommError::InvalidCommunicator));
        }
        std::thread::spawn(move || drop(comm)).join().unwrap();
        return;
    }
    on_ranks("a_backend_that_outlives_its_session", &[2], |_| {});
}

/// Runs a job of three in which rank 1 ends, and checks that the job does, with all its processes.
fn job_without_survivors(test: &str) -> Option<JobEnd> {
    let end = start(test, 3, &[])?.wait(LIMIT);
    assert!(!end.status.success(), "{}{}", end.stdout, end.stderr);
    let pids: Vec<u32> = end
        .stdout
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("pid=")?.parse().ok())
        .collect();
    assert_eq!(pids.len(), 3, "{}{}", end.stdout, end.stderr);
    let runs = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    };
    let started = Instant::now();
    while pids.iter().any(runs) {
        assert!(started.elapsed() < LIMIT, "ranks have survived their launcher");
        std::thread::sleep(Duration::from_millis(2));
    }
    Some(end)
}

/// As a rank: rank 1 does `last` when all have told their pid; the others wait for it in vain.
fn rank_one_ends(last: impl FnOnce(&MpiBackend)) {
    on_ranks("", &[], |comm| {
        println!(" pid={} ", std::process::id());
        comm.barrier().unwrap();
        // Launchers may lose what ranks printed just before the end.
        std::thread::sleep(Duration::from_millis(300));
        if comm.rank() == 1 {
            last(comm);
        }
        comm.barrier().unwrap();
        panic!("nobody comes here");
    });
}

#[test]
fn abort_ends_the_job_with_its_code() {
    if is_rank() {
        return rank_one_ends(|comm| comm.abort(7));
    }
    if let Some(end) = job_without_survivors("abort_ends_the_job_with_its_code") {
        assert_eq!(end.status.code(), Some(7), "{}{}", end.stdout, end.stderr);
    }
}

#[test]
fn a_rank_that_panics_ends_the_job() {
    if is_rank() {
        return rank_one_ends(|_| panic!("as the test wants it"));
    }
    if let Some(end) = job_without_survivors("a_rank_that_panics_ends_the_job") {
        assert_eq!(end.status.code(), Some(101), "{}{}", end.stdout, end.stderr);
        assert!(end.stderr.contains("as the test wants it"));
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_job() {
    use rustix::process::{Signal, getpid, kill_process};
    if is_rank() {
        return rank_one_ends(|_| kill_process(getpid(), Signal::KILL).unwrap());
    }
    job_without_survivors("a_rank_that_is_killed_ends_the_job");
}
