//! Certificates hold whatever duals they are made of.

use std::sync::Arc;

use cobre_lp::{
    Certifier, CostToGo, CutOrigin, CutStore, Highs, LpSolver, Outcome, PiecewiseCost, StageBuilder,
};
use proptest::prelude::*;

const FREE: f64 = f64::INFINITY;
const COST_TO_GO: CostToGo = CostToGo { discount: 0.95, lower_bound: -20.0 };

/// Two stocks, columns with and without bounds, rows of every kind, a piecewise cost: feasible for every state.
fn solver(numbers: &[f64]) -> Highs {
    let mut lp = StageBuilder::new(2);
    let demand = lp.row("demand", 10.0, FREE);
    let limit = lp.row("limit", f64::NEG_INFINITY, 30.0);
    for state in 0..2 {
        let number = |index: usize| numbers[5 * state + index];
        let stock = lp.column("stock", 0.0, if state == 0 { 50.0 } else { FREE }, 0.1);
        let used = lp.column("used", 0.0, FREE, 1.0 + number(0));
        let bought = lp.column("bought", 0.0, FREE, 12.0 + number(1));
        let lost = lp.column("lost", 0.0, FREE, 0.3);
        lp.outgoing(state, stock);
        let balance = lp.row("balance", 5.0, 5.0);
        for (column, value) in [(stock, 1.0), (used, 1.0 + number(2)), (bought, -1.0), (lost, 1.0)] {
            lp.entry(balance, column, value);
        }
        lp.incoming(balance, state, -0.5 - number(3));
        lp.entry(demand, used, 0.5 + number(4));
        lp.entry(limit, used, 1.0);
    }
    let stack = lp.column("stack", 0.0, FREE, 2.0);
    lp.entry(demand, stack, 1.0);
    lp.piecewise(PiecewiseCost {
        column: stack,
        breakpoints: vec![0.0, 3.0, 6.0],
        slopes: vec![1.0, 6.0, 30.0],
    });
    let over = lp.column("over", 0.0, FREE, 50.0);
    lp.entry(limit, over, -1.0);
    Highs::new(Arc::new(lp.build().unwrap()), Some(COST_TO_GO)).unwrap()
}

fn cuts() -> CutStore {
    let mut cuts = CutStore::new(2);
    for (intercept, slopes) in [(100.0, [-4.0, -1.0]), (80.0, [-1.0, -5.0]), (30.0, [-0.5, -0.5])] {
        cuts.push(intercept, &slopes, CutOrigin { iteration: 1, path: 0 });
    }
    cuts
}

fn optimum(solver: &mut Highs, state: &[f64], cuts: &CutStore) -> f64 {
    solver.set(state, &Outcome::default());
    solver.solve(cuts).unwrap();
    solver.solution().objective
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_certificate_is_below_the_optimum_at_every_state(
        numbers in prop::collection::vec(0.0f64..1.0, 10),
        state in prop::array::uniform2(0.0f64..40.0),
        others in prop::collection::vec(prop::array::uniform2(-20.0f64..80.0), 4),
        noise in prop::collection::vec(-1.0f64..1.0, 8),
        size in prop::sample::select(vec![0.0, 1e-12, 1e-9, 1e-6, 1e-2, 1.0, 30.0]),
    ) {
        let cuts = cuts();
        let mut solver = solver(&numbers);
        solver.begin_unit(&solver.crash_state(), &cuts).unwrap();
        let value = optimum(&mut solver, &state, &cuts);
        let mut solution = solver.solution().clone();
        for (dual, noise) in solution.row_duals.iter_mut().zip(&noise) {
            *dual += size * noise;
        }
        for ((_, dual), noise) in solution.cut_duals.iter_mut().zip(&noise[4..]) {
            *dual += size * noise;
        }
        let certificate = Certifier::default().certify(solver.instance(), &solution, &cuts, Some(COST_TO_GO));
        if size <= 1e-6 {
            prop_assert!(certificate.is_some(), "good duals certify");
        }
        if let Some(certificate) = certificate {
            if size <= 1e-12 {
                prop_assert!((certificate.at(&state) - value).abs() <= 1e-8 * value.abs().max(1.0));
            }
            for other in others.iter().chain([&state]) {
                let optimum = optimum(&mut solver, other, &cuts);
                let bound = certificate.at(other);
                prop_assert!(bound <= optimum + 1e-9 * optimum.abs().max(1.0), "{bound} above {optimum} at {other:?}");
            }
        }
    }
}
