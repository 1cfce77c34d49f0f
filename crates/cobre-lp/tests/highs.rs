//! HiGHS behind the solver trait.

use std::sync::Arc;

use cobre_lp::{
    CostToGo, CutOrigin, CutStore, Highs, LpSolver, Outcome, PiecewiseCost, SolverState, StageBuilder,
    StageLp, Status,
};

const FREE: f64 = f64::INFINITY;
const ORIGIN: CutOrigin = CutOrigin { iteration: 1, path: 0 };

/// A reservoir that feeds a demand beside two thermal plants; the inflow is noise.
fn reservoir() -> Arc<StageLp> {
    let mut lp = StageBuilder::new(1);
    let volume = lp.column("volume", 0.0, 200.0, 0.0);
    let hydro = lp.column("hydro", 0.0, 100.0, 0.0);
    let cheap = lp.column("cheap thermal", 0.0, 60.0, 10.0);
    let dear = lp.column("dear thermal", 0.0, FREE, 40.0);
    let spill = lp.column("spill", 0.0, FREE, 0.01);
    lp.outgoing(0, volume);
    let balance = lp.row("balance", 0.0, 0.0);
    for column in [volume, hydro, spill] {
        lp.entry(balance, column, 1.0);
    }
    lp.incoming(balance, 0, -1.0);
    lp.noisy_row(balance);
    let demand = lp.row("demand", 150.0, 150.0);
    for column in [hydro, cheap, dear] {
        lp.entry(demand, column, 1.0);
    }
    Arc::new(lp.build().unwrap())
}

fn inflow(value: f64) -> Outcome {
    Outcome { rows: vec![[value, value]].into(), ..Outcome::default() }
}

fn cuts() -> CutStore {
    let mut cuts = CutStore::new(1);
    for (intercept, slope) in [(6000.0, -40.0), (4000.0, -20.0), (1500.0, -5.0), (500.0, -1.0)] {
        cuts.push(intercept, &[slope], ORIGIN);
    }
    cuts
}

fn solver() -> Highs {
    Highs::new(reservoir(), Some(CostToGo { discount: 0.9, lower_bound: 0.0 })).unwrap()
}

/// Solves a chain as one unit and returns every bit of it.
fn unit(solver: &mut Highs, state: &<Highs as LpSolver>::State, chain: &[(f64, f64)]) -> Vec<u64> {
    let cuts = cuts();
    solver.begin_unit(state, &cuts).unwrap();
    let mut bits = Vec::new();
    for &(volume, water) in chain {
        solver.set(&[volume], &inflow(water));
        solver.solve(&cuts).unwrap();
        let solution = solver.solution();
        let numbers = solution.primal.iter().chain(&solution.row_duals).chain([&solution.objective]);
        bits.extend(numbers.map(|value| value.to_bits()));
    }
    bits.extend(solver.state().to_bytes().iter().map(|&byte| u64::from(byte)));
    bits
}

#[test]
fn a_stage_with_cuts() {
    let mut solver = solver();
    let cuts = cuts();
    solver.begin_unit(&solver.crash_state(), &cuts).unwrap();
    solver.set(&[120.0], &inflow(30.0));
    solver.solve(&cuts).unwrap();
    let solution = solver.solution();
    // 60 cheap; the rest is hydro or dear. A hm3 kept is worth 0.9 · 20 above a volume of 100 and 0.9 · 40 below:
    // both less than the 40 of the dear plant, so hydro runs at 90 and 60 remain.
    let [volume, hydro, cheap, dear, spill] = solution.primal[..] else { panic!("five columns") };
    for (value, expected) in [(volume, 60.0), (hydro, 90.0), (cheap, 60.0), (dear, 0.0), (spill, 0.0)] {
        assert!((value - expected).abs() < 1e-9, "{:?}", solution.primal);
    }
    assert!((solution.cost_to_go - 3600.0).abs() < 1e-6);
    assert!((solution.objective - (600.0 + 0.9 * 3600.0)).abs() < 1e-6);
    // One more hm3 of inflow is kept.
    assert!((solution.row_duals[0] + 0.9 * 40.0).abs() < 1e-9, "{:?}", solution.row_duals);
    assert!(solver.instance().residual(&solution.primal) < 1e-12);
}

