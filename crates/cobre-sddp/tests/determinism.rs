//! The same bits for any number of threads and ranks, and simulations that agree with bounds.

mod common;

use cobre_core::{CancelToken, Event};
use cobre_lp::{Highs, Outcome, StageBuilder};
use cobre_sddp::{CutSelection, Job, Problem, Risk, SelectionMethod, State};
use common::ranks::on_ranks;
use common::{bits, close, options, published, simulate_on, simulate_with, train_with};
use proptest::prelude::*;

fn problems() -> Vec<Problem> {
    let cvar = Risk::ExpectationCvar { alpha: 0.5, weight: 0.5 };
    vec![
        published::first_steps(200.0, cvar, Risk::Expectation),
        published::problem_5_2(3),
        published::stock(),
        published::weekly_cycle(),
    ]
}

#[test]
fn threads_leave_no_trace() {
    for problem in problems() {
        let runs: Vec<_> = [1, 2, 3, 8]
            .map(|threads| {
                let mut options = options(15, 5);
                options.threads = threads;
                options.cut_selection = Some(CutSelection {
                    method: SelectionMethod::LimitedMemoryLevel1,
                    check_frequency: 4,
                    memory_window: Some(10),
                    tolerance: 0.0,
                });
                train_with(&problem, &options).unwrap()
            })
            .into();
        for run in &runs[1..] {
            assert_eq!(bits(&run.policy), bits(&runs[0].policy));
            for (record, first) in run.convergence.iter().zip(&runs[0].convergence) {
                assert_eq!(record.upper_bound.to_bits(), first.upper_bound.to_bits());
                assert_eq!((record.pivots, record.stage_solves), (first.pivots, first.stage_solves));
            }
        }
        let first = simulate_with(&problem, &runs[0].policy, 30, 1);
        let second = simulate_with(&problem, &runs[0].policy, 30, 3);
        assert_eq!(first.1, second.1);
        let longer = simulate_with(&problem, &runs[0].policy, 45, 2);
        assert_eq!(first.1, longer.1[..30], "a scenario does not depend on how many there are");
    }
}

#[test]
fn simulated_costs_surround_the_bound() {
    let mean = Risk::Expectation;
    let problem = published::first_steps(200.0, mean, mean);
    let training = train_with(&problem, &options(30, 4)).unwrap();
    let (simulation, _) = simulate_with(&problem, &training.policy, 2000, 2);
    let bound = training.policy.lower_bound;
    // Three and a half standard errors: the seed is fixed, so this holds or it does not.
    assert!(
        (simulation.mean_cost - bound).abs() < 3.5 * simulation.half_width / 1.96,
        "{simulation:?} {bound}"
    );
    let weekly = published::weekly_cycle();
    let training = train_with(&weekly, &options(120, 2)).unwrap();
    let (simulation, _) = simulate_with(&weekly, &training.policy, 2000, 2);
    assert!((simulation.mean_cost - 119.166_67).abs() < 3.5 * simulation.half_width / 1.96, "{simulation:?}");
}

#[test]
fn selection_changes_work_and_not_the_bound() {
    let problem = published::problem_5_2(3);
    for method in [SelectionMethod::Level1, SelectionMethod::LimitedMemoryLevel1] {
        let mut options = options(150, 2);
        options.cut_selection =
            Some(CutSelection { method, check_frequency: 5, memory_window: None, tolerance: 1e-9 });
        let training = train_with(&problem, &options).unwrap();
        close(training.policy.lower_bound, 406_712.492_7, 1e-6);
        let last = training.convergence.last().unwrap();
        assert!(last.cuts_active < training.policy.total_cuts() as u64, "something was put aside");
    }
}

