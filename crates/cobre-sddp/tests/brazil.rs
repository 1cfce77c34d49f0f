//! The Brazilian hydro-thermal problem published with msppy: four regions, a transshipment node, 82 historical
//! inflow years; energy units. Built from the published figures, which lie beside the repository.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

mod common;

use std::path::PathBuf;

use cobre_lp::{Outcome, StageBuilder};
use cobre_sddp::{Node, Problem, Risk, State};
use common::{close, node, options, train_with};

const FREE: f64 = f64::INFINITY;
const DISCOUNT: f64 = 0.9906;

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/brazil");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: ../shared/data/brazil is absent");
    None
}

/// The numbers of a table, without its header and first column; rows with an empty cell are left out.
fn table(folder: &std::path::Path, name: &str) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.csv"))).unwrap();
    let number = |cell: &str| cell.trim().parse::<f64>().ok();
    text.lines().skip(1).filter_map(|line| line.split([',', ';']).skip(1).map(number).collect()).collect()
}

struct Figures {
    hydro: Vec<Vec<f64>>,
    thermals: Vec<Vec<Vec<f64>>>,
    deficit: Vec<Vec<f64>>,
    demand: Vec<Vec<f64>>,
    exchange: Vec<Vec<f64>>,
    exchange_cost: Vec<Vec<f64>>,
    history: Vec<Vec<Vec<f64>>>,
}

impl Figures {
    fn stage(&self, stage: usize, first_inflow: &[f64]) -> Node {
        let month = stage % 12;
        let mut lp = StageBuilder::new(4);
        let demand: Vec<usize> = (0..5)
            .map(|region| {
                let load = if region < 4 { self.demand[month][region] } else { 0.0 };
                lp.row(format!("demand {region}"), load, load)
            })
            .collect();
        for (region, &demand_row) in demand.iter().enumerate().take(4) {
            let storage = lp.column("storage", 0.0, self.hydro[region][0], 0.0);
            let spill = lp.column("spill", 0.0, FREE, 0.001);
            let generation = lp.column("generation", 0.0, self.generation_limit(region), 0.0);
            lp.outgoing(region, storage);
            let balance = lp.row("balance", 0.0, 0.0);
            for column in [storage, spill, generation] {
                lp.entry(balance, column, 1.0);
            }
            lp.incoming(balance, region, -1.0);
            lp.noisy_row(balance);
            lp.entry(demand_row, generation, 1.0);
            for plant in &self.thermals[region] {
                let column = lp.column("thermal", plant[0], plant[1], plant[2]);
                lp.entry(demand_row, column, 1.0);
            }
            for tier in &self.deficit {
                let column = lp.column("deficit", 0.0, self.demand[month][region] * tier[1], tier[0]);
                lp.entry(demand_row, column, 1.0);
            }
        }
        for from in 0..5 {
            for to in (0..5).filter(|&to| to != from) {
                let flow = lp.column("exchange", 0.0, self.exchange[from][to], self.exchange_cost[from][to]);
                lp.entry(demand[from], flow, -1.0);
                lp.entry(demand[to], flow, 1.0);
            }
        }
        let outcome = |inflow: Vec<f64>| Outcome {
            rows: inflow.into_iter().map(|value| [value, value]).collect(),
            ..Outcome::default()
        };
        let outcomes = if stage == 0 {
            vec![outcome(first_inflow.to_vec())]
        } else {
            let years = self.history.iter().map(Vec::len).min().unwrap();
            let inflow = |year: usize| self.history.iter().map(|region| region[year][month]).collect();
            (0..years).map(|year| outcome(inflow(year))).collect()
        };
        node(stage, lp, outcomes, 0.0)
    }

    /// The rows of hydro.csv: four of stored energy, four of inflow, four of generation.
    fn generation_limit(&self, region: usize) -> f64 {
        self.hydro[8 + region][0]
    }
}

fn problem(folder: &std::path::Path, stages: usize, first_inflow: &[f64]) -> Problem {
    let per_region = |stem: &str| (0..4).map(|region| table(folder, &format!("{stem}_{region}"))).collect();
    let mut history: Vec<Vec<Vec<f64>>> = per_region("hist");
    // 1983, the 53rd year, is empty in three of the regions and must go in the other too.
    let complete = history.iter().map(Vec::len).min().unwrap();
    for region in history.iter_mut().filter(|region| region.len() > complete) {
        region.remove(1983 - 1931);
    }
    let figures = Figures {
        hydro: table(folder, "hydro"),
        thermals: per_region("thermal"),
        deficit: table(folder, "deficit"),
        demand: table(folder, "demand"),
        exchange: table(folder, "exchange"),
        exchange_cost: table(folder, "exchange_cost"),
        history,
    };
    let nodes = (0..stages).map(|stage| figures.stage(stage, first_inflow)).collect();
    let states =
        (0..4).map(|region| State { name: format!("storage:{region}"), initial: figures.hydro[region][1] });
    Problem::chain(states.collect(), nodes, &vec![DISCOUNT; stages - 1], Risk::Expectation).unwrap()
}

#[test]
fn two_and_three_stages() {
    let Some(folder) = folder() else { return };
    let published = [39_717.564, 6_632.514_1, 15_897.183, 2_525.293_8];
    let two = train_with(&problem(&folder, 2, &published), &options(40, 2)).unwrap();
    close(two.policy.lower_bound, 490_099.327_861_6, 1e-9);
    let mut options = options(150, 4);
    options.threads = 2;
    let three = train_with(&problem(&folder, 3, &published), &options).unwrap();
    close(three.policy.lower_bound, 782_309.058_19, 1e-6);
    assert!(three.policy.lower_bound <= 782_309.058_193 * (1.0 + 1e-9), "a bound is below the optimum");
}
