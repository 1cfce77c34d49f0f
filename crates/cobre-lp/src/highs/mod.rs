//! HiGHS as stage solver.
//!
//! One long-lived HiGHS object per stage problem: dual simplex, one thread, no presolve, no cost perturbation, no
//! scaling of its own (the model is scaled before it is passed in, so that nothing depends on which rows were
//! there when). Cuts are rows only once they were violated. The model's columns are the stage's, then the pieces of
//! piecewise costs, then θ; its rows are the stage's, then one per piecewise cost, then cuts.

mod basis;
#[allow(unsafe_code, reason = "the room that calls HiGHS")]
mod raw;

use std::path::Path;
use std::sync::Arc;

use cobre_core::{Error, ErrorKind, Result};

pub use self::basis::Basis;
use self::raw::{AT_LOWER, AT_ZERO, BASIC, Columns, RawModel, RunStatus};
use crate::scaling::Scaling;
use crate::solver::{Counts, Failure, LpSolver, SEPARATION_TOLERANCE, Solution, Status};
use crate::{CostToGo, CutId, CutStore, Instance, Outcome, StageLp};

/// The version of the HiGHS library that is linked, e.g. `1.15.0`.
pub fn version() -> String {
    raw::version()
}

/// Feasibility tolerances in scaled units.
const TOLERANCE: f64 = 1e-9;

/// The [`LpSolver`] on HiGHS.
pub struct Highs {
    model: RawModel,
    instance: Instance,
    scaling: Scaling,
    cost_to_go: Option<CostToGo>,
    /// First of the rows and one past the last whose bounds move between solves.
    moving_rows: std::ops::Range<usize>,
    base_rows: usize,
    /// Cut and row factor of each row after `base_rows`.
    cut_rows: Vec<(CutId, f64)>,
    solution: Solution,
    counts: Counts,
    primal: Vec<f64>,
    duals: Vec<f64>,
}

/// Ways to solve, in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Warm,
    Cold,
    Rescaled,
    Primal,
    InteriorPoint,
}

impl Attempt {
    const ALL: [Self; 5] = [Self::Warm, Self::Cold, Self::Rescaled, Self::Primal, Self::InteriorPoint];

    fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm dual simplex",
            Self::Cold => "cold dual simplex",
            Self::Rescaled => "dual simplex with HiGHS' scaling",
            Self::Primal => "primal simplex",
            Self::InteriorPoint => "interior point",
        }
    }
}

impl Highs {
    /// The column of θ, which is the last.
    fn theta(&self) -> usize {
        self.primal.len() - 1
    }

    fn add_cut(&mut self, cuts: &CutStore, id: CutId) -> Result<()> {
        let money = self.scaling.money;
        let outgoing = &self.instance.lp().outgoing;
        let mut indices = Vec::with_capacity(outgoing.len() + 1);
        let mut values = Vec::with_capacity(outgoing.len() + 1);
        for (&column, &coefficient) in outgoing.iter().zip(cuts.coefficients(id)) {
            if coefficient != 0.0 {
                indices.push(column as i32);
                values.push(-coefficient * self.scaling.columns[column] / money);
            }
        }
        let largest = values.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
        let factor = 2.0f64.powi(-(largest.log2() / 2.0).round() as i32);
        for value in &mut values {
            *value *= factor;
        }
        indices.push(self.theta() as i32);
        values.push(factor);
        self.model.add_row(cuts.intercept(id) / money * factor, &indices, &values)?;
        self.cut_rows.push((id, factor));
        Ok(())
    }

    /// Runs HiGHS and adds violated cuts until none is left.
    fn run(&mut self, cuts: &CutStore) -> RunStatus {
        loop {
            let status = self.model.run();
            self.counts.pivots += self.model.pivots();
            if status != RunStatus::Optimal {
                return status;
            }
            self.extract();
            if self.cost_to_go.is_none() {
                return status;
            }
            let primal = &self.solution.primal;
            let outgoing: Vec<f64> =
                self.instance.lp().outgoing.iter().map(|&column| primal[column]).collect();
            let Some((id, height)) = cuts.separate(&outgoing) else { return status };
            let violation = height - self.solution.cost_to_go;
            let is_row = self.cut_rows.iter().any(|&(row, _)| row == id);
            if violation <= SEPARATION_TOLERANCE * height.abs().max(1.0)
                || is_row
                || self.add_cut(cuts, id).is_err()
            {
                return status;
            }
        }
    }