#[test]
fn a_unit_does_not_depend_on_what_came_before() {
    let mut fresh = solver();
    let crash = fresh.crash_state();
    let chain = [(120.0, 30.0), (20.0, 0.0), (199.0, 80.0)];
    let expected = unit(&mut fresh, &crash, &chain);
    let basis = fresh.state();
    let from_basis = unit(&mut solver(), &basis, &chain);
    for volume in 0..40 {
        let mut used = solver();
        let before = [(f64::from(volume) * 5.0, 10.0), (200.0 - f64::from(volume) * 5.0, 55.0)];
        unit(&mut used, if volume % 2 == 0 { &crash } else { &basis }, &before);
        assert_eq!(unit(&mut used, &crash, &chain), expected);
        assert_eq!(unit(&mut used, &basis, &chain), from_basis);
        let travelled = SolverState::from_bytes(&basis.to_bytes()).unwrap();
        assert_eq!(unit(&mut used, &travelled, &chain), from_basis);
    }
}

#[test]
fn piecewise_costs_equal_separate_columns() {
    let stage = |is_piecewise: bool| {
        let mut lp = StageBuilder::new(0);
        let row = lp.row("demand", 0.0, 0.0);
        lp.noisy_row(row);
        let slopes = [3.0, 7.0, 20.0];
        let starts = [-5.0, 10.0, 25.0];
        if is_piecewise {
            let column = lp.column("stack", -5.0, 60.0, 1.0);
            lp.entry(row, column, 1.0);
            lp.piecewise(PiecewiseCost { column, breakpoints: starts.into(), slopes: slopes.into() });
        } else {
            let base = lp.column("base", -5.0, -5.0, 1.0);
            lp.entry(row, base, 1.0);
            for (piece, slope) in slopes.into_iter().enumerate() {
                let end = if piece == 2 { 60.0 } else { starts[piece + 1] };
                let column = lp.column("piece", 0.0, end - starts[piece], slope + 1.0);
                lp.entry(row, column, 1.0);
            }
        }
        Highs::new(Arc::new(lp.build().unwrap()), None).unwrap()
    };
    let (mut folded, mut separate) = (stage(true), stage(false));
    let none = CutStore::new(0);
    for solver in [&mut folded, &mut separate] {
        let crash = solver.crash_state();
        solver.begin_unit(&crash, &none).unwrap();
    }
    for demand in [-5.0, -1.0, 10.0, 17.5, 25.0, 59.0, 60.0] {
        for solver in [&mut folded, &mut separate] {
            solver.set(&[], &inflow(demand));
            solver.solve(&none).unwrap();
        }
        let (one, other) = (folded.solution(), separate.solution());
        assert!((one.objective - other.objective).abs() < 1e-9, "{demand}: {one:?} {other:?}");
        assert!((one.stage_cost - one.objective).abs() < 1e-9);
    }
}

#[test]
fn what_cannot_be_solved_is_called_by_its_name() {
    let mut solver = solver();
    let cuts = cuts();
    let crash = solver.crash_state();
    solver.begin_unit(&crash, &cuts).unwrap();
    solver.set(&[-500.0], &inflow(0.0));
    let failure = solver.solve(&cuts).unwrap_err();
    assert_eq!(failure.status, Status::Infeasible);
    assert_eq!(failure.attempts.len(), 2, "two attempts that agree: {failure:?}");
    assert_eq!(solver.conflicting_rows(), ["balance"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stage.mps");
    solver.save(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("cheap_thermal") && text.contains("cost_to_go"), "{text}");
    assert!(solver.save(&directory.path().join("absent").join("stage.mps")).is_err());
    // The solver goes on.
    solver.begin_unit(&crash, &cuts).unwrap();
    solver.set(&[120.0], &inflow(30.0));
    solver.solve(&cuts).unwrap();
    let warm = solver.solution().objective;
    solver.solve_cold(&cuts).unwrap();
    assert!((solver.solution().objective - warm).abs() < 1e-9);
    assert_eq!(solver.counts().recoveries, 1);
}

#[test]
fn a_basis_of_another_problem_is_refused() {
    let mut lp = StageBuilder::new(0);
    lp.column("x", 0.0, 1.0, 1.0);
    let other = Highs::new(Arc::new(lp.build().unwrap()), None).unwrap();
    assert!(solver().begin_unit(&other.crash_state(), &cuts()).is_err());
}
