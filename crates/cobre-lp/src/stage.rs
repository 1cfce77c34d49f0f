//! The linear program of one stage.
//!
//! ```text
//! minimise    c'x + Σ piecewise(x) + discount · θ
//! subject to  row_lower ≤ A x + B x_in ≤ row_upper
//!             col_lower ≤ x ≤ col_upper
//!             θ ≥ lower_bound,  θ ≥ every cut at x_out
//! ```
//!
//! `x_in` is the state at the beginning of the stage (a parameter), `x_out` the columns listed in
//! [`StageLp::outgoing`], θ the cost-to-go. Incoming states enter through rows only, so for noise in the
//! right-hand side nothing but row bounds moves between two solves. θ and the cuts are not part of the stage:
//! the solver adds them.

use cobre_core::{Error, ErrorKind, Result};

use crate::{Array, Csc, Movable, Names};

/// The linear program of one stage, before any noise outcome is put in. Immutable once built.
#[derive(Clone, Debug, Default)]
pub struct StageLp {
    /// Constraint matrix A, rows × columns.
    pub matrix: Csc,
    /// Coefficients B of the incoming states, rows × states.
    pub incoming: Csc,
    /// Column of each state's outgoing value; one per state.
    pub outgoing: Array<usize>,
    /// Lower bounds of the rows.
    pub row_lower: Array<f64>,
    /// Upper bounds of the rows.
    pub row_upper: Array<f64>,
    /// Lower bounds of the columns.
    pub col_lower: Array<f64>,
    /// Upper bounds of the columns.
    pub col_upper: Array<f64>,
    /// Cost of the columns, in $ per unit.
    pub col_cost: Array<f64>,
    /// Convex piecewise-linear costs on top of `col_cost`.
    pub piecewise: Vec<PiecewiseCost>,
    /// The places that noise fills.
    pub noise: NoiseLayout,
    /// Names of the rows, for messages and saved files.
    pub row_names: Names,
    /// Names of the columns, for messages and saved files.
    pub col_names: Names,
}

/// A convex piecewise-linear cost of one column: `slopes[k]` on top of the column's own cost between
/// `breakpoints[k]` and `breakpoints[k + 1]`, 0 below `breakpoints[0]`, which is the column's lower bound.
///
/// There are as many breakpoints as slopes; the last slope holds up to the column's upper bound. Slopes ascend, and
/// noise leaves the column's bounds alone.
#[derive(Clone, Debug, PartialEq)]
pub struct PiecewiseCost {
    /// The column.
    pub column: usize,
    /// Where each slope begins, ascending.
    pub breakpoints: Vec<f64>,
    /// The slopes, ascending, in $ per unit.
    pub slopes: Vec<f64>,
}

/// The places of a stage problem whose values an outcome of the noise sets. Every outcome sets all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoiseLayout {
    /// Rows whose bounds are set.
    pub rows: Vec<usize>,
    /// Columns whose bounds are set.
    pub columns: Vec<usize>,
    /// Columns whose cost is set.
    pub costs: Vec<usize>,
    /// `(row, column)` entries of A that are set; each must be stored in the matrix.
    pub matrix: Vec<(usize, usize)>,
    /// `(row, state)` entries of B that are set; each must be stored in the matrix.
    pub incoming: Vec<(usize, usize)>,
}

/// The values of one outcome, place by place in the order of the [`NoiseLayout`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// `[lower, upper]` per row.
    pub rows: Array<[f64; 2]>,
    /// `[lower, upper]` per column.
    pub columns: Array<[f64; 2]>,
    /// Cost per column.
    pub costs: Array<f64>,
    /// Value per entry of A.
    pub matrix: Array<f64>,
    /// Value per entry of B.
    pub incoming: Array<f64>,
}

impl Outcome {
    /// True when the outcome has a value for every place of the layout, and no more.
    pub fn fits(&self, layout: &NoiseLayout) -> bool {
        self.rows.len() == layout.rows.len()
            && self.columns.len() == layout.columns.len()
            && self.costs.len() == layout.costs.len()
            && self.matrix.len() == layout.matrix.len()
            && self.incoming.len() == layout.incoming.len()
    }

    /// The sequences it consists of.
    pub fn arrays_mut(&mut self) -> [&mut dyn Movable; 5] {
        [&mut self.rows, &mut self.columns, &mut self.costs, &mut self.matrix, &mut self.incoming]
    }
}

/// The cost-to-go column that the solver adds to a stage with successors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CostToGo {
    /// Factor of θ in the objective, > 0.
    pub discount: f64,
    /// A finite bound below every value θ can take, in $.
    pub lower_bound: f64,
}

