//! Policy graphs and stochastic dual dynamic programming.
//!
//! A [`Problem`] is a policy graph whose nodes hold stage problems and noise; [`train()`] makes a [`Policy`] for it
//! and [`simulate()`] follows one. Everything is generic over the [`LpSolver`](cobre_lp::LpSolver) and the
//! [`Communicator`](cobre_comm::Communicator), and gives the same bits for any number of ranks and threads: the unit
//! of work is one path at one node, begins from a basis all ranks agreed on, and its results are folded in path
//! order.

#![forbid(unsafe_code)]

mod backward;
mod chain;
pub mod checkpoint;
mod exchange;
mod failure;
mod forward;
pub mod job;
pub mod options;
pub mod policy;
pub mod problem;
pub mod risk;
mod selection;
mod sharing;
pub mod simulate;
mod statistics;
pub mod stopping;
pub mod train;
pub mod training;
pub mod trajectory;
mod workers;

pub use checkpoint::{Checkpoint, TrialPoints};
pub use exchange::{agree, tell};
pub use job::Job;
pub use options::{CutSelection, SelectionMethod, SimulateOptions, TrainOptions};
pub use policy::{NodePolicy, Policy};
pub use problem::{Node, Opening, Problem, State, Transition};
pub use risk::Risk;
pub use sharing::{share_policy, share_problem};
pub use simulate::{Simulation, simulate};
pub use stopping::{Stopping, StoppingMode, StoppingRule};
pub use train::{train, train_from};
pub use training::{IterationRecord, Termination, TrainFailure, Training};
pub use trajectory::{Step, Trajectory};
