//! Stage linear programs and what solves them.
//!
//! A [`StageLp`] is the problem of one stage, an [`Instance`] the same with an outcome and an incoming state put in.
//! An [`LpSolver`] owns one and solves it over and over while a [`CutStore`] grows; a [`Certifier`] turns what the
//! solver returned into a bound that holds whatever the solver returned.

#![deny(unsafe_code)]

pub mod array;
pub mod certificate;
pub mod cuts;
pub mod highs;
pub mod instance;
mod scaling;
pub mod solver;
pub mod sparse;
pub mod stage;

pub use array::{Array, Memory, Movable, Names};
pub use certificate::{Certificate, Certifier};
pub use cuts::{CutId, CutOrigin, CutStore};
pub use highs::Highs;
pub use instance::Instance;
pub use solver::{Counts, Failure, LpSolver, Solution, SolverState, Status};
pub use sparse::Csc;
pub use stage::{CostToGo, NoiseLayout, Outcome, PiecewiseCost, StageBuilder, StageLp};
