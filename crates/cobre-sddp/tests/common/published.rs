//! Problems of the literature and of SDDP.jl's documentation, from their mathematical statements.
//! Maximisation problems are stated with the sign turned.

use cobre_lp::{Outcome, StageBuilder};
use cobre_sddp::{Problem, Risk, State, Transition};

use super::node;

const FREE: f64 = f64::INFINITY;

fn state(name: &str, initial: f64) -> State {
    State { name: name.into(), initial }
}

/// Outcomes that set the right-hand side of equality rows.
fn equalities(values: &[&[f64]]) -> Vec<Outcome> {
    let outcome =
        |value: &&[f64]| Outcome { rows: value.iter().map(|v| [*v, *v]).collect(), ..Outcome::default() };
    values.iter().map(outcome).collect()
}

/// FAST hydro-thermal (SDDP.jl documentation): T = 2, optimum 10.
pub fn fast_hydro_thermal() -> Problem {
    let nodes = (0..2).map(|stage| {
        let mut lp = StageBuilder::new(1);
        let volume = lp.column("volume", 0.0, 8.0, 0.0);
        let hydro = lp.column("hydro", 0.0, FREE, 0.0);
        let thermal = lp.column("thermal", 0.0, FREE, 5.0);
        lp.outgoing(0, volume);
        let demand = lp.row("demand", 6.0, FREE);
        lp.entry(demand, hydro, 1.0);
        lp.entry(demand, thermal, 1.0);
        let balance = lp.row("balance", f64::NEG_INFINITY, 0.0);
        lp.entry(balance, volume, 1.0);
        lp.entry(balance, hydro, 1.0);
        lp.incoming(balance, 0, -1.0);
        lp.noisy_row(balance);
        let inflows: &[f64] = if stage == 0 { &[6.0] } else { &[2.0, 10.0] };
        let outcomes = inflows
            .iter()
            .map(|w| Outcome { rows: vec![[f64::NEG_INFINITY, *w]].into(), ..Outcome::default() })
            .collect();
        node(stage, lp, outcomes, 0.0)
    });
    Problem::chain(vec![state("volume", 0.0)], nodes.collect(), &[1.0], Risk::Expectation).unwrap()
}

/// FAST production management: T = 3, optimum -23.96.
pub fn fast_production() -> Problem {
    let nodes = (0..3).map(|stage| {
        let mut lp = StageBuilder::new(2);
        let stocks = [lp.column("x1", 0.0, FREE, 0.2), lp.column("x2", 0.0, FREE, 0.7)];
        let sales = [lp.column("s1", 0.0, FREE, -2.33), lp.column("s2", 0.0, FREE, -2.54)];
        for index in 0..2 {
            lp.outgoing(index, stocks[index]);
            let limit = lp.row("stock", f64::NEG_INFINITY, 0.0);
            lp.entry(limit, sales[index], 1.0);
            lp.incoming(limit, index, -1.0);
        }
        let demand = lp.row("demand", f64::NEG_INFINITY, 0.0);
        lp.entry(demand, sales[0], 1.0);
        lp.entry(demand, sales[1], 1.0);
        lp.noisy_row(demand);
        let demands: &[f64] = if stage == 0 { &[0.0] } else { &[2.0, 10.0] };
        let outcomes = demands
            .iter()
            .map(|d| Outcome { rows: vec![[f64::NEG_INFINITY, *d]].into(), ..Outcome::default() })
            .collect();
        node(stage, lp, outcomes, -50.0)
    });
    let states = vec![state("x1", 0.0), state("x2", 0.0)];
    Problem::chain(states, nodes.collect(), &[1.0, 1.0], Risk::Expectation).unwrap()
}

/// FAST quickstart: T = 2, optimum -2.
pub fn fast_quickstart() -> Problem {
    let mut first = StageBuilder::new(1);
    let x = first.column("x", 0.0, FREE, 1.0);
    first.outgoing(0, x);
    let mut second = StageBuilder::new(1);
    let x = second.column("x", 0.0, FREE, 0.0);
    second.outgoing(0, x);
    let s = second.column("s", 0.0, FREE, -2.0);
    second.noisy_column(s);
    let limit = second.row("limit", f64::NEG_INFINITY, 0.0);
    second.entry(limit, s, 1.0);
    second.incoming(limit, 0, -1.0);
    let outcomes = [2.0, 3.0].map(|w| Outcome { columns: vec![[0.0, w]].into(), ..Outcome::default() });
    let nodes = vec![node(0, first, vec![Outcome::default()], -5.0), node(1, second, outcomes.to_vec(), 0.0)];
    Problem::chain(vec![state("x", 0.0)], nodes, &[1.0], Risk::Expectation).unwrap()
}

