//! Cuts that are valid whatever the solver returned.
//!
//! For any multipliers y of the rows and μ ≥ 0 of the cuts with Σμ ≤ discount, weak duality bounds the stage's
//! optimal value at every incoming state x from below:
//!
//! ```text
//! Q(x) ≥ Σ_i (y_i > 0 ? lower_i : upper_i) y_i − y'B x + Σ_k μ_k a_k + (discount − Σμ) θ_bound
//!        + Σ_j min over col_lower ≤ x_j ≤ col_upper of (d_j x_j + piecewise_j(x_j)),
//! d = c − A'y + Σ_k μ_k g_k
//! ```
//!
//! The right-hand side is affine in x: a cut. It is tight when y and μ are optimal, and valid when they are not.
//! What remains is rounding: a reduced cost `d_j` of the wrong sign on a column without a bound on that side would
//! make the bound −∞. One within the rounding of its own evaluation counts as zero; one beyond is mended by moving
//! a row's multiplier; what cannot be mended is no certificate.

use crate::{CostToGo, CutStore, Instance, PiecewiseCost, Solution};

/// An affine lower bound of a stage's optimal value as a function of the incoming state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Certificate {
    /// Value at the zero state, in $.
    pub constant: f64,
    /// One slope per state, in $ per unit.
    pub gradient: Vec<f64>,
}

impl Certificate {
    /// The bound at a state, in $.
    pub fn at(&self, state: &[f64]) -> f64 {
        self.constant + self.gradient.iter().zip(state).map(|(slope, value)| slope * value).sum::<f64>()
    }
}

/// Makes certificates; keeps its working memory between them.
#[derive(Clone, Debug, Default)]
pub struct Certifier {
    duals: Vec<f64>,
    multipliers: Vec<f64>,
    reduced: Vec<f64>,
    size: Vec<f64>,
}

/// A reduced cost within this many roundings of the terms it is made of is zero.
const ROUNDINGS: f64 = 64.0 * f64::EPSILON;

/// Rounds of mending; each fixes every offending column once and may disturb others.
const MENDING_ROUNDS: usize = 8;

impl Certifier {
    /// The certificate of a solution's multipliers, or `None` when they certify nothing.
    pub fn certify(
        &mut self,
        instance: &Instance,
        solution: &Solution,
        cuts: &CutStore,
        cost_to_go: Option<CostToGo>,
    ) -> Option<Certificate> {
        self.take_duals(instance, solution, cost_to_go);
        for round in 0.. {
            self.price(instance, solution, cuts);
            let offending: Vec<usize> =
                (0..self.reduced.len()).filter(|&column| self.offends(instance, column)).collect();
            if offending.is_empty() {
                break;
            }
            if round == MENDING_ROUNDS || !self.mend(instance, &offending) {
                return None;
            }
        }
        let certificate = self.assemble(instance, solution, cuts, cost_to_go);
        let finite =
            certificate.constant.is_finite() && certificate.gradient.iter().all(|slope| slope.is_finite());
        finite.then_some(certificate)
    }

    /// Multipliers with the signs that duality needs: none against an infinite row bound, cuts ≥ 0 and together
    /// at most the discount.
    fn take_duals(&mut self, instance: &Instance, solution: &Solution, cost_to_go: Option<CostToGo>) {
        self.duals.clear();
        self.duals.extend(
            solution
                .row_duals
                .iter()
                .enumerate()
                .map(|(row, &dual)| if can_carry(instance, row, dual) { dual } else { 0.0 }),
        );
        self.multipliers.clear();
        self.multipliers.extend(solution.cut_duals.iter().map(|&(_, dual)| dual.max(0.0)));
        let discount = cost_to_go.map_or(0.0, |cost_to_go| cost_to_go.discount);
        let total: f64 = self.multipliers.iter().sum();
        if total > discount {
            let factor = discount / total;
            self.multipliers.iter_mut().for_each(|multiplier| *multiplier *= factor);
        }
    }

