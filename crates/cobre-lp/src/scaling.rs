//! Units in which a stage problem's numbers are near one.
//!
//! Solvers work with absolute tolerances, so values of 1e10 $ and 1e-3 $/MW need units of their own. All factors
//! are powers of two: scaling and unscaling lose no bit.

use crate::{CostToGo, StageLp};

/// Factors between a stage problem and its scaled form: `x = column · x'`, row i of the scaled form is
/// `row_i / value` times row i, costs are in units of `money`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scaling {
    /// Units of each column per scaled unit.
    pub(crate) columns: Vec<f64>,
    /// Factor of each row.
    pub(crate) rows: Vec<f64>,
    /// Dollars per scaled unit of the objective.
    pub(crate) money: f64,
}

impl Scaling {
    /// Factors by the geometric means of bounds, costs and coefficients.
    pub(crate) fn of(lp: &StageLp, cost_to_go: Option<CostToGo>) -> Self {
        let bounds = [&lp.col_lower, &lp.col_upper, &lp.row_lower, &lp.row_upper].into_iter().flatten();
        let value = power_of_two(geometric_mean(bounds.copied()));
        let columns = vec![value; lp.columns()];
        let mut sums = vec![(0.0f64, 0u32); lp.rows()];
        for column in 0..lp.columns() {
            for (row, coefficient) in lp.matrix.column(column) {
                if coefficient != 0.0 {
                    sums[row].0 += coefficient.abs().log2();
                    sums[row].1 += 1;
                }
            }
        }
        let rows = sums
            .into_iter()
            .map(
                |(sum, count)| {
                    if count == 0 { 1.0 / value } else { power_of_two(-sum / f64::from(count)) / value }
                },
            )
            .collect();
        let slopes = lp.piecewise.iter().flat_map(|piecewise| &piecewise.slopes);
        let mut cost = geometric_mean(lp.col_cost.iter().chain(slopes).copied());
        if cost == 0.0 && cost_to_go.is_some_and(|cost_to_go| cost_to_go.lower_bound != 0.0) {
            cost = cost_to_go.map_or(0.0, |cost_to_go| cost_to_go.lower_bound.abs().log2()) - value.log2();
        }
        Self { columns, rows, money: power_of_two(cost) * value }
    }
}

/// Mean of the binary logarithms of the values that are neither 0 nor infinite; 0 without such values.
fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0u32);
    for value in values.filter(|value| *value != 0.0 && value.is_finite()) {
        sum += value.abs().log2();
        count += 1;
    }
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

fn power_of_two(logarithm: f64) -> f64 {
    2.0f64.powi(logarithm.round().clamp(-100.0, 100.0) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StageBuilder;

    #[test]
    fn factors_are_powers_of_two_near_the_data() {
        let mut stage = StageBuilder::new(0);
        let x = stage.column("x", 0.0, 1e4, 1e6);
        let row = stage.row("row", 1e4, f64::INFINITY);
        stage.entry(row, x, 3.0);
        let scaling = Scaling::of(&stage.build().unwrap(), None);
        assert_eq!(scaling.columns, [8192.0]);
        assert_eq!(scaling.rows, [0.25 / 8192.0]);
        assert_eq!(scaling.money, 2.0f64.powi(20) * 8192.0);
    }
}
