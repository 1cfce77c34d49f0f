//! Problems with known optima, and what the tests of the engine share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod extensive;
pub mod faulty;
pub mod published;
pub mod ranks;

use std::sync::Arc;

use cobre_comm::{Communicator, LocalBackend};
use cobre_core::{CancelToken, Event};
use cobre_lp::{Highs, StageBuilder};
use cobre_sddp::{
    Job, Node, Opening, Policy, Problem, Risk, SimulateOptions, Simulation, Stopping, StoppingRule,
    TrainFailure, TrainOptions, Training, Trajectory,
};

/// A node with equiprobable openings and the mean as its measure of risk.
pub fn node(stage: usize, builder: StageBuilder, outcomes: Vec<cobre_lp::Outcome>, bound: f64) -> Node {
    let probability = 1.0 / outcomes.len() as f64;
    Node {
        name: format!("stage {stage}"),
        stage,
        lp: Arc::new(builder.build().unwrap()),
        openings: outcomes.into_iter().map(|outcome| Opening { probability, outcome }).collect(),
        children: Vec::new(),
        risk: Risk::Expectation,
        cost_to_go_bound: bound,
    }
}

/// Options for a number of iterations.
pub fn options(iterations: u64, forward_passes: usize) -> TrainOptions {
    TrainOptions {
        forward_passes,
        seed: 42,
        stopping: Stopping { rules: vec![StoppingRule::IterationLimit(iterations)], ..Stopping::default() },
        cut_selection: None,
        threads: 1,
        failure_directory: None,
    }
}

/// Trains in one process.
pub fn train_with(problem: &Problem, options: &TrainOptions) -> Result<Training, TrainFailure> {
    let (cancel, events) = (CancelToken::new(), |_: Event| {});
    let job = Job { comm: &LocalBackend, events: &events, cancel: &cancel };
    cobre_sddp::train::<Highs, _>(problem, options, &job)
}

/// Trains in one process and returns the lower bound.
pub fn bound(problem: &Problem, iterations: u64, forward_passes: usize) -> f64 {
    train_with(problem, &options(iterations, forward_passes)).unwrap().policy.lower_bound
}

/// Simulates in one process.
pub fn simulate_with(
    problem: &Problem,
    policy: &Policy,
    scenarios: u64,
    threads: usize,
) -> (Simulation, Vec<Trajectory>) {
    simulate_in(&LocalBackend, problem, policy, (scenarios, threads))
}

/// Simulates as one of several ranks.
pub fn simulate_on(
    comm: &impl Communicator,
    problem: &Problem,
    policy: &Policy,
    scenarios: u64,
) -> (Simulation, Vec<Trajectory>) {
    simulate_in(comm, problem, policy, (scenarios, 1))
}

fn simulate_in(
    comm: &impl Communicator,
    problem: &Problem,
    policy: &Policy,
    (scenarios, threads): (u64, usize),
) -> (Simulation, Vec<Trajectory>) {
    let (cancel, events) = (CancelToken::new(), |_: Event| {});
    let job = Job { comm, events: &events, cancel: &cancel };
    let options = SimulateOptions { scenarios, seed: 7, threads, failure_directory: None };
    let mut all = Vec::new();
    let (simulation, _) = cobre_sddp::simulate::<Highs, _>(problem, policy, &options, &job, &mut |block| {
        all.extend(block);
        Ok(())
    })
    .unwrap();
    (simulation, all)
}

/// Every number of a policy, bit by bit.
pub fn bits(policy: &Policy) -> Vec<u64> {
    let mut bits = vec![policy.lower_bound.to_bits(), policy.iterations];
    for node in &policy.nodes {
        for id in 0..node.cuts.len() as u32 {
            bits.push(node.cuts.intercept(id).to_bits());
            bits.extend(node.cuts.coefficients(id).iter().map(|value| value.to_bits()));
            bits.push(u64::from(node.cuts.is_active(id)));
        }
        bits.extend(node.basis.iter().map(|&byte| u64::from(byte)));
    }
    bits
}

/// Fails unless two numbers agree to a relative tolerance.
#[track_caller]
pub fn close(actual: f64, expected: f64, tolerance: f64) {
    let error = (actual - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{actual} is not {expected}: relative error {error:e}");
}
