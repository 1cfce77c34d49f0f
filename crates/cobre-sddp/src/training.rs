//! What training reports.

use std::fmt;

use cobre_core::Error;
use cobre_lp::Counts;

use crate::checkpoint::TrialPoints;
use crate::policy::Policy;

/// A finished (or interrupted) training.
#[derive(Clone, Debug)]
pub struct Training {
    /// The policy.
    pub policy: Policy,
    /// One record per iteration.
    pub convergence: Vec<IterationRecord>,
    /// Per node, the trial points that cut selection remembers; what a [`Checkpoint`](crate::Checkpoint) needs besides.
    pub trial_points: Vec<TrialPoints>,
    /// Why it ended.
    pub termination: Termination,
    /// What the solvers of this process did; unlike everything else, another on every rank.
    pub effort: Counts,
}

/// A training that could not go on, with what it had earned.
#[derive(Debug)]
pub struct TrainFailure {
    /// What went wrong.
    pub error: Error,
    /// The training up to the last complete iteration; `None` when the failure came before the first one began.
    pub earned: Option<Box<Training>>,
}

impl From<Error> for TrainFailure {
    fn from(error: Error) -> Self {
        Self { error, earned: None }
    }
}

impl fmt::Display for TrainFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for TrainFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Why training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// A stopping rule held; the word of [`crate::StoppingRule::reason`].
    Rule(&'static str),
    /// The job was cancelled; the policy is that of the last complete iteration.
    Interrupted,
    /// The job failed; the policy is that of the last complete iteration.
    Failed,
}

impl Termination {
    /// The word used in results and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule(reason) => reason,
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }
}

/// One iteration. Everything but `elapsed_secs` is the same for any number of threads and ranks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IterationRecord {
    /// 1-based.
    pub iteration: u64,
    /// Certified bound below the optimal (risk-adjusted) cost, in $; never falls.
    pub lower_bound: f64,
    /// Mean cost of this iteration's forward paths, in $: an unbiased estimate of the expected cost of the
    /// policy that made them.
    pub upper_bound: f64,
    /// Standard deviation of those costs (n - 1), in $; NaN for a single path of a random problem.
    pub upper_bound_std: f64,
    /// Half width of the 95 % confidence interval of the mean, in $ (normal approximation); NaN as above.
    pub upper_bound_half_width: f64,
    /// `(upper_bound - lower_bound) / max(1, |upper_bound|)`; NaN when the measure of risk is not the mean, for
    /// then the two do not estimate the same thing.
    pub gap: f64,
    /// Cuts added.
    pub cuts_added: u64,
    /// Cuts not added because no duals certified them.
    pub cuts_dropped: u64,
    /// Active cuts of all nodes at the end.
    pub cuts_active: u64,
    /// Stage problems solved (one per path, node and opening).
    pub stage_solves: u64,
    /// Simplex iterations, all ranks.
    pub pivots: u64,
    /// Solves that needed more than the first attempt, all ranks.
    pub recoveries: u64,
    /// Seconds since training began, at the end of the iteration.
    pub elapsed_secs: f64,
}
