//! Trouble on one rank, at any moment, ends the job on all of them: none waits for ever, and all hold the same policy.

mod common;

use std::path::Path;

use cobre_comm::{Communicator, ShmBackend};
use cobre_core::{CancelToken, ContextValue, Error, ErrorKind, Event};
use cobre_sddp::{
    Job, Problem, Risk, SimulateOptions, Termination, TrainFailure, TrainOptions, Training, train_from,
};
use common::faulty::{Action, Faulty, Trap};
use common::ranks::on_ranks;
use common::{bits, options, published, train_with};

const ITERATIONS: u64 = 3;
const PASSES: usize = 4;

fn problem() -> Problem {
    published::first_steps(200.0, Risk::Expectation, Risk::Expectation)
}

/// Trains on every rank; the given solve of one of them is faulty.
fn trained(
    size: usize,
    (faulty, solve): (usize, u64),
    cancels: bool,
    folder: &Path,
) -> Vec<Result<Training, TrainFailure>> {
    on_ranks(size, |rank| {
        let cancel = CancelToken::new();
        let action = if cancels { Action::Cancel(cancel.clone()) } else { Action::Fail };
        // Solve 0 never comes: the count begins at 1 and falls.
        let trap = Trap::new(&problem(), if rank.rank() == faulty { solve } else { 0 }, action);
        let job = Job { comm: rank, events: &|_: Event| {}, cancel: &cancel };
        cobre_sddp::train::<Faulty, _>(&trap.problem, &own_options(folder), &job)
    })
}

fn own_options(folder: &Path) -> TrainOptions {
    TrainOptions { failure_directory: Some(folder.into()), ..options(ITERATIONS, PASSES) }
}

fn is_consequence_of(error: &Error, rank: usize) -> bool {
    error.kind() == ErrorKind::WorkerFailed && error.context()["rank"] == ContextValue::Int(rank as i64)
}

#[test]
fn training_ends_everywhere_whatever_solve_is_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let clean: Vec<Vec<u64>> = (1..=ITERATIONS)
        .map(|limit| bits(&train_with(&problem(), &options(limit, PASSES)).unwrap().policy))
        .collect();
    let (mut interrupted, mut failed, mut complete) = (0, 0, 0);
    for size in [1, 2, 3, 6] {
        for faulty in [0, size / 2, size - 1] {
            for (step, solve) in (1..160).step_by(if size == 1 { 6 } else { 3 }).enumerate() {
                let cancels = step % 2 == 0;
                let runs = trained(size, (faulty, solve), cancels, folder.path());
                let mut policies = Vec::new();
                for (rank, run) in runs.into_iter().enumerate() {
                    let place = format!("rank {rank} of {size}, solve {solve} of rank {faulty}");
                    let training = match run {
                        Ok(training) => training,
                        Err(failure) => {
                            let is_own = rank == faulty && failure.error.kind() == ErrorKind::SolverFailure;
                            let told = failure.error.to_string().contains("not solved");
                            assert!(
                                is_own || is_consequence_of(&failure.error, faulty),
                                "{place}: {failure}"
                            );
                            assert!(told, "{place}: {failure}");
                            *failure.earned.unwrap()
                        }
                    };
                    policies.push((training.termination, bits(&training.policy), training.convergence.len()));
                }
                assert!(
                    policies.iter().all(|policy| *policy == policies[0]),
                    "solve {solve} of rank {faulty}"
                );
                let (termination, bits, iterations) = &policies[0];
                if *iterations > 0 {
                    assert_eq!(*bits, clean[iterations - 1], "as if it had been asked for {iterations}");
                }
                match termination {
                    Termination::Interrupted => interrupted += 1,
                    Termination::Failed => failed += 1,
                    Termination::Rule(_) => complete += 1,
                }
            }
        }
    }
    assert!(interrupted > 50 && failed > 50 && complete > 0, "{interrupted}, {failed}, {complete}");
}

#[test]
fn what_one_rank_cannot_prepare_ends_all() {
    for size in [2, 3] {
        let errors = on_ranks(size, |rank| {
            let mut options = options(2, PASSES);
            options.threads = usize::from(rank.rank() != 1);
            let job = Job { comm: rank, events: &|_: Event| {}, cancel: &CancelToken::new() };
            cobre_sddp::train::<Faulty, _>(&problem(), &options, &job).unwrap_err().error
        });
        for (rank, error) in errors.iter().enumerate() {
            let is_own = rank == 1 && error.kind() == ErrorKind::OutOfRange;
            assert!(is_own || is_consequence_of(error, 1), "{error}");
        }
    }
}