    fn attempt(&mut self, attempt: Attempt, cuts: &CutStore) -> Result<RunStatus> {
        if attempt == Attempt::Warm {
            return Ok(self.run(cuts));
        }
        self.model.clear_solver();
        match attempt {
            Attempt::Warm | Attempt::Cold => {}
            Attempt::Rescaled => self.model.set_int("simplex_scale_strategy", 2)?,
            Attempt::Primal => self.model.set_int("simplex_strategy", 4)?,
            Attempt::InteriorPoint => self.model.set_text("solver", "ipm")?,
        }
        let status = self.run(cuts);
        set_method(&mut self.model)?;
        Ok(status)
    }

    fn climb(&mut self, attempts: &[Attempt], cuts: &CutStore) -> std::result::Result<(), Failure> {
        let mut log: Vec<(Attempt, String, Status)> = Vec::new();
        for &attempt in attempts {
            let (text, status) = match self.attempt(attempt, cuts) {
                Ok(RunStatus::Optimal) => {
                    if attempt != Attempt::Warm {
                        self.counts.recoveries += 1;
                    }
                    return Ok(());
                }
                Ok(RunStatus::Infeasible) => ("infeasible".to_owned(), Status::Infeasible),
                Ok(RunStatus::Unbounded) => ("unbounded".to_owned(), Status::Unbounded),
                Ok(RunStatus::Other(code)) => (format!("HiGHS model status {code}"), Status::Failed),
                Err(error) => (error.to_string(), Status::Failed),
            };
            log.push((attempt, text, status));
            // Two attempts of different origin that agree are an answer.
            let agreeing = log.iter().filter(|entry| entry.2 == status).count();
            if status != Status::Failed && agreeing == 2 {
                break;
            }
        }
        let status = log.last().map_or(Status::Failed, |entry| entry.2);
        let attempts =
            log.into_iter().map(|(attempt, text, _)| format!("{}: {text}", attempt.name())).collect();
        Err(Failure { status, attempts })
    }

    /// Copies the result out of HiGHS, in the units of the stage problem.
    fn extract(&mut self) {
        self.model.solution(&mut self.primal, &mut self.duals);
        let Self { solution, scaling, instance, primal, duals, .. } = self;
        let lp = instance.lp();
        solution.primal.clear();
        solution.primal.extend(primal.iter().zip(&scaling.columns).map(|(value, factor)| value * factor));
        solution.row_duals.clear();
        let rows = duals.iter().zip(&scaling.rows).take(lp.rows());
        solution.row_duals.extend(rows.map(|(dual, factor)| dual * factor * scaling.money));
        solution.cut_duals.clear();
        let cuts = self.cut_rows.iter().zip(&duals[self.base_rows..]);
        solution
            .cut_duals
            .extend(cuts.filter(|(_, dual)| **dual != 0.0).map(|(&(id, factor), dual)| (id, dual * factor)));
        solution.stage_cost = instance.cost(&solution.primal);
        let (discount, theta) = self
            .cost_to_go
            .map_or((0.0, 0.0), |cost_to_go| (cost_to_go.discount, primal[primal.len() - 1] * scaling.money));
        solution.cost_to_go = theta;
        solution.objective = solution.stage_cost + discount * theta;
    }

    fn push_row_bounds(&mut self) {
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for row in self.moving_rows.clone() {
            let (row_lower, row_upper) = self.instance.row_bounds(row);
            lower.push(row_lower * self.scaling.rows[row]);
            upper.push(row_upper * self.scaling.rows[row]);
        }
        self.model.set_row_bounds(self.moving_rows.start, &lower, &upper);
    }
}

impl LpSolver for Highs {
    type State = Basis;

    fn new(lp: Arc<StageLp>, cost_to_go: Option<CostToGo>) -> Result<Self> {
        let scaling = Scaling::of(&lp, cost_to_go);
        let mut model = build(&lp, &scaling, cost_to_go)?;
        for (option, value) in [("presolve", "off"), ("parallel", "off"), ("run_crossover", "on")] {
            model.set_text(option, value)?;
        }
        model.set_int("threads", 1)?;
        model.set_float("dual_simplex_cost_perturbation_multiplier", 0.0)?;
        model.set_float("primal_feasibility_tolerance", TOLERANCE)?;
        model.set_float("dual_feasibility_tolerance", TOLERANCE)?;
        set_method(&mut model)?;
        let moving = moving_rows(&lp);
        let columns = lp.columns() + pieces(&lp) + usize::from(cost_to_go.is_some());
        let base_rows = model.rows();
        Ok(Self {
            model,
            scaling,
            cost_to_go,
            moving_rows: moving,
            base_rows,
            cut_rows: Vec::new(),
            solution: Solution::default(),
            counts: Counts::default(),
            primal: vec![0.0; columns],
            duals: vec![0.0; base_rows],
            instance: Instance::new(lp),
        })
    }

