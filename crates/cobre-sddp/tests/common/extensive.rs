//! The deterministic equivalent of a problem: one linear program over the whole tree, solved by HiGHS at once.

use std::sync::Arc;

use cobre_lp::{CutStore, Highs, Instance, LpSolver, Outcome, StageBuilder};
use cobre_sddp::{Problem, Risk, Transition};

const FREE: f64 = f64::INFINITY;

/// A linear expression over the columns of the tree's program.
type Expression = Vec<(usize, f64)>;

/// Where the incoming state of a tree node is: constants at the root, columns of the parent below.
enum Incoming<'a> {
    Constants(&'a [f64]),
    Columns(&'a [usize]),
}

/// The optimal (risk-adjusted) cost of an acyclic problem.
pub fn optimum(problem: &Problem) -> f64 {
    assert!(problem.is_acyclic());
    let mut lp = StageBuilder::new(0);
    let initial = problem.initial_state();
    let value =
        successors(problem, &mut lp, &problem.root, &problem.root_risk, &Incoming::Constants(&initial));
    let objective = lp.column("objective", f64::NEG_INFINITY, FREE, 1.0);
    define(&mut lp, objective, &value);
    let mut solver = Highs::new(Arc::new(lp.build().unwrap()), None).unwrap();
    let cuts = CutStore::new(0);
    solver.begin_unit(&solver.crash_state(), &cuts).unwrap();
    solver.set(&[], &Outcome::default());
    solver.solve(&cuts).unwrap();
    solver.solution().objective
}

fn define(lp: &mut StageBuilder, column: usize, expression: &Expression) {
    let row = lp.row("definition", 0.0, 0.0);
    lp.entry(row, column, 1.0);
    for &(other, coefficient) in expression {
        lp.entry(row, other, -coefficient);
    }
}

/// The risk-adjusted cost of what follows, as an expression.
fn successors(
    problem: &Problem,
    lp: &mut StageBuilder,
    arcs: &[Transition],
    risk: &Risk,
    incoming: &Incoming<'_>,
) -> Expression {
    let mut outcomes: Vec<(f64, Expression)> = Vec::new();
    for arc in arcs {
        for (index, opening) in problem.nodes[arc.child].openings.iter().enumerate() {
            let value = stage(problem, lp, arc.child, index, incoming);
            outcomes.push((arc.probability * opening.probability, vec![(value, arc.discount)]));
        }
    }
    let ending = 1.0 - arcs.iter().map(|arc| arc.probability).sum::<f64>();
    if ending > 1e-9 {
        outcomes.push((ending, Vec::new()));
    }
    let (alpha, weight) = match *risk {
        Risk::Expectation => (1.0, 0.0),
        Risk::ExpectationCvar { alpha, weight } => (alpha, weight),
    };
    let mut result = Expression::new();
    for (probability, value) in &outcomes {
        result.extend(value.iter().map(|&(column, factor)| (column, (1.0 - weight) * probability * factor)));
    }
    if weight > 0.0 && !outcomes.is_empty() {
        // u + E[(Z - u)+] / alpha, minimised over u.
        let threshold = lp.column("threshold", f64::NEG_INFINITY, FREE, 0.0);
        result.push((threshold, weight));
        for (probability, value) in &outcomes {
            let excess = lp.column("excess", 0.0, FREE, 0.0);
            let row = lp.row("excess", 0.0, FREE);
            lp.entry(row, excess, 1.0);
            lp.entry(row, threshold, 1.0);
            for &(column, factor) in value {
                lp.entry(row, column, -factor);
            }
            result.push((excess, weight * probability / alpha));
        }
    }
    result
}

/// Adds a stage under one opening, and everything after it; returns the column of its cost with all that follows.
fn stage(
    problem: &Problem,
    lp: &mut StageBuilder,
    node: usize,
    opening: usize,
    incoming: &Incoming<'_>,
) -> usize {
    let node = &problem.nodes[node];
    let mut instance = Instance::new(Arc::clone(&node.lp));
    let constants = match incoming {
        Incoming::Constants(state) => state.to_vec(),
        Incoming::Columns(columns) => vec![0.0; columns.len()],
    };
    instance.set(&constants, &node.openings[opening].outcome);
    let columns: Vec<usize> = (0..node.lp.columns())
        .map(|column| lp.column("x", instance.col_lower[column], instance.col_upper[column], 0.0))
        .collect();
    let rows: Vec<usize> = (0..node.lp.rows())
        .map(|row| {
            let (lower, upper) = instance.row_bounds(row);
            lp.row("r", lower, upper)
        })
        .collect();
    for (index, &column) in columns.iter().enumerate() {
        for (row, value) in instance.matrix().column(index) {
            lp.entry(rows[row], column, value);
        }
    }
    if let Incoming::Columns(parents) = incoming {
        for (state, &parent) in parents.iter().enumerate() {
            for (row, value) in instance.incoming().column(state) {
                lp.entry(rows[row], parent, value);
            }
        }
    }
    let outgoing: Vec<usize> = node.lp.outgoing.iter().map(|&column| columns[column]).collect();
    let mut cost: Expression =
        columns.iter().copied().zip(instance.col_cost.iter().copied()).filter(|term| term.1 != 0.0).collect();
    if !node.children.is_empty() {
        cost.extend(successors(problem, lp, &node.children, &node.risk, &Incoming::Columns(&outgoing)));
    }
    let value = lp.column("value", f64::NEG_INFINITY, FREE, 0.0);
    define(lp, value, &cost);
    value
}
