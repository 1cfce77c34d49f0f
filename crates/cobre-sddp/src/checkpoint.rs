//! Where a training stands between two iterations.

use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::SolverState;

use crate::policy::Policy;
use crate::problem::Problem;
use crate::training::IterationRecord;

/// The trial points of one node that cut selection remembers, each with the iteration that visited it.
pub type TrialPoints = Vec<(u64, Vec<f64>)>;

/// All that the next iteration depends on, besides the problem and the options.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The policy, with the bases from which the next iteration starts.
    pub policy: Policy,
    /// One record per iteration so far.
    pub convergence: Vec<IterationRecord>,
    /// Per node; empty without cut selection.
    pub trial_points: Vec<TrialPoints>,
}

impl Checkpoint {
    /// Before the first iteration.
    pub(crate) fn untrained(problem: &Problem) -> Self {
        Self {
            policy: Policy::untrained(problem),
            convergence: Vec::new(),
            trial_points: vec![TrialPoints::new(); problem.nodes.len()],
        }
    }

    /// Puts into the policy what it holds besides the cuts.
    pub(crate) fn settle<St: SolverState>(&mut self, bases: &[St]) {
        for (node, basis) in self.policy.nodes.iter_mut().zip(bases) {
            node.basis = basis.to_bytes();
        }
        self.policy.iterations = self.convergence.len() as u64;
        self.policy.lower_bound =
            self.convergence.last().map_or(f64::NEG_INFINITY, |record| record.lower_bound);
    }

    /// The bases in the solver's form.
    ///
    /// # Errors
    /// [`ErrorKind::OutputCorrupted`].
    pub(crate) fn bases<St: SolverState>(&self) -> Result<Vec<St>> {
        self.policy.nodes.iter().map(|node| St::from_bytes(&node.basis)).collect()
    }

    /// Checks that a training of the problem can stand here.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleRuns`] for a policy of another problem; [`ErrorKind::OutputCorrupted`].
    pub(crate) fn check(&self, problem: &Problem) -> Result<()> {
        self.policy.check_compatible(problem)?;
        let states = problem.states.len();
        let iterations = (1..).zip(&self.convergence).all(|(number, record)| record.iteration == number);
        let points = self.trial_points.iter().flatten().all(|(_, point)| point.len() == states);
        if self.convergence.is_empty()
            || !iterations
            || !points
            || self.trial_points.len() != problem.nodes.len()
        {
            let message = "the checkpoint does not hold what a training leaves";
            return Err(Error::new(ErrorKind::OutputCorrupted, message));
        }
        Ok(())
    }
}