    fn crash_state(&self) -> Basis {
        let lp = self.instance.lp();
        let mut columns: Vec<u8> = vec![AT_LOWER as u8; self.primal.len()];
        for (column, status) in columns.iter_mut().enumerate().take(lp.columns()) {
            if lp.col_lower[column] == f64::NEG_INFINITY {
                *status =
                    if lp.col_upper[column] < f64::INFINITY { raw::AT_UPPER as u8 } else { AT_ZERO as u8 };
            }
        }
        Basis { columns, rows: vec![BASIC as u8; self.base_rows], cuts: Vec::new() }
    }

    fn begin_unit(&mut self, state: &Basis, cuts: &CutStore) -> Result<()> {
        let is_known = |&(id, _): &(CutId, u8)| (id as usize) < cuts.len();
        if state.columns.len() != self.primal.len()
            || state.rows.len() != self.base_rows
            || !state.cuts.iter().all(is_known)
        {
            return Err(Error::new(ErrorKind::SolverFailure, "a basis of another stage problem"));
        }
        self.model.truncate_rows(self.base_rows)?;
        self.cut_rows.clear();
        for &(id, _) in &state.cuts {
            self.add_cut(cuts, id)?;
        }
        // A basis set into an object with a history gives other bits than one set into a cleared object.
        self.model.clear_solver();
        let columns: Vec<i32> = state.columns.iter().map(|&status| i32::from(status)).collect();
        let of_cuts = state.cuts.iter().map(|&(_, status)| status);
        let rows: Vec<i32> = state.rows.iter().copied().chain(of_cuts).map(i32::from).collect();
        self.model.set_basis(&columns, &rows)
    }

    fn set(&mut self, incoming: &[f64], outcome: &Outcome) {
        self.instance.set(incoming, outcome);
        self.push_row_bounds();
        let Self { model, instance, scaling, .. } = self;
        let noise = &instance.lp().noise;
        for &column in &noise.columns {
            let factor = scaling.columns[column];
            model.set_column_bounds(
                column,
                instance.col_lower[column] / factor,
                instance.col_upper[column] / factor,
            );
        }
        for &column in &noise.costs {
            model.set_cost(column, instance.col_cost[column] * scaling.columns[column] / scaling.money);
        }
        for (&(row, column), value) in noise.matrix.iter().zip(&outcome.matrix) {
            model.set_coefficient(row, column, value * scaling.rows[row] * scaling.columns[column]);
        }
    }

