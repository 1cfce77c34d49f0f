//! A training that goes on from a checkpoint ends with the bits of one that was never stopped.

mod common;

use cobre_comm::{Communicator, LocalBackend, SharedMemoryProvider};
use cobre_core::{CancelToken, ErrorKind, Event};
use cobre_lp::Highs;
use cobre_sddp::{
    Checkpoint, CutSelection, Job, Problem, Risk, SelectionMethod, TrainFailure, TrainOptions, Training,
};
use common::ranks::on_ranks;
use common::{bits, options, published, train_with};
use proptest::prelude::*;

/// Trains and keeps every checkpoint.
fn checkpoints(problem: &Problem, options: &TrainOptions) -> (Training, Vec<Checkpoint>) {
    let cancel = CancelToken::new();
    let job = Job { comm: &LocalBackend, events: &|_: Event| {}, cancel: &cancel };
    let mut all = Vec::new();
    let training = cobre_sddp::train_from::<Highs, _>(problem, options, &job, None, &mut |checkpoint| {
        all.push(checkpoint.clone());
        Ok(())
    });
    (training.unwrap(), all)
}

fn go_on<C: Communicator + SharedMemoryProvider>(
    comm: &C,
    problem: &Problem,
    options: &TrainOptions,
    start: Checkpoint,
) -> Result<Training, TrainFailure> {
    let cancel = CancelToken::new();
    let job = Job { comm, events: &|_: Event| {}, cancel: &cancel };
    cobre_sddp::train_from::<Highs, _>(problem, options, &job, Some(start), &mut |_| Ok(()))
}

/// Everything but time.
fn same(resumed: &Training, whole: &Training) {
    assert_eq!(bits(&resumed.policy), bits(&whole.policy));
    assert_eq!(resumed.convergence.len(), whole.convergence.len());
    for (record, expected) in resumed.convergence.iter().zip(&whole.convergence) {
        let mut record = *record;
        record.elapsed_secs = expected.elapsed_secs;
        assert_eq!(format!("{record:?}"), format!("{expected:?}"));
    }
    assert_eq!(resumed.trial_points, whole.trial_points);
}

fn problems() -> Vec<Problem> {
    let cvar = Risk::ExpectationCvar { alpha: 0.5, weight: 0.5 };
    vec![
        published::first_steps(200.0, cvar, Risk::Expectation),
        published::problem_5_2(3),
        published::weekly_cycle(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn resumed_is_unbroken(
        which in 0usize..3, stop in 1usize..12, passes in 1usize..5, selects: bool, threads in 1usize..3,
        ranks in 1usize..4,
    ) {
        let problem = problems().swap_remove(which);
        let mut options = options(12, passes);
        options.cut_selection = selects.then_some(CutSelection {
            method: SelectionMethod::Level1,
            check_frequency: 3,
            memory_window: Some(6),
            tolerance: 0.0,
        });
        let (whole, checkpoints) = checkpoints(&problem, &options);
        prop_assert_eq!(checkpoints.len(), 12);
        options.threads = threads;
        let start = &checkpoints[stop - 1];
        for resumed in on_ranks(ranks, |rank| go_on(rank, &problem, &options, start.clone()).unwrap()) {
            same(&resumed, &whole);
        }
    }
}

#[test]
fn a_finished_training_goes_on_with_a_higher_limit() {
    let problem = published::problem_5_2(3);
    let whole = train_with(&problem, &options(9, 3)).unwrap();
    let (_, mut kept) = checkpoints(&problem, &options(6, 3));
    let start = kept.pop().unwrap();
    same(&go_on(&LocalBackend, &problem, &options(9, 3), start.clone()).unwrap(), &whole);
    let again = go_on(&LocalBackend, &problem, &options(6, 3), start).unwrap();
    assert_eq!(again.policy.iterations, 6, "the rule holds already");
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let problem = published::problem_5_2(3);
    let (_, mut kept) = checkpoints(&problem, &options(2, 2));
    let start = kept.pop().unwrap();
    let refused = |problem: &Problem, start| {
        go_on(&LocalBackend, problem, &options(5, 2), start).unwrap_err().error.kind()
    };
    assert_eq!(refused(&published::stock(), start.clone()), ErrorKind::IncompatibleRuns);
    let mut damaged = start.clone();
    damaged.convergence.remove(0);
    assert_eq!(refused(&problem, damaged), ErrorKind::OutputCorrupted);
    let mut damaged = start;
    damaged.policy.nodes[0].basis.truncate(3);
    assert_eq!(refused(&problem, damaged), ErrorKind::OutputCorrupted);
}
