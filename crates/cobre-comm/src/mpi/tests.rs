//! The suite with limits so low that everything is sent in pieces, which real limits need gigabytes for.

use std::sync::Arc;
use std::time::Duration;

use ferrompi::{Mpi, ThreadLevel};

use super::MpiBackend;
use super::ranks::{Limits, Poison, Ranks};
use super::reduction::Reduction;
use super::session::mpi_library_version;

#[allow(dead_code, unreachable_pub, reason = "this program uses its part")]
#[path = "../../tests/common/conformance.rs"]
mod conformance;
#[allow(dead_code, unreachable_pub, reason = "this program uses its part")]
#[path = "../../tests/common/mpirun.rs"]
mod mpirun;
#[allow(unreachable_pub, reason = "the file is that of other programs")]
#[path = "../../tests/common/sequence.rs"]
mod sequence;

#[test]
#[allow(clippy::print_stderr, reason = "tests that are skipped say so")]
fn everything_travels_in_pieces() {
    let test = "mpi::tests::everything_travels_in_pieces";
    if !mpirun::is_rank() {
        let library = mpi_library_version();
        let Some(launcher) = mpirun::launcher(&library) else {
            eprintln!("SKIPPED {test}: no launcher of {library} was found; COBRE_MPIRUN can name it");
            return;
        };
        for size in [2, 3] {
            mpirun::Job::start(Some(&launcher), test, size, &[]).succeed(Duration::from_mins(4));
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
