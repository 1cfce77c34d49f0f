//! What happens when a problem cannot be solved, and when a job is told to stop.

mod common;

use cobre_comm::LocalBackend;
use cobre_core::{CancelToken, ContextValue, ErrorKind, Event, Phase};
use cobre_lp::{Highs, Outcome, StageBuilder};
use cobre_sddp::{Job, Problem, Risk, State, Termination};
use common::{node, options, published, train_with};

/// The second stage must release what the first may not have kept.
fn infeasible() -> Problem {
    let stage = |must_release: &[f64], index| {
        let mut lp = StageBuilder::new(1);
        let volume = lp.column("volume", 0.0, 10.0, 0.0);
        let release = lp.column("release", 0.0, 20.0, -1.0);
        lp.outgoing(0, volume);
        let balance = lp.row("water balance", 0.0, 0.0);
        lp.entry(balance, volume, 1.0);
        lp.entry(balance, release, 1.0);
        lp.incoming(balance, 0, -1.0);
        let duty = lp.row("least release", 0.0, f64::INFINITY);
        lp.entry(duty, release, 1.0);
        lp.noisy_row(duty);
        let outcomes = must_release
            .iter()
            .map(|&least| Outcome { rows: vec![[least, f64::INFINITY]].into(), ..Outcome::default() });
        node(index, lp, outcomes.collect(), -100.0)
    };
    let nodes = vec![stage(&[0.0], 0), stage(&[1.0, 15.0], 1)];
    Problem::chain(vec![State { name: "volume".into(), initial: 10.0 }], nodes, &[1.0], Risk::Expectation)
        .unwrap()
}

#[test]
fn an_infeasible_stage_is_named_and_saved() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(5, 3);
    options.failure_directory = Some(directory.path().into());
    let error = train_with(&infeasible(), &options).unwrap_err().error;
    assert_eq!(error.kind(), ErrorKind::SolverFailure);
    let context = error.context();
    assert_eq!(context["stage"], ContextValue::Int(1));
    assert_eq!(context["node"], ContextValue::Text("stage 1".into()));
    assert_eq!(context["solver_status"], ContextValue::Text("infeasible".into()));
    assert!(matches!(context["path"], ContextValue::Int(0..3)));
    assert!(matches!(context["noise"], ContextValue::Int(0..2)), "{error}");
    assert!(context["conflicting_rows"].to_string().contains("water balance"), "{error}");
    let saved = std::fs::read_to_string(context["lp_file"].to_string()).unwrap();
    assert!(saved.contains("water_balance") && saved.contains("release"), "{saved}");
    let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "the file is in the folder that was asked for");
}

#[test]
fn an_unbounded_stage_is_named() {
    let mut problem = infeasible();
    let mut lp = StageBuilder::new(1);
    let volume = lp.column("volume", 0.0, 10.0, 0.0);
    lp.column("money", 0.0, f64::INFINITY, -1.0);
    lp.outgoing(0, volume);
    problem.nodes[1] = node(1, lp, vec![Outcome::default()], 0.0);
    let error = train_with(&problem, &options(5, 1)).unwrap_err().error;
    assert_eq!(error.context()["solver_status"], ContextValue::Text("unbounded".into()), "{error}");
    std::fs::remove_file(error.context()["lp_file"].to_string()).unwrap();
}

#[test]
fn a_bound_above_the_cost_to_go_is_found_out() {
    let mut problem = published::first_steps(200.0, Risk::Expectation, Risk::Expectation);
    problem.nodes[1].cost_to_go_bound = 1e6;
    let error = train_with(&problem, &options(5, 1)).unwrap_err().error;
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(error.to_string().contains("bound on the cost-to-go of stage 1"), "{error}");
}

#[test]
fn cancelled_training_is_that_of_the_last_complete_iteration() {
    let problem = published::problem_5_2(3);
    let whole = train_with(&problem, &options(3, 2)).unwrap();
    let cancel = CancelToken::new();
    let stop = cancel.clone();
    let events = move |event: Event| {
        if event.phase == Phase::Progress && event.iteration == 3 {
            stop.cancel();
        }
    };
    let job = Job { comm: &LocalBackend, events: &events, cancel: &cancel };
    let training = cobre_sddp::train::<Highs, _>(&problem, &options(1000, 2), &job).unwrap();
    assert_eq!(training.termination, Termination::Interrupted);
    assert_eq!(training.policy.iterations, 3);
    assert_eq!(training.policy.total_cuts(), whole.policy.total_cuts());
    assert_eq!(training.policy.lower_bound.to_bits(), whole.policy.lower_bound.to_bits());
}

#[test]
fn options_without_meaning_are_refused() {
    let problem = published::stock();
    for (iterations, passes) in [(0, 1), (1, 0)] {
        assert_eq!(
            train_with(&problem, &options(iterations, passes)).unwrap_err().error.kind(),
            ErrorKind::OutOfRange
        );
    }
    let mut broken = published::stock();
    broken.nodes[0].openings[0].probability = 0.5;
    assert_eq!(train_with(&broken, &options(1, 1)).unwrap_err().error.kind(), ErrorKind::OutOfRange);
    let mut broken = published::stock();
    broken.nodes[0].cost_to_go_bound = f64::NEG_INFINITY;
    assert_eq!(train_with(&broken, &options(1, 1)).unwrap_err().error.kind(), ErrorKind::OutOfRange);
}

/// A first iteration that keeps nothing, learns that keeping pays, and so makes the second one keep too much.
#[test]
fn a_failure_keeps_what_was_earned() {
    let mut first = StageBuilder::new(1);
    let kept = first.column("kept", 0.0, 10.0, 1.0);
    first.outgoing(0, kept);
    let mut second = StageBuilder::new(1);
    let rest = second.column("rest", 0.0, 0.0, 0.0);
    second.outgoing(0, rest);
    let short = second.column("short", 0.0, f64::INFINITY, 10.0);
    let need = second.row("need", 10.0, f64::INFINITY);
    second.entry(need, short, 1.0);
    second.incoming(need, 0, 1.0);
    let limit = second.row("limit", f64::NEG_INFINITY, 5.0);
    second.incoming(limit, 0, 1.0);
    let nodes =
        vec![node(0, first, vec![Outcome::default()], 0.0), node(1, second, vec![Outcome::default()], 0.0)];
    let states = vec![State { name: "kept".into(), initial: 0.0 }];
    let problem = Problem::chain(states, nodes, &[1.0], Risk::Expectation).unwrap();
    let failure = train_with(&problem, &options(9, 1)).unwrap_err();
    assert_eq!(failure.error.context()["iteration"], ContextValue::Int(2));
    std::fs::remove_file(failure.error.context()["lp_file"].to_string()).unwrap();
    let earned = failure.earned.unwrap();
    assert_eq!((earned.termination, earned.policy.iterations), (Termination::Failed, 1));
    assert_eq!(earned.policy.value(0, &[2.0]).unwrap(), 80.0);
}
