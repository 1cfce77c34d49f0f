//! A rank that fails or is told to stop ends the work of all ranks, at the same place, whenever it happens.

mod common;

use std::time::Duration;

use cobre_comm::Communicator;
use cobre_core::{CancelToken, Error, ErrorKind, Event, Result};
use cobre_lp::{Highs, Outcome, StageBuilder};
use cobre_sddp::{
    Checkpoint, Job, Problem, Risk, SimulateOptions, State, Termination, TrainFailure, Training,
};
use common::ranks::{ThreadRank, on_ranks};
use common::{bits, node, options, published, train_with};

fn train_on(
    rank: &ThreadRank,
    problem: &Problem,
    iterations: u64,
    cancel: &CancelToken,
    keep: &mut dyn FnMut(&Checkpoint) -> Result<()>,
) -> std::result::Result<Training, TrainFailure> {
    let job = Job { comm: rank, events: &|_: Event| {}, cancel };
    cobre_sddp::train_from::<Highs, _>(problem, &options(iterations, 4), &job, None, keep)
}

#[test]
fn a_cancelled_rank_stops_all_after_the_same_iteration() {
    let problem = published::problem_5_2(3);
    let whole = train_with(&problem, &options(60, 4)).unwrap();
    let mut iterations_seen = Vec::new();
    for round in 0..40u64 {
        let size = [2, 3, 6][round as usize % 3];
        let unlucky = round as usize % size;
        let results = on_ranks(size, |rank| {
            let cancel = CancelToken::new();
            std::thread::scope(|scope| {
                if rank.rank() == unlucky {
                    scope.spawn(|| {
                        std::thread::sleep(Duration::from_micros(400 * round));
                        cancel.cancel();
                    });
                }
                train_on(rank, &problem, 60, &cancel, &mut |_| Ok(())).unwrap()
            })
        });
        let first = &results[0];
        iterations_seen.push(first.policy.iterations);
        for result in &results {
            assert_eq!(result.termination, first.termination);
            assert_eq!(bits(&result.policy), bits(&first.policy), "round {round}");
        }
        if first.policy.iterations == 60 {
            assert_eq!(bits(&first.policy), bits(&whole.policy));
        } else {
            assert_eq!(first.termination, Termination::Interrupted);
        }
    }
    iterations_seen.dedup();
    assert!(iterations_seen.len() > 3, "the moments differ: {iterations_seen:?}");
}

/// Two stages; the second has one opening in four that no state can serve.
fn sometimes_infeasible() -> Problem {
    let stage = |least: &[f64], index| {
        let mut lp = StageBuilder::new(1);
        let volume = lp.column("volume", 0.0, 10.0, 0.0);
        let release = lp.column("release", 0.0, 20.0, -1.0);
        lp.outgoing(0, volume);
        let balance = lp.row("balance", 0.0, 0.0);
        lp.entry(balance, volume, 1.0);
        lp.entry(balance, release, 1.0);
        lp.incoming(balance, 0, -1.0);
        let duty = lp.row("duty", 0.0, f64::INFINITY);
        lp.entry(duty, release, 1.0);
        lp.noisy_row(duty);
        let outcomes =
            least.iter().map(|&least| Outcome { rows: vec![(least, f64::INFINITY)], ..Outcome::default() });
        node(index, lp, outcomes.collect(), -100.0)
    };
    let nodes = vec![stage(&[0.0], 0), stage(&[0.0, 0.0, 0.0, 15.0], 1)];
    let states = vec![State { name: "volume".into(), initial: 10.0 }];
    Problem::chain(states, nodes, &[1.0], Risk::Expectation).unwrap()
}

#[test]
fn a_rank_that_fails_is_named_by_the_others() {
    let mut named = 0;
    for seed in 0..12 {
        let errors = on_ranks(4, |rank| {
            let cancel = CancelToken::new();
            let directory = tempfile::tempdir().unwrap();
            let mut options = options(5, 4);
            options.seed = seed;
            options.failure_directory = Some(directory.path().into());
            let job = Job { comm: rank, events: &|_: Event| {}, cancel: &cancel };
            cobre_sddp::train::<Highs, _>(&sometimes_infeasible(), &options, &job).unwrap_err().error
        });
        let failed: Vec<usize> =
            (0..4).filter(|&rank| errors[rank].kind() == ErrorKind::SolverFailure).collect();
        assert!(!failed.is_empty(), "somebody failed");
        for error in errors.iter().filter(|error| error.kind() != ErrorKind::SolverFailure) {
            assert_eq!(error.kind(), ErrorKind::WorkerFailed);
            assert_eq!(error.context()["rank"], failed[0].into());
            named += 1;
        }
    }
    assert!(named > 0, "in some rounds only some ranks failed");
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_all() {
    let problem = published::stock();
    let outcomes = on_ranks(3, |rank| {
        train_on(rank, &problem, 50, &CancelToken::new(), &mut |checkpoint| {
            assert_eq!(rank.rank(), 0, "rank 0 alone writes");
            if checkpoint.convergence.len() == 4 {
                return Err(Error::new(ErrorKind::CheckpointFailed, "the disk is full"));
            }
            Ok(())
        })
        .unwrap_err()
    });
    let kinds: Vec<ErrorKind> = outcomes.iter().map(|failure| failure.error.kind()).collect();
    assert_eq!(kinds, [ErrorKind::CheckpointFailed, ErrorKind::WorkerFailed, ErrorKind::WorkerFailed]);
    for failure in &outcomes {
        assert_eq!(failure.earned.as_ref().unwrap().policy.iterations, 4);
    }
}

#[test]
fn a_simulation_whose_consumer_fails_ends_everywhere() {
    let problem = published::stock();
    let policy = train_with(&problem, &options(3, 2)).unwrap().policy;
    let kinds = on_ranks(3, |rank| {
        let cancel = CancelToken::new();
        let job = Job { comm: rank, events: &|_: Event| {}, cancel: &cancel };
        let options = SimulateOptions { scenarios: 500, seed: 1, threads: 1, failure_directory: None };
        let mut blocks = 0;
        let outcome = cobre_sddp::simulate::<Highs, _>(&problem, &policy, &options, &job, &mut |_| {
            blocks += 1;
            if blocks == 3 {
                return Err(Error::new(ErrorKind::CheckpointFailed, "the disk is full"));
            }
            Ok(())
        });
        outcome.unwrap_err().kind()
    });
    assert_eq!(kinds, [ErrorKind::CheckpointFailed, ErrorKind::WorkerFailed, ErrorKind::WorkerFailed]);
}