/// SDDP.jl's first steps: T = 3 with the inflow of the first stage random too; 25000 / 3 from a volume of 200.
pub fn first_steps(initial: f64, risk: Risk, root_risk: Risk) -> Problem {
    let nodes = (0..3).map(|stage| {
        let mut lp = StageBuilder::new(1);
        let volume = lp.column("volume", 0.0, 200.0, 0.0);
        let thermal = lp.column("thermal", 0.0, FREE, 50.0 * (stage as f64 + 1.0));
        let hydro = lp.column("hydro", 0.0, FREE, 0.0);
        let spill = lp.column("spill", 0.0, FREE, 0.0);
        lp.outgoing(0, volume);
        let balance = lp.row("balance", 0.0, 0.0);
        for column in [volume, hydro, spill] {
            lp.entry(balance, column, 1.0);
        }
        lp.incoming(balance, 0, -1.0);
        lp.noisy_row(balance);
        let demand = lp.row("demand", 150.0, 150.0);
        lp.entry(demand, hydro, 1.0);
        lp.entry(demand, thermal, 1.0);
        let mut node = node(stage, lp, equalities(&[&[0.0], &[50.0], &[100.0]]), 0.0);
        node.risk = risk;
        node
    });
    Problem::chain(vec![state("volume", initial)], nodes.collect(), &[1.0, 1.0], root_risk).unwrap()
}

/// Problem 5.2 of StructDualDynProg.jl: investment in four technologies; 340315.5217 (T = 2), 406712.4927 (T = 3).
pub fn problem_5_2(stages: usize) -> Problem {
    let investment = [16.0, 5.0, 32.0, 2.0];
    let operation = [25.0, 80.0, 6.5, 160.0];
    let duration = [1.0, 7000.0 / 8760.0, 1500.0 / 8760.0];
    let penalty = if stages == 2 { 1e6 } else { 1e5 };
    let nodes = (0..stages).map(|stage| {
        let mut lp = StageBuilder::new(4);
        let is_last = stage + 1 == stages;
        let shortage = lp.column("shortage", 0.0, FREE, penalty);
        let demands: Vec<usize> =
            (0..3).map(|mode| lp.row(format!("demand {mode}"), f64::NEG_INFINITY, FREE)).collect();
        for technology in 0..4 {
            let capacity = lp.column(format!("x{technology}"), 0.0, FREE, 0.0);
            let upper = if is_last { 0.0 } else { FREE };
            let built = lp.column(format!("v{technology}"), 0.0, upper, investment[technology]);
            lp.outgoing(technology, capacity);
            let growth = lp.row("growth", 0.0, 0.0);
            lp.entry(growth, capacity, 1.0);
            lp.entry(growth, built, -1.0);
            lp.incoming(growth, technology, -1.0);
            let limit = lp.row("capacity", f64::NEG_INFINITY, 0.0);
            lp.incoming(limit, technology, -1.0);
            for mode in 0..3 {
                let cost = operation[technology] * duration[mode];
                let used = lp.column(format!("y{technology}{mode}"), 0.0, FREE, cost);
                lp.entry(limit, used, 1.0);
                lp.entry(demands[mode], used, 1.0);
            }
        }
        for &row in &demands {
            lp.entry(row, shortage, 1.0);
        }
        if stage == 0 {
            return node(stage, lp, vec![Outcome::default()], 0.0);
        }
        for &row in &demands {
            lp.noisy_row(row);
        }
        let outcome =
            |d: [f64; 3]| Outcome { rows: d.iter().map(|v| [*v, FREE]).collect(), ..Outcome::default() };
        let outcomes = vec![outcome([3919.0, 3410.0, 2986.0]), outcome([7086.0, 1918.0, 2165.0])];
        let mut node = node(stage, lp, outcomes, 0.0);
        node.openings[0].probability = 0.9;
        node.openings[1].probability = 0.1;
        node
    });
    let states = (0..4).map(|index| state(&format!("x{index}"), 0.0)).collect();
    Problem::chain(states, nodes.collect(), &vec![1.0; stages - 1], Risk::Expectation).unwrap()
}

