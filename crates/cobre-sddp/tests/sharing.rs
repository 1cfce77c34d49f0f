//! Ranks of one machine share large data, and nothing but memory shows it.

mod common;

use std::sync::Arc;

use cobre_core::{CancelToken, Event};
use cobre_lp::{Array, CutStore, Highs, Movable, Outcome, StageBuilder};
use cobre_sddp::{Job, Node, Policy, Problem, Risk, State, share_problem};
use common::ranks::on_ranks;
use common::{bits, node, options, published, train_with};

/// Several tanks a stage: cuts with many coefficients.
fn tanks(states: usize, stages: usize) -> Problem {
    let nodes = (0..stages).map(|stage| {
        let mut lp = StageBuilder::new(states);
        let demand = lp.row("demand", 2.0 * states as f64, f64::INFINITY);
        let bought = lp.column("bought", 0.0, f64::INFINITY, 5.0 + stage as f64);
        lp.entry(demand, bought, 1.0);
        for tank in 0..states {
            let level = lp.column(format!("level {tank}"), 0.0, 9.0, 0.0);
            let release = lp.column(format!("release {tank}"), 0.0, f64::INFINITY, 0.01 * (tank + 1) as f64);
            let balance = lp.row(format!("balance {tank}"), 0.0, 0.0);
            lp.entry(balance, level, 1.0);
            lp.entry(balance, release, 1.0);
            lp.incoming(balance, tank, -1.0);
            lp.entry(demand, release, 1.0);
            // Each tank has a level of its own below which it costs: the cost-to-go has many facets.
            let missing = lp.column(format!("missing {tank}"), 0.0, f64::INFINITY, 0.5 + 0.1 * tank as f64);
            let reserve = lp.row(format!("reserve {tank}"), 1.0 + (tank % 7) as f64, f64::INFINITY);
            lp.entry(reserve, level, 1.0);
            lp.entry(reserve, missing, 1.0);
            lp.outgoing(tank, level);
            lp.noisy_row(balance);
        }
        let inflow =
            |opening: usize, tank: usize| ((opening * 37 + tank * 11 + opening * tank * 5) % 17) as f64 / 4.0;
        let outcome = |opening: usize| {
            let rows = (0..states).map(|tank| [inflow(opening, tank), inflow(opening, tank)]);
            Outcome { rows: rows.collect(), ..Outcome::default() }
        };
        node(stage, lp, (0..12).map(outcome).collect(), 0.0)
    });
    let nodes: Vec<Node> = nodes.collect();
    let states = (0..states).map(|tank| State { name: format!("level {tank}"), initial: 4.0 }).collect();
    let discounts = vec![1.0; nodes.len() - 1];
    Problem::chain(states, nodes, &discounts, Risk::Expectation).unwrap()
}

fn is_lent(problem: &Problem) -> bool {
    let stages = problem.nodes.iter().all(|node| node.lp.row_lower.is_lent());
    let mut outcomes =
        problem.nodes.iter().flat_map(|node| &node.openings).map(|opening| &opening.outcome.rows);
    stages && outcomes.all(Array::is_lent)
}

/// Coefficients of the cuts in all, and those in memory of the policy's own.
fn coefficients(policy: &Policy) -> (usize, usize) {
    let cuts = || policy.nodes.iter().map(|node| &node.cuts);
    (cuts().map(Movable::words).sum(), cuts().map(CutStore::own_coefficients).sum())
}

#[test]
fn shared_problems_and_cuts_give_the_same_bits() {
    let (problem, options) = (tanks(40, 4), options(20, 16));
    let alone = train_with(&problem, &options).unwrap();
    let (all, own) = coefficients(&alone.policy);
    assert_eq!(all, own, "one process has its memory to itself");
    assert!(all > 2 << 13, "enough cuts for a region and its successor: {all} coefficients");
    let trained = on_ranks(3, |comm| {
        let shared = share_problem(comm, problem.clone()).unwrap();
        assert!(is_lent(&shared));
        let cancel = CancelToken::new();
        let job = Job { comm, events: &|_: Event| {}, cancel: &cancel };
        cobre_sddp::train::<Highs, _>(&shared, &options, &job).unwrap()
    });
    for training in trained {
        assert_eq!(bits(&training.policy), bits(&alone.policy));
        let (total, own) = coefficients(&training.policy);
        assert_eq!(total, all);
        assert!(own < total / 2, "{own} of {total} coefficients are a rank's own");
    }
}

#[test]
fn a_shared_problem_is_the_same_problem() {
    let mut problem = published::weekly_cycle();
    let common = Arc::clone(&problem.nodes[0].lp);
    let last = problem.nodes.len() - 1;
    problem.nodes[last].lp = common;
    for shared in on_ranks(2, |comm| share_problem(comm, problem.clone()).unwrap()) {
        assert_eq!(format!("{shared:?}"), format!("{problem:?}"));
        assert!(Arc::ptr_eq(&shared.nodes[0].lp, &shared.nodes[last].lp), "one stage problem stays one");
    }
    let alone = on_ranks(1, |comm| share_problem(comm, problem.clone()).unwrap()).remove(0);
    assert!(!is_lent(&alone), "one rank has nobody to share with");
}