impl StageLp {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.row_lower.len()
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.col_lower.len()
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.outgoing.len()
    }

    /// The long sequences it consists of.
    pub fn arrays_mut(&mut self) -> Vec<&mut dyn Movable> {
        let Self { matrix, incoming, row_names, col_names, outgoing, .. } = self;
        let mut arrays: Vec<&mut dyn Movable> = vec![
            outgoing,
            &mut self.row_lower,
            &mut self.row_upper,
            &mut self.col_lower,
            &mut self.col_upper,
            &mut self.col_cost,
        ];
        arrays.extend(matrix.arrays_mut());
        arrays.extend(incoming.arrays_mut());
        arrays.extend(row_names.arrays_mut());
        arrays.extend(col_names.arrays_mut());
        arrays
    }

    /// The piecewise cost at a point, in $ (0 for stages without one).
    pub fn piecewise_cost(&self, primal: &[f64]) -> f64 {
        self.piecewise.iter().map(|piecewise| piecewise.at(primal[piecewise.column])).sum()
    }
}

impl PiecewiseCost {
    /// The cost at a value of the column.
    pub fn at(&self, value: f64) -> f64 {
        let mut total = 0.0;
        for (piece, slope) in self.slopes.iter().enumerate() {
            let end = self.breakpoints.get(piece + 1).copied().unwrap_or(f64::INFINITY);
            total += slope * (value.min(end) - self.breakpoints[piece]).max(0.0);
        }
        total
    }
}

/// Builds a [`StageLp`] row by row and column by column.
///
/// ```
/// use cobre_lp::StageBuilder;
/// let mut stage = StageBuilder::new(1);
/// let volume = stage.column("volume", 0.0, 200.0, 0.0);
/// let release = stage.column("release", 0.0, f64::INFINITY, 0.0);
/// let balance = stage.row("balance", 50.0, 50.0); // the inflow
/// stage.entry(balance, volume, 1.0);
/// stage.entry(balance, release, 1.0);
/// stage.incoming(balance, 0, -1.0);
/// stage.outgoing(0, volume);
/// stage.noisy_row(balance);
/// let stage = stage.build().unwrap();
/// assert_eq!((stage.rows(), stage.columns(), stage.states()), (1, 2, 1));
/// ```
#[derive(Clone, Debug, Default)]
pub struct StageBuilder {
    stage: StageLp,
    entries: Vec<(usize, usize, f64)>,
    incoming: Vec<(usize, usize, f64)>,
    outgoing: Vec<Option<usize>>,
}

impl StageBuilder {
    /// An empty stage with a number of states.
    pub fn new(states: usize) -> Self {
        Self { outgoing: vec![None; states], ..Self::default() }
    }

    /// Adds a column and returns its index. `cost` is in $ per unit.
    pub fn column(&mut self, name: impl AsRef<str>, lower: f64, upper: f64, cost: f64) -> usize {
        self.stage.col_names.push(name.as_ref());
        self.stage.col_lower.push(lower);
        self.stage.col_upper.push(upper);
        self.stage.col_cost.push(cost);
        self.stage.col_lower.len() - 1
    }

    /// Adds an empty row and returns its index.
    pub fn row(&mut self, name: impl AsRef<str>, lower: f64, upper: f64) -> usize {
        self.stage.row_names.push(name.as_ref());
        self.stage.row_lower.push(lower);
        self.stage.row_upper.push(upper);
        self.stage.row_lower.len() - 1
    }

    /// Adds to the coefficient of a column in a row.
    pub fn entry(&mut self, row: usize, column: usize, value: f64) {
        self.entries.push((row, column, value));
    }

    /// Adds to the coefficient of an incoming state in a row.
    pub fn incoming(&mut self, row: usize, state: usize, value: f64) {
        self.incoming.push((row, state, value));
    }

    /// Declares the column that holds a state's outgoing value.
    pub fn outgoing(&mut self, state: usize, column: usize) {
        self.outgoing[state] = Some(column);
    }

    /// Adds a convex piecewise-linear cost to a column.
    pub fn piecewise(&mut self, cost: PiecewiseCost) {
        self.stage.piecewise.push(cost);
    }

    /// Lets outcomes set the bounds of a row; returns the place in [`Outcome::rows`].
    pub fn noisy_row(&mut self, row: usize) -> usize {
        self.stage.noise.rows.push(row);
        self.stage.noise.rows.len() - 1
    }

    /// Lets outcomes set the bounds of a column; returns the place in [`Outcome::columns`].
    pub fn noisy_column(&mut self, column: usize) -> usize {
        self.stage.noise.columns.push(column);
        self.stage.noise.columns.len() - 1
    }

