//! The jobs of Cobre and the files they write: the one path by which the binary, the Python package and the tests
//! train and simulate.
//!
//! ```text
//! OUT/run.json                     what ran, on what, from when to when, how it ended
//! OUT/policy/{policy.json, cuts.parquet}
//! OUT/training/{convergence.parquet, timings.parquet, checkpoint.bin}
//! OUT/simulation/{summary.json, <table>.parquet}
//! ```
//!
//! Nothing under `policy/` and `simulation/` and in the convergence table holds a time, a host, a path or a number of
//! threads or processes: equal runs give equal bytes. Every file appears whole or not at all ([`atomic`]).

#![forbid(unsafe_code)]

pub mod atomic;
mod checkpoint_files;
pub mod fingerprint;
pub mod jobs;
pub mod output;
mod policy_document;
pub mod policy_files;
pub mod run_record;
pub mod simulation_files;
pub mod tables;

pub use cobre_comm::{
    BackendKind, CommBackend, Communicator, LocalBackend, Session, ShmConfig, Stall, TcpConfig, Token,
    watch_lifeline,
};
pub use cobre_hydro::{Case, Snapshot};
pub use cobre_lp::Counts;
pub use cobre_sddp::{Job, Policy, Problem, Risk, Stopping, StoppingMode, StoppingRule};
pub use fingerprint::fingerprint;
pub use jobs::{SimulateRequest, SimulationResult, TrainRequest, TrainingResult, simulate, train};
pub use policy_files::StoredPolicy;
pub use tables::Table;

/// The version of this crate, e.g. `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