#[test]
fn what_rank_0_cannot_keep_ends_all() {
    let failures = on_ranks(3, |rank| {
        let job = Job { comm: rank, events: &|_: Event| {}, cancel: &CancelToken::new() };
        train_from::<Faulty, _>(&problem(), &options(9, PASSES), &job, None, &mut |checkpoint| {
            assert_eq!(rank.rank(), 0, "others keep nothing");
            if checkpoint.convergence.len() == 2 {
                return Err(Error::new(ErrorKind::CheckpointFailed, "the disk is full"));
            }
            Ok(())
        })
        .unwrap_err()
    });
    let clean = bits(&train_with(&problem(), &options(2, PASSES)).unwrap().policy);
    for (rank, failure) in failures.into_iter().enumerate() {
        let is_own = rank == 0 && failure.error.kind() == ErrorKind::CheckpointFailed;
        assert!(is_own || is_consequence_of(&failure.error, 0), "{failure}");
        assert!(failure.error.to_string().contains("the disk is full"), "{failure}");
        assert_eq!(bits(&failure.earned.unwrap().policy), clean);
    }
}

fn simulated(
    rank: &ShmBackend,
    (solve, cancels): (u64, bool),
    folder: &Path,
    consume: &mut dyn FnMut(usize) -> cobre_core::Result<()>,
) -> cobre_core::Result<cobre_sddp::Simulation> {
    let cancel = CancelToken::new();
    let action = if cancels { Action::Cancel(cancel.clone()) } else { Action::Fail };
    let trap = Trap::new(&problem(), solve, action);
    let policy = train_with(&problem(), &options(2, 1)).unwrap().policy;
    let failure_directory = Some(folder.into());
    let options = SimulateOptions { scenarios: 40, seed: 1, threads: 1, failure_directory };
    let job = Job { comm: rank, events: &|_: Event| {}, cancel: &cancel };
    let outcome = cobre_sddp::simulate::<Faulty, _>(&trap.problem, &policy, &options, &job, &mut |block| {
        consume(block.len())
    });
    outcome.map(|(simulation, _)| simulation)
}

#[test]
fn simulation_ends_everywhere_whatever_solve_is_in_trouble() {
    let folder = tempfile::tempdir().unwrap();
    for size in [2, 3] {
        for solve in (1..=130).step_by(4) {
            let cancels = solve % 8 == 1;
            let faulty = solve as usize % size;
            let runs = on_ranks(size, |rank| {
                let solve = if rank.rank() == faulty { solve } else { 0 };
                simulated(rank, (solve, cancels), folder.path(), &mut |_| Ok(()))
            });
            if let Ok(first) = &runs[0] {
                assert!(runs.iter().all(|run| run.as_ref().is_ok_and(|run| run.costs == first.costs)));
                continue;
            }
            for (rank, run) in runs.into_iter().enumerate() {
                let error = run.unwrap_err();
                let is_own = rank == faulty && error.kind() == ErrorKind::SolverFailure;
                let is_expected = if cancels {
                    error.kind() == ErrorKind::Cancelled
                } else {
                    is_own || is_consequence_of(&error, faulty)
                };
                assert!(is_expected, "rank {rank}, solve {solve}: {error}");
            }
        }
    }
}

#[test]
fn a_simulation_that_rank_0_cannot_write_ends_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    // The first block, one in the middle, the last one.
    for fails_at in [1, 3, 20] {
        let runs = on_ranks(2, |rank| {
            let mut blocks = 0;
            simulated(rank, (0, true), folder.path(), &mut |_| {
                blocks += 1;
                if blocks < fails_at {
                    return Ok(());
                }
                Err(Error::new(ErrorKind::CheckpointFailed, "the disk is full"))
            })
        });
        let errors: Vec<Error> = runs.into_iter().map(Result::unwrap_err).collect();
        assert_eq!(errors[0].kind(), ErrorKind::CheckpointFailed, "{}", errors[0]);
        assert!(is_consequence_of(&errors[1], 0), "{}", errors[1]);
    }
}
