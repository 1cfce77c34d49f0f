//! A stage problem with one outcome and one incoming state put in.

use std::sync::Arc;

use crate::{Csc, Outcome, StageLp};

/// The numbers of a stage problem as they stand for the solve at hand.
#[derive(Clone, Debug)]
pub struct Instance {
    lp: Arc<StageLp>,
    /// Lower bounds of the rows, before the incoming state.
    pub row_lower: Vec<f64>,
    /// Upper bounds of the rows, before the incoming state.
    pub row_upper: Vec<f64>,
    /// Lower bounds of the columns.
    pub col_lower: Vec<f64>,
    /// Upper bounds of the columns.
    pub col_upper: Vec<f64>,
    /// Cost of the columns.
    pub col_cost: Vec<f64>,
    state: Vec<f64>,
    shift: Vec<f64>,
    own_matrix: Option<Csc>,
    own_incoming: Option<Csc>,
}

impl Instance {
    /// The stage problem as it was built, with an incoming state of zeros.
    pub fn new(lp: Arc<StageLp>) -> Self {
        Self {
            row_lower: lp.row_lower.to_vec(),
            row_upper: lp.row_upper.to_vec(),
            col_lower: lp.col_lower.to_vec(),
            col_upper: lp.col_upper.to_vec(),
            col_cost: lp.col_cost.to_vec(),
            state: vec![0.0; lp.states()],
            shift: vec![0.0; lp.rows()],
            own_matrix: (!lp.noise.matrix.is_empty()).then(|| lp.matrix.clone()),
            own_incoming: (!lp.noise.incoming.is_empty()).then(|| lp.incoming.clone()),
            lp,
        }
    }

    /// Puts in an incoming state (one value per state) and an outcome that fits the stage's noise.
    pub fn set(&mut self, state: &[f64], outcome: &Outcome) {
        let noise = &self.lp.noise;
        for (&row, &[lower, upper]) in noise.rows.iter().zip(&outcome.rows) {
            (self.row_lower[row], self.row_upper[row]) = (lower, upper);
        }
        for (&column, &[lower, upper]) in noise.columns.iter().zip(&outcome.columns) {
            (self.col_lower[column], self.col_upper[column]) = (lower, upper);
        }
        for (&column, &cost) in noise.costs.iter().zip(&outcome.costs) {
            self.col_cost[column] = cost;
        }
        if let Some(matrix) = &mut self.own_matrix {
            for (&(row, column), &value) in noise.matrix.iter().zip(&outcome.matrix) {
                matrix.set(row, column, value);
            }
        }
        if let Some(incoming) = &mut self.own_incoming {
            for (&(row, state), &value) in noise.incoming.iter().zip(&outcome.incoming) {
                incoming.set(row, state, value);
            }
        }
        self.state.copy_from_slice(state);
        let mut shift = std::mem::take(&mut self.shift);
        shift.fill(0.0);
        for (entries, &value) in self.incoming().all_columns().zip(&self.state) {
            for (row, coefficient) in entries {
                shift[row] += coefficient * value;
            }
        }
        self.shift = shift;
    }

    /// The stage problem.
    pub fn lp(&self) -> &StageLp {
        &self.lp
    }

    /// The incoming state.
    pub fn state(&self) -> &[f64] {
        &self.state
    }

    /// Constraint matrix A with the outcome's entries.
    pub fn matrix(&self) -> &Csc {
        self.own_matrix.as_ref().unwrap_or(&self.lp.matrix)
    }

    /// Coefficients B of the incoming states with the outcome's entries.
    pub fn incoming(&self) -> &Csc {
        self.own_incoming.as_ref().unwrap_or(&self.lp.incoming)
    }

    /// Bounds of a row on `A x` alone, that is, with the incoming state moved to the right-hand side.
    pub fn row_bounds(&self, row: usize) -> (f64, f64) {
        (self.row_lower[row] - self.shift[row], self.row_upper[row] - self.shift[row])
    }

    /// Cost of a point, in $, without the cost-to-go.
    pub fn cost(&self, primal: &[f64]) -> f64 {
        let linear: f64 = self.col_cost.iter().zip(primal).map(|(cost, value)| cost * value).sum();
        linear + self.lp.piecewise_cost(primal)
    }

    /// The largest violation of a row or a column bound at a point, each relative to the size of the terms that
    /// make it up (1 at least).
    pub fn residual(&self, primal: &[f64]) -> f64 {
        let rows = self.lp.rows();
        let mut activity = vec![0.0; rows];
        let mut size = vec![1.0f64; rows];
        for (entries, &value) in self.matrix().all_columns().zip(primal) {
            for (row, coefficient) in entries {
                activity[row] += coefficient * value;
                size[row] = size[row].max((coefficient * value).abs());
            }
        }
        let violation = |value: f64, lower: f64, upper: f64| (lower - value).max(value - upper).max(0.0);
        let of_rows = (0..rows).map(|row| {
            let (lower, upper) = self.row_bounds(row);
            violation(activity[row], lower, upper) / size[row].max(self.shift[row].abs())
        });
        let of_columns = primal.iter().enumerate().map(|(column, &value)| {
            violation(value, self.col_lower[column], self.col_upper[column]) / value.abs().max(1.0)
        });
        of_rows.chain(of_columns).fold(0.0, f64::max)
    }
}