    /// Reduced costs and the size of their terms.
    fn price(&mut self, instance: &Instance, solution: &Solution, cuts: &CutStore) {
        let lp = instance.lp();
        self.reduced.clear();
        self.size.clear();
        for (entries, &cost) in instance.matrix().all_columns().zip(&instance.col_cost) {
            let (mut reduced, mut size) = (cost, cost.abs());
            for (row, coefficient) in entries {
                let term = coefficient * self.duals[row];
                reduced -= term;
                size += term.abs();
            }
            self.reduced.push(reduced);
            self.size.push(size);
        }
        for (&(cut, _), &multiplier) in solution.cut_duals.iter().zip(&self.multipliers) {
            for (&column, &coefficient) in lp.outgoing.iter().zip(cuts.coefficients(cut)) {
                self.reduced[column] += multiplier * coefficient;
                self.size[column] += (multiplier * coefficient).abs();
            }
        }
        for (reduced, size) in self.reduced.iter_mut().zip(&self.size) {
            if reduced.abs() <= ROUNDINGS * size {
                *reduced = 0.0;
            }
        }
    }

    /// True when the column's cheapest value is at an infinite bound.
    fn offends(&self, instance: &Instance, column: usize) -> bool {
        let reduced = self.reduced[column];
        // Beyond the last breakpoint the last slope holds; below the first, which is the lower bound, nothing does.
        let last = piecewise_of(instance, column)
            .map_or(0.0, |piecewise| *piecewise.slopes.last().expect("not empty"));
        (reduced + last < 0.0 && instance.col_upper[column] == f64::INFINITY)
            || (reduced > 0.0 && instance.col_lower[column] == f64::NEG_INFINITY)
    }

    /// Moves one multiplier per offending column so that its reduced cost becomes zero; false when none can move.
    fn mend(&mut self, instance: &Instance, offending: &[usize]) -> bool {
        let mut moved = false;
        for &column in offending {
            let last = piecewise_of(instance, column)
                .map_or(0.0, |piecewise| *piecewise.slopes.last().expect("not empty"));
            let excess =
                if self.reduced[column] > 0.0 { self.reduced[column] } else { self.reduced[column] + last };
            let best = instance
                .matrix()
                .column(column)
                .filter(|&(row, coefficient)| {
                    coefficient != 0.0 && can_carry(instance, row, self.duals[row] + excess / coefficient)
                })
                .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
            if let Some((row, coefficient)) = best {
                self.duals[row] += excess / coefficient;
                moved = true;
            }
        }
        moved
    }

    fn assemble(
        &self,
        instance: &Instance,
        solution: &Solution,
        cuts: &CutStore,
        cost_to_go: Option<CostToGo>,
    ) -> Certificate {
        let mut constant = 0.0;
        for (row, &dual) in self.duals.iter().enumerate() {
            if dual != 0.0 {
                constant += dual * if dual > 0.0 { instance.row_lower[row] } else { instance.row_upper[row] };
            }
        }
        for (&(cut, _), &multiplier) in solution.cut_duals.iter().zip(&self.multipliers) {
            constant += multiplier * cuts.intercept(cut);
        }
        if let Some(CostToGo { discount, lower_bound }) = cost_to_go {
            let rest = discount - self.multipliers.iter().sum::<f64>();
            constant += rest.max(0.0) * lower_bound;
        }
        for column in 0..self.reduced.len() {
            constant += self.cheapest(instance, column);
        }
        let gradient =
            (0..instance.lp().states()).map(|state| -instance.incoming().dot(state, &self.duals)).collect();
        Certificate { constant, gradient }
    }

    /// The least of `d x + piecewise(x)` over the column's bounds; finite, for the column does not offend.
    fn cheapest(&self, instance: &Instance, column: usize) -> f64 {
        let reduced = self.reduced[column];
        let (lower, upper) = (instance.col_lower[column], instance.col_upper[column]);
        match piecewise_of(instance, column) {
            None if reduced > 0.0 => reduced * lower,
            None if reduced < 0.0 => reduced * upper,
            None => 0.0,
            Some(piecewise) => {
                // Convex: the least value is at a bound or a breakpoint.
                let corners = piecewise.breakpoints.iter().copied().chain([lower, upper]);
                corners
                    .filter(|value| value.is_finite() && *value >= lower && *value <= upper)
                    .map(|value| reduced * value + piecewise.at(value))
                    .fold(f64::INFINITY, f64::min)
            }
        }
    }
}

fn can_carry(instance: &Instance, row: usize, dual: f64) -> bool {
    dual == 0.0
        || (dual > 0.0 && instance.row_lower[row] > f64::NEG_INFINITY)
        || (dual < 0.0 && instance.row_upper[row] < f64::INFINITY)
}

fn piecewise_of(instance: &Instance, column: usize) -> Option<&PiecewiseCost> {
    instance.lp().piecewise.iter().find(|piecewise| piecewise.column == column)
}