    fn solve(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure> {
        self.counts.solves += 1;
        self.climb(&Attempt::ALL, cuts)
    }

    fn solve_cold(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure> {
        self.counts.solves += 1;
        self.climb(&Attempt::ALL[1..], cuts)
    }

    fn solution(&self) -> &Solution {
        &self.solution
    }

    fn instance(&self) -> &Instance {
        &self.instance
    }

    fn state(&self) -> Basis {
        let (columns, rows) = self.model.basis();
        let narrow = |statuses: &[i32]| statuses.iter().map(|&status| status as u8).collect::<Vec<u8>>();
        // A slack cut is basic in its own row: leaving both out keeps the basis a basis.
        let cuts = self.cut_rows.iter().zip(&rows[self.base_rows..]);
        let tight =
            cuts.filter(|(_, status)| **status != BASIC).map(|(&(id, _), &status)| (id, status as u8));
        Basis { columns: narrow(&columns), rows: narrow(&rows[..self.base_rows]), cuts: tight.collect() }
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn conflicting_rows(&mut self) -> Vec<String> {
        let names = row_names(self.instance.lp(), &self.cut_rows);
        self.model.conflicting_rows().into_iter().filter_map(|row| names.get(row).cloned()).collect()
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        let lp = self.instance.lp();
        let mut columns: Vec<String> = lp.col_names.iter().map(str::to_owned).collect();
        for piecewise in &lp.piecewise {
            let name = lp.col_names.get(piecewise.column);
            columns.extend((0..piecewise.slopes.len()).map(|piece| format!("{name}:piece_{piece}")));
        }
        columns.extend(self.cost_to_go.map(|_| "cost_to_go".to_owned()));
        let rows = row_names(lp, &self.cut_rows);
        self.model.set_names(&mps_names(&columns), &mps_names(&rows));
        let text = path.to_string_lossy();
        let error = || {
            Error::new(ErrorKind::SolverFailure, "the linear program could not be saved")
                .with("path", text.as_ref())
        };
        self.model.write(&text).map_err(|_| error())?;
        if path.exists() { Ok(()) } else { Err(error()) }
    }
}

/// The options that attempts change, back to dual simplex without scaling.
fn set_method(model: &mut RawModel) -> Result<()> {
    model.set_text("solver", "simplex")?;
    model.set_int("simplex_strategy", 1)?;
    model.set_int("simplex_scale_strategy", 0)
}

fn pieces(lp: &StageLp) -> usize {
    lp.piecewise.iter().map(|piecewise| piecewise.slopes.len()).sum()
}

fn moving_rows(lp: &StageLp) -> std::ops::Range<usize> {
    let of_states = (0..lp.states()).flat_map(|state| lp.incoming.column(state).map(|(row, _)| row));
    let rows: Vec<usize> = lp.noise.rows.iter().copied().chain(of_states).collect();
    match (rows.iter().min(), rows.iter().max()) {
        (Some(&first), Some(&last)) => first..last + 1,
        _ => 0..0,
    }
}

fn build(lp: &StageLp, scaling: &Scaling, cost_to_go: Option<CostToGo>) -> Result<RawModel> {
    let (mut starts, mut indices, mut values) = (vec![0i32], Vec::new(), Vec::new());
    let (mut cost, mut lower, mut upper) = (Vec::new(), Vec::new(), Vec::new());
    let link_of = |column: usize| lp.piecewise.iter().position(|piecewise| piecewise.column == column);
    for column in 0..lp.columns() {
        let factor = scaling.columns[column];
        for (row, coefficient) in lp.matrix.column(column) {
            indices.push(row as i32);
            values.push(coefficient * scaling.rows[row] * factor);
        }
        if let Some(link) = link_of(column) {
            indices.push((lp.rows() + link) as i32);
            values.push(1.0);
        }
        starts.push(indices.len() as i32);
        cost.push(lp.col_cost[column] * factor / scaling.money);
        lower.push(lp.col_lower[column] / factor);
        upper.push(lp.col_upper[column] / factor);
    }
    let scale_row = |bounds: &[f64]| -> Vec<f64> {
        bounds.iter().zip(&scaling.rows).map(|(bound, factor)| bound * factor).collect()
    };
    let (mut row_lower, mut row_upper) = (scale_row(&lp.row_lower), scale_row(&lp.row_upper));
    for (link, piecewise) in lp.piecewise.iter().enumerate() {
        let factor = scaling.columns[piecewise.column];
        let start = piecewise.breakpoints[0];
        row_lower.push(start / factor);
        row_upper.push(start / factor);
        for (piece, slope) in piecewise.slopes.iter().enumerate() {
            let end = piecewise.breakpoints.get(piece + 1).copied().unwrap_or(f64::INFINITY);
            indices.push((lp.rows() + link) as i32);
            values.push(-1.0);
            starts.push(indices.len() as i32);
            cost.push(slope * factor / scaling.money);
            lower.push(0.0);
            upper.push((end - piecewise.breakpoints[piece]) / factor);
        }
    }
    if let Some(CostToGo { discount, lower_bound }) = cost_to_go {
        starts.push(indices.len() as i32);
        cost.push(discount);
        lower.push(lower_bound / scaling.money);
        upper.push(f64::INFINITY);
    }
    let columns = Columns {
        cost: &cost,
        lower: &lower,
        upper: &upper,
        starts: &starts,
        indices: &indices,
        values: &values,
    };
    RawModel::new(&columns, &row_lower, &row_upper)
}

fn row_names(lp: &StageLp, cut_rows: &[(CutId, f64)]) -> Vec<String> {
    let links = lp.piecewise.iter().map(|piecewise| format!("{}:pieces", lp.col_names.get(piecewise.column)));
    let cuts = cut_rows.iter().map(|(id, _)| format!("cut {id}"));
    lp.row_names.iter().map(str::to_owned).chain(links).chain(cuts).collect()
}

/// Names that free-format MPS can hold: no blanks, none empty, no two alike.
fn mps_names(names: &[String]) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let word: String =
                name.chars().map(|letter| if letter.is_whitespace() { '_' } else { letter }).collect();
            let word = if word.is_empty() || seen.contains(&word) { format!("{word}#{index}") } else { word };
            seen.insert(word.clone());
            word
        })
        .collect()
}