#[test]
fn ranks_leave_no_trace() {
    for problem in problems() {
        let alone = train_with(&problem, &options(10, 5)).unwrap();
        // Seven ranks for five paths: two have nothing to do but listen.
        for size in [1, 2, 3, 7] {
            let runs = on_ranks(size, |rank| {
                let (cancel, events) = (CancelToken::new(), |_: Event| {});
                let job = Job { comm: rank, events: &events, cancel: &cancel };
                cobre_sddp::train::<Highs, _>(&problem, &options(10, 5), &job).unwrap()
            });
            for run in runs {
                assert_eq!(bits(&run.policy), bits(&alone.policy), "{size} ranks");
                let costs = |training: &cobre_sddp::Training| -> Vec<u64> {
                    training.convergence.iter().map(|record| record.upper_bound.to_bits()).collect()
                };
                assert_eq!(costs(&run), costs(&alone));
            }
        }
    }
}

#[test]
fn simulations_of_many_ranks_are_those_of_one() {
    for problem in problems() {
        let policy = train_with(&problem, &options(6, 3)).unwrap().policy;
        for scenarios in [2, 5, 700] {
            let (alone, seen) = simulate_with(&problem, &policy, scenarios, 1);
            for size in [2, 3, 7] {
                let runs = on_ranks(size, |rank| simulate_on(rank, &problem, &policy, scenarios));
                for (rank, (simulation, trajectories)) in runs.into_iter().enumerate() {
                    assert_eq!(simulation, alone);
                    let expected = if rank == 0 { &seen[..] } else { &[] };
                    assert_eq!(trajectories, expected, "rank {rank} of {size}");
                }
            }
        }
    }
}

/// One opening per stage, so that the cost of the policy is no estimate: chains of reservoirs with ties everywhere.
fn tied_chain(numbers: &[(f64, f64)]) -> Problem {
    let nodes = numbers.iter().enumerate().map(|(stage, &(inflow, load))| {
        let mut lp = StageBuilder::new(2);
        let demand = lp.row("demand", load, load);
        let cheap = lp.column("cheap", 0.0, 15.0, 10.0);
        let dear = lp.column("dear", 0.0, f64::INFINITY, 100.0);
        lp.entry(demand, cheap, 1.0);
        lp.entry(demand, dear, 1.0);
        let flows: Vec<usize> = (0..2).map(|_| lp.column("release", 0.0, 30.0, 0.0)).collect();
        for state in 0..2 {
            let volume = lp.column("volume", 0.0, 60.0, 0.0);
            let spill = lp.column("spill", 0.0, f64::INFINITY, 0.01);
            lp.outgoing(state, volume);
            let balance = lp.row("balance", inflow, inflow);
            for column in [volume, flows[state], spill] {
                lp.entry(balance, column, 1.0);
            }
            if state == 1 {
                lp.entry(balance, flows[0], -1.0);
            }
            lp.incoming(balance, state, -1.0);
            lp.entry(demand, flows[state], 1.0);
        }
        common::node(stage, lp, vec![Outcome::default()], 0.0)
    });
    let states = ["upper", "lower"].map(|name| State { name: name.into(), initial: 20.0 });
    let discounts = vec![1.0; numbers.len() - 1];
    Problem::chain(states.into(), nodes.collect(), &discounts, Risk::Expectation).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn without_noise_the_simulated_cost_is_the_bound(
        numbers in prop::collection::vec((0.0f64..12.0, 5.0f64..40.0), 2..30),
    ) {
        let problem = tied_chain(&numbers);
        let mut options = options(400, 1);
        options.stopping.rules.push(cobre_sddp::StoppingRule::BoundStalling { iterations: 40, tolerance: 1e-12 });
        let training = train_with(&problem, &options).unwrap();
        let bound = training.policy.lower_bound;
        let trained = training.convergence.last().unwrap().upper_bound;
        let optimum = common::extensive::optimum(&problem);
        prop_assert!((bound - optimum).abs() <= 1e-9 * optimum.abs().max(1.0), "bound {bound}, optimum {optimum}");
        let (simulation, _) = simulate_with(&problem, &training.policy, 1, 1);
        let error = (simulation.mean_cost - bound).abs() / bound.abs().max(1.0);
        prop_assert!(error <= 1e-9, "simulated {}, bound {bound}, trained {trained}", simulation.mean_cost);
    }
}