    /// Lets outcomes set the cost of a column; returns the place in [`Outcome::costs`].
    pub fn noisy_cost(&mut self, column: usize) -> usize {
        self.stage.noise.costs.push(column);
        self.stage.noise.costs.len() - 1
    }

    /// Lets outcomes set an entry of the matrix; returns the place in [`Outcome::matrix`].
    pub fn noisy_entry(&mut self, row: usize, column: usize) -> usize {
        self.entries.push((row, column, 0.0));
        self.stage.noise.matrix.push((row, column));
        self.stage.noise.matrix.len() - 1
    }

    /// Lets outcomes set an incoming state's coefficient; returns the place in [`Outcome::incoming`].
    pub fn noisy_incoming(&mut self, row: usize, state: usize) -> usize {
        self.incoming.push((row, state, 0.0));
        self.stage.noise.incoming.push((row, state));
        self.stage.noise.incoming.len() - 1
    }

    /// Finishes the stage.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaViolation`] for a state without outgoing column or a position outside the stage,
    /// [`ErrorKind::OutOfRange`] for a value that is not a number, an infinite cost or coefficient, or a lower
    /// bound above its upper bound, [`ErrorKind::IncompatibleSettings`] for a piecewise cost that is not convex.
    pub fn build(self) -> Result<StageLp> {
        let Self { mut stage, entries, incoming, outgoing } = self;
        let (rows, columns, states) = (stage.rows(), stage.columns(), outgoing.len());
        for (state, column) in outgoing.into_iter().enumerate() {
            let column = column.filter(|&column| column < columns).ok_or_else(|| {
                Error::new(ErrorKind::SchemaViolation, "a state has no outgoing column").with("state", state)
            })?;
            stage.outgoing.push(column);
        }
        for &(row, column, value) in &entries {
            check_entry("coefficient", (row, rows), (column, columns), value)?;
        }
        for &(row, state, value) in &incoming {
            check_entry("incoming coefficient", (row, rows), (state, states), value)?;
        }
        for row in 0..rows {
            check_bounds(stage.row_names.get(row), stage.row_lower[row], stage.row_upper[row])?;
        }
        for column in 0..columns {
            let name = stage.col_names.get(column);
            check_bounds(name, stage.col_lower[column], stage.col_upper[column])?;
            if !stage.col_cost[column].is_finite() {
                return Err(Error::new(ErrorKind::OutOfRange, "a cost must be finite").with("column", name));
            }
        }
        for piecewise in &stage.piecewise {
            check_piecewise(piecewise, &stage)?;
        }
        stage.matrix = Csc::from_triplets(rows, columns, entries);
        stage.incoming = Csc::from_triplets(rows, states, incoming);
        Ok(stage)
    }
}

fn check_entry(what: &str, row: (usize, usize), column: (usize, usize), value: f64) -> Result<()> {
    if row.0 >= row.1 || column.0 >= column.1 {
        let message = format!("{what} ({}, {}) lies outside the stage", row.0, column.0);
        return Err(Error::new(ErrorKind::SchemaViolation, message));
    }
    if !value.is_finite() {
        let message = format!("{what} ({}, {}) is {value}", row.0, column.0);
        return Err(Error::new(ErrorKind::OutOfRange, message));
    }
    Ok(())
}

fn check_bounds(name: &str, lower: f64, upper: f64) -> Result<()> {
    if lower.is_nan()
        || upper.is_nan()
        || lower > upper
        || lower == f64::INFINITY
        || upper == f64::NEG_INFINITY
    {
        return Err(Error::new(
            ErrorKind::OutOfRange,
            format!("{name}: bounds [{lower}, {upper}] hold no number"),
        ));
    }
    Ok(())
}

fn check_piecewise(piecewise: &PiecewiseCost, stage: &StageLp) -> Result<()> {
    let PiecewiseCost { column, breakpoints, slopes } = piecewise;
    let shaped = *column < stage.columns()
        && !slopes.is_empty()
        && breakpoints.len() == slopes.len()
        && breakpoints[0] == stage.col_lower[*column]
        && breakpoints.iter().chain(slopes).all(|value| value.is_finite())
        && breakpoints.is_sorted()
        && *breakpoints.last().expect("not empty") <= stage.col_upper[*column]
        && !stage.noise.columns.contains(column);
    if !shaped {
        return Err(
            Error::new(ErrorKind::SchemaViolation, "malformed piecewise cost").with("column", *column)
        );
    }
    if !slopes.is_sorted() {
        let message = "the slopes of a piecewise cost must ascend: the cost is convex";
        return Err(Error::new(ErrorKind::IncompatibleSettings, message).with("column", *column));
    }
    Ok(())
}
