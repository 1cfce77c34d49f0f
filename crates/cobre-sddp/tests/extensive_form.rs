//! Random small policy graphs against their deterministic equivalents.

mod common;

use cobre_core::{Purpose, Stream, StreamKey};
use cobre_lp::{Outcome, StageBuilder};
use cobre_sddp::{Node, Opening, Problem, Risk, State, Transition};
use common::{bound, close, extensive, published};

const FREE: f64 = f64::INFINITY;

/// Draws problems: every number of every kind of noise, graphs with one or two nodes per stage, arcs that may end.
struct Generator(Stream);

impl Generator {
    fn between(&mut self, lower: f64, upper: f64) -> f64 {
        lower + (upper - lower) * self.0.uniform()
    }

    fn count(&mut self, least: usize, most: usize) -> usize {
        least + (self.0.uniform() * (most - least + 1) as f64) as usize
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.0.uniform() < probability
    }

    fn risk(&mut self) -> Risk {
        if self.chance(0.5) {
            return Risk::Expectation;
        }
        Risk::ExpectationCvar { alpha: self.between(0.1, 1.0), weight: self.between(0.0, 1.0) }
    }

    /// Stocks that are bought, sold and kept, a demand that must be met, penalties that keep every state feasible.
    fn stage(&mut self, states: usize, openings: usize) -> (StageBuilder, Vec<Outcome>) {
        let mut lp = StageBuilder::new(states);
        let mut outcomes = vec![Outcome::default(); openings];
        let demand = lp.row("demand", 0.0, FREE);
        lp.noisy_row(demand);
        for outcome in &mut outcomes {
            outcome.rows.push([self.between(2.0, 12.0), FREE]);
        }
        let penalty = lp.column("shortage", 0.0, FREE, self.between(20.0, 40.0));
        lp.entry(demand, penalty, 1.0);
        for state in 0..states {
            let stock = lp.column("stock", 0.0, self.between(5.0, 20.0), self.between(0.0, 0.3));
            lp.outgoing(state, stock);
            let used = lp.column("used", 0.0, self.between(3.0, 9.0), self.between(0.1, 3.0));
            let bought = lp.column("bought", 0.0, FREE, self.between(4.0, 9.0));
            let lost = lp.column("lost", 0.0, FREE, self.between(0.0, 1.0));
            let balance = lp.row("balance", 0.0, 0.0);
            for (column, value) in [(stock, 1.0), (used, 1.0), (bought, -1.0), (lost, 1.0)] {
                lp.entry(balance, column, value);
            }
            lp.entry(demand, used, self.between(0.5, 1.5));
            lp.noisy_row(balance);
            for outcome in &mut outcomes {
                let inflow = self.between(0.0, 5.0);
                outcome.rows.push([inflow, inflow]);
            }
            if self.chance(0.3) {
                lp.noisy_incoming(balance, state);
                for outcome in &mut outcomes {
                    outcome.incoming.push(-self.between(0.7, 1.1));
                }
            } else {
                lp.incoming(balance, state, -1.0);
            }
            if self.chance(0.3) {
                lp.noisy_cost(bought);
                for outcome in &mut outcomes {
                    outcome.costs.push(self.between(3.0, 15.0));
                }
            }
            if self.chance(0.3) {
                lp.noisy_column(used);
                for outcome in &mut outcomes {
                    outcome.columns.push([0.0, self.between(1.0, 9.0)]);
                }
            }
            if self.chance(0.3) {
                lp.noisy_entry(demand, bought);
                for outcome in &mut outcomes {
                    outcome.matrix.push(self.between(0.0, 0.5));
                }
            }
        }
        (lp, outcomes)
    }

    fn arcs(&mut self, children: std::ops::Range<usize>, can_end: bool) -> Vec<Transition> {
        let weights: Vec<f64> = children.clone().map(|_| self.between(0.2, 1.0)).collect();
        let total: f64 = weights.iter().sum::<f64>() * if can_end && self.chance(0.3) { 1.25 } else { 1.0 };
        let arc = |(child, weight): (usize, f64)| Transition {
            child,
            probability: weight / total,
            discount: if can_end { self.between(0.8, 1.0) } else { 1.0 },
        };
        children.zip(weights).map(arc).collect()
    }

    fn problem(&mut self) -> Problem {
        let states = self.count(1, 2);
        let widths: Vec<usize> = (0..self.count(2, 3)).map(|_| self.count(1, 2)).collect();
        let mut nodes: Vec<Node> = Vec::new();
        for (stage, &width) in widths.iter().enumerate() {
            let first = nodes.len();
            for _ in 0..width {
                let openings = self.count(1, 3);
                let (lp, outcomes) = self.stage(states, openings);
                let mut node = common::node(stage, lp, outcomes, 0.0);
                node.name = format!("stage {stage} node {}", nodes.len());
                let shares: Vec<f64> = (0..openings).map(|_| self.between(0.2, 1.0)).collect();
                let total: f64 = shares.iter().sum();
                let weigh = |(opening, share): (&Opening, &f64)| Opening {
                    probability: share / total,
                    outcome: opening.outcome.clone(),
                };
                node.openings = node.openings.iter().zip(&shares).map(weigh).collect();
                node.risk = self.risk();
                nodes.push(node);
            }
            let children = first..first + width;
            if stage > 0 {
                let parents = first - widths[stage - 1]..first;
                for parent in parents {
                    nodes[parent].children = self.arcs(children.clone(), true);
                }
            }
        }
        let states =
            (0..states).map(|s| State { name: format!("stock {s}"), initial: self.between(0.0, 5.0) });
        let states = states.collect();
        let root = self.arcs(0..widths[0], false);
        let problem = Problem { states, nodes, root, root_risk: self.risk() };
        problem.validate().unwrap();
        problem
    }
}

#[test]
fn random_graphs_reach_their_extensive_forms() {
    for seed in 0..40 {
        let key = StreamKey { seed, purpose: Purpose::Openings, iteration: 0, path: 0, stage: 0 };
        let problem = Generator(key.open()).problem();
        let optimum = extensive::optimum(&problem);
        let bound = bound(&problem, 120, 4);
        let error = (bound - optimum).abs() / optimum.abs().max(1.0);
        assert!(error < 1e-7, "seed {seed}: bound {bound}, optimum {optimum}, relative error {error:e}");
    }
}

#[test]
fn the_extensive_form_agrees_with_published_optima() {
    let mean = Risk::Expectation;
    close(extensive::optimum(&published::first_steps(200.0, mean, mean)), 25_000.0 / 3.0, 1e-9);
    let cvar = Risk::ExpectationCvar { alpha: 0.5, weight: 0.5 };
    close(extensive::optimum(&published::first_steps(200.0, cvar, cvar)), 11_458.333_333_333, 1e-9);
    close(extensive::optimum(&published::farmer()), -108_390.0, 1e-9);
}
