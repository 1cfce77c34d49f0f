//! What SDDP asks of an LP solver.

use std::iter::Sum;
use std::path::Path;
use std::sync::Arc;

use cobre_core::Result;

use crate::{CostToGo, CutId, CutStore, Instance, Outcome, StageLp};

/// A solver that owns one stage problem and solves it again and again.
///
/// Work comes in *units*: [`begin_unit`](Self::begin_unit) puts the solver into a state that depends on nothing
/// but its arguments, then a chain of [`set`](Self::set) and [`solve`](Self::solve) follows. What a unit returns
/// has the same bits whatever the solver did before.
pub trait LpSolver: Sized + Send {
    /// Where a unit can start: a basis with the cuts it names, or more.
    type State: SolverState;

    /// A solver for a stage problem; `cost_to_go` is `None` for a stage without successors.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::SolverFailure`] when the solver refuses the problem.
    fn new(lp: Arc<StageLp>, cost_to_go: Option<CostToGo>) -> Result<Self>;

    /// The state without knowledge: all slack, no cuts.
    fn crash_state(&self) -> Self::State;

    /// Begins a unit of work from a state whose cuts are all in the archive of `cuts`.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::SolverFailure`] when the state does not belong to this problem.
    fn begin_unit(&mut self, state: &Self::State, cuts: &CutStore) -> Result<()>;

    /// Puts in an incoming state and an outcome of the noise.
    fn set(&mut self, incoming: &[f64], outcome: &Outcome);

    /// Solves, from where the last solve of the unit ended. Cuts are added as they are violated, by more than
    /// [`SEPARATION_TOLERANCE`] relative to their value.
    ///
    /// # Errors
    /// [`Failure`] after everything the solver knows was tried.
    fn solve(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure>;

    /// As [`solve`](Self::solve), from nothing: for a result that was found wanting.
    ///
    /// # Errors
    /// As [`solve`](Self::solve).
    fn solve_cold(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure>;

    /// The last solve's result.
    fn solution(&self) -> &Solution;

    /// The problem as it stands.
    fn instance(&self) -> &Instance;

    /// The state that the last solve ended in.
    fn state(&self) -> Self::State;

    /// What was done so far.
    fn counts(&self) -> Counts;

    /// Names of rows that cannot hold together, after a solve that ended infeasible; empty when none are found.
    fn conflicting_rows(&mut self) -> Vec<String>;

    /// Saves the problem as it stands, with names, as a free-format MPS file.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::SolverFailure`] when the file cannot be written.
    fn save(&mut self, path: &Path) -> Result<()>;
}

/// A state that can travel and be kept.
pub trait SolverState: Clone + Send + Sync + PartialEq + std::fmt::Debug {
    /// The state as bytes.
    fn to_bytes(&self) -> Vec<u8>;

    /// The state of bytes made by [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::OutputCorrupted`].
    fn from_bytes(bytes: &[u8]) -> Result<Self>;
}

/// A cut is violated when θ is below it by more than this, relative to the cut's value (1 at least).
pub const SEPARATION_TOLERANCE: f64 = 1e-10;

/// The result of a solve, in the units of the stage problem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Solution {
    /// Values of the columns.
    pub primal: Vec<f64>,
    /// d objective / d right-hand side of the rows, in $ per unit.
    pub row_duals: Vec<f64>,
    /// Multipliers of the cuts that are rows at present; ≥ 0 up to tolerance, `discount` in sum when θ is above
    /// its bound.
    pub cut_duals: Vec<(CutId, f64)>,
    /// Cost of the stage itself, in $.
    pub stage_cost: f64,
    /// θ, in $; 0 without successors.
    pub cost_to_go: f64,
    /// `stage_cost + discount · cost_to_go`, in $.
    pub objective: f64,
}

/// What a solver did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of [`LpSolver::solve`].
    pub solves: u64,
    /// Simplex iterations.
    pub pivots: u64,
    /// Solves that needed more than the first attempt.
    pub recoveries: u64,
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            solves: sum.solves + one.solves,
            pivots: sum.pivots + one.pivots,
            recoveries: sum.recoveries + one.recoveries,
        })
    }
}

/// A problem that no attempt could solve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the last attempts agreed on.
    pub status: Status,
    /// What each attempt returned, in order: `method: status`.
    pub attempts: Vec<String>,
}

/// How an attempt ended without an optimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No point satisfies rows and bounds.
    Infeasible,
    /// The cost falls without end.
    Unbounded,
    /// The solver gave up.
    Failed,
}

impl Status {
    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infeasible => "infeasible",
            Self::Unbounded => "unbounded",
            Self::Failed => "not solved",
        }
    }
}