/// The stock problem of StochDynamicProgramming.jl: T = 5, optimum -1.471075.
pub fn stock() -> Problem {
    let nodes = (0..5).map(|stage| {
        let mut lp = StageBuilder::new(1);
        let stock = lp.column("stock", 0.0, 1.0, 0.0);
        let control = lp.column("control", 0.0, 0.5, (3.0 * (stage as f64 + 1.0)).sin() - 1.0);
        lp.outgoing(0, stock);
        let balance = lp.row("balance", 0.0, 0.0);
        lp.entry(balance, stock, 1.0);
        lp.entry(balance, control, 1.0);
        lp.incoming(balance, 0, -1.0);
        lp.noisy_row(balance);
        let values: Vec<[f64; 1]> = (0..10).map(|step| [f64::from(step) / 30.0]).collect();
        let values: Vec<&[f64]> = values.iter().map(|value| &value[..]).collect();
        node(stage, lp, equalities(&values), -2.0)
    });
    Problem::chain(vec![state("stock", 0.5)], nodes.collect(), &[1.0; 4], Risk::Expectation).unwrap()
}

/// The farmer's problem (Birge and Louveaux): the noise multiplies the incoming state; optimum -108390.
pub fn farmer() -> Problem {
    let mut first = StageBuilder::new(3);
    let land = first.row("land", f64::NEG_INFINITY, 500.0);
    for (crop, cost) in [150.0, 230.0, 260.0].into_iter().enumerate() {
        let acres = first.column(format!("acres {crop}"), 0.0, FREE, cost);
        first.entry(land, acres, 1.0);
        first.outgoing(crop, acres);
    }
    let mut second = StageBuilder::new(3);
    let yields = [2.5, 3.0, 20.0];
    let quota_limit = [FREE, FREE, 6000.0];
    let (quota_price, excess_price) = ([170.0, 150.0, 36.0], [0.0, 0.0, 10.0]);
    let (buying_price, need) = ([238.0, 210.0, 1000.0], [200.0, 240.0, 0.0]);
    for crop in 0..3 {
        let acres = second.column(format!("acres {crop}"), 0.0, 0.0, 0.0);
        second.outgoing(crop, acres);
        let quota =
            second.column(format!("sold in quota {crop}"), 0.0, quota_limit[crop], -quota_price[crop]);
        let excess = second.column(format!("sold beyond {crop}"), 0.0, FREE, -excess_price[crop]);
        let bought = second.column(format!("bought {crop}"), 0.0, FREE, buying_price[crop]);
        let row = second.row(format!("crop {crop}"), need[crop], FREE);
        second.entry(row, bought, 1.0);
        second.entry(row, quota, -1.0);
        second.entry(row, excess, -1.0);
        second.noisy_incoming(row, crop);
    }
    let outcomes = [1.2, 1.0, 0.8]
        .map(|w| Outcome { incoming: yields.iter().map(|y| w * y).collect(), ..Outcome::default() });
    let nodes = vec![node(0, first, vec![Outcome::default()], -5e5), node(1, second, outcomes.to_vec(), 0.0)];
    let states = (0..3).map(|crop| state(&format!("acres {crop}"), 0.0)).collect();
    Problem::chain(states, nodes, &[1.0], Risk::Expectation).unwrap()
}

/// The one-node weekly hydro-thermal problem of SDDP.jl, each week followed by another with probability 0.9:
/// optimum 119.1666667.
pub fn weekly_cycle() -> Problem {
    let mut lp = StageBuilder::new(1);
    let reservoir = lp.column("reservoir", 5.0, 15.0, 0.0);
    let thermal = lp.column("thermal", 0.0, FREE, 1.0);
    let hydro = lp.column("hydro", 0.0, FREE, 0.0);
    let spill = lp.column("spill", 0.0, FREE, 10.0);
    lp.outgoing(0, reservoir);
    let balance = lp.row("balance", 0.0, 0.0);
    for column in [reservoir, hydro, spill] {
        lp.entry(balance, column, 1.0);
    }
    lp.incoming(balance, 0, -1.0);
    let demand = lp.row("demand", 0.0, 0.0);
    lp.entry(demand, hydro, 1.0);
    lp.entry(demand, thermal, 1.0);
    lp.noisy_row(balance);
    lp.noisy_row(demand);
    let mut week = node(0, lp, equalities(&[&[0.0, 7.5], &[5.0, 5.0], &[10.0, 2.5]]), 0.0);
    week.children = vec![Transition { child: 0, probability: 0.9, discount: 1.0 }];
    let problem = Problem {
        states: vec![state("reservoir", 10.0)],
        nodes: vec![week],
        root: vec![Transition { child: 0, probability: 1.0, discount: 1.0 }],
        root_risk: Risk::Expectation,
    };
    problem.validate().unwrap();
    problem
}
