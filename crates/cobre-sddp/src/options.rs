//! What the user chooses about training and simulation.

use std::path::PathBuf;

use cobre_core::{Error, ErrorKind, Result};

use crate::stopping::{Stopping, StoppingRule};

/// Options of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainOptions {
    /// Paths per iteration, at least 1.
    pub forward_passes: usize,
    /// Seed of the forward passes.
    pub seed: u64,
    /// When to stop.
    pub stopping: Stopping,
    /// Which cuts stay active; `None` keeps all.
    pub cut_selection: Option<CutSelection>,
    /// Threads of this process, at least 1. Results do not depend on it.
    pub threads: usize,
    /// Where the linear program of a failed stage is saved; the system's folder for temporary files if `None`.
    pub failure_directory: Option<PathBuf>,
}

/// Selection of cuts by the trial points at which they are the highest (Level-1; de Matos, Philpott and Finardi,
/// 2015; limited memory: Guigues, 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CutSelection {
    /// Which cuts a trial point keeps.
    pub method: SelectionMethod,
    /// Selection runs after every so many iterations, at least 1.
    pub check_frequency: u32,
    /// Only trial points of the last so many iterations count; all when `None`.
    pub memory_window: Option<u32>,
    /// A cut within this relative distance of the highest counts as highest (Level-1 only).
    pub tolerance: f64,
}

/// Which of the cuts that are highest at a trial point are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectionMethod {
    /// All of them.
    Level1,
    /// The oldest of them (LML1).
    LimitedMemoryLevel1,
}

/// Options of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulateOptions {
    /// Number of scenarios, at least 1.
    pub scenarios: u64,
    /// Seed of the scenarios.
    pub seed: u64,
    /// Threads of this process, at least 1. Results do not depend on it.
    pub threads: usize,
    /// As [`TrainOptions::failure_directory`].
    pub failure_directory: Option<PathBuf>,
}

/// More threads than any machine has cores are a slip, and starting them would take the machine down.
pub const MOST_THREADS: u64 = 1024;
/// More paths per iteration than this are a slip.
pub const MOST_FORWARD_PASSES: u64 = 1_000_000;
/// More scenarios than this are a slip: their costs alone would fill the memory.
pub const MOST_SCENARIOS: u64 = 100_000_000;

fn at_least_one(what: &'static str, value: u64) -> Result<()> {
    between(what, value, u64::MAX)
}

fn between(what: &'static str, value: u64, most: u64) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    let expected = if most == u64::MAX { "at least 1".to_owned() } else { format!("between 1 and {most}") };
    Err(Error::new(ErrorKind::OutOfRange, format!("{what} must be {expected}, not {value}")))
}

impl TrainOptions {
    /// Checks that every number makes sense.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn validate(&self) -> Result<()> {
        between("forward_passes", self.forward_passes as u64, MOST_FORWARD_PASSES)?;
        between("threads", self.threads as u64, MOST_THREADS)?;
        for rule in &self.stopping.rules {
            rule.validate()?;
        }
        if let Some(selection) = &self.cut_selection {
            at_least_one("check_frequency", u64::from(selection.check_frequency))?;
            if let Some(window) = selection.memory_window {
                at_least_one("memory_window", u64::from(window))?;
            }
            if !(selection.tolerance >= 0.0 && selection.tolerance.is_finite()) {
                let error =
                    Error::new(ErrorKind::OutOfRange, "the tolerance of cut selection must be at least 0");
                return Err(error.with("tolerance", selection.tolerance));
            }
        }
        Ok(())
    }
}

impl StoppingRule {
    /// Checks that the rule's numbers make sense.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn validate(&self) -> Result<()> {
        match *self {
            Self::IterationLimit(limit) => at_least_one("an iteration limit", limit),
            Self::TimeLimit(seconds) if seconds > 0.0 => Ok(()),
            Self::TimeLimit(seconds) => {
                Err(Error::new(ErrorKind::OutOfRange, "a time limit must be positive")
                    .with("seconds", seconds))
            }
            Self::BoundStalling { iterations, tolerance } => {
                at_least_one("the window of bound stalling", iterations)?;
                if tolerance > 0.0 && tolerance.is_finite() {
                    return Ok(());
                }
                let error =
                    Error::new(ErrorKind::OutOfRange, "the tolerance of bound stalling must be positive");
                Err(error.with("tolerance", tolerance))
            }
        }
    }
}

impl SimulateOptions {
    /// Checks that every number makes sense.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn validate(&self) -> Result<()> {
        between("scenarios", self.scenarios, MOST_SCENARIOS)?;
        between("threads", self.threads as u64, MOST_THREADS)
    }
}
