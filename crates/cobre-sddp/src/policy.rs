//! A trained policy: the cuts of every node.

use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::CutStore;

use crate::problem::{Problem, State};

/// The outcome of training: for each node an outer approximation of its cost-to-go.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The states, in the order of every cut's coefficients.
    pub states: Vec<State>,
    /// The nodes, in the order of the problem.
    pub nodes: Vec<NodePolicy>,
    /// Iterations that made the policy.
    pub iterations: u64,
    /// Certified lower bound on the optimal cost, in $; minus infinity before the first iteration.
    pub lower_bound: f64,
}

/// The cost-to-go of one node: `max(bound, max over cuts of intercept + coefficients · state)`.
#[derive(Clone, Debug)]
pub struct NodePolicy {
    /// Name of the node.
    pub name: String,
    /// Stage of the node, 0-based.
    pub stage: usize,
    /// False for a node without successors, whose cost-to-go is 0.
    pub has_successors: bool,
    /// The bound given by the problem, in $.
    pub cost_to_go_bound: f64,
    /// The cuts, in $ and $ per unit of state, undiscounted.
    pub cuts: CutStore,
    /// The basis that training started the node's stage problems from in the end, as the solver writes it; empty when
    /// there is none. Where several decisions are optimal, it makes a simulation take those that training took.
    pub basis: Vec<u8>,
}

impl Policy {
    /// A policy that knows nothing but the bounds of the problem.
    pub fn untrained(problem: &Problem) -> Self {
        let nodes = problem
            .nodes
            .iter()
            .map(|node| NodePolicy {
                name: node.name.clone(),
                stage: node.stage,
                has_successors: !node.children.is_empty(),
                cost_to_go_bound: node.cost_to_go_bound,
                cuts: CutStore::new(problem.states.len()),
                basis: Vec::new(),
            })
            .collect();
        Self { states: problem.states.clone(), nodes, iterations: 0, lower_bound: f64::NEG_INFINITY }
    }

    /// The cost-to-go after a node when the stage ends in a state, in $: a lower bound of the true one.
    ///
    /// `state` has one value per state, in the order of [`Policy::states`].
    ///
    /// # Errors
    /// [`ErrorKind::MissingReference`] for a node that does not exist, [`ErrorKind::CoverageMismatch`] for
    /// another number of values.
    pub fn value(&self, node: usize, state: &[f64]) -> Result<f64> {
        let Some(policy) = self.nodes.get(node) else {
            let message = format!("the policy has {} nodes", self.nodes.len());
            return Err(Error::new(ErrorKind::MissingReference, message).with("node", node));
        };
        if state.len() != self.states.len() {
            let message =
                format!("the policy has {} states, {} values given", self.states.len(), state.len());
            return Err(Error::new(ErrorKind::CoverageMismatch, message));
        }
        if !policy.has_successors {
            return Ok(0.0);
        }
        let highest = policy.cuts.separate(state).map_or(f64::NEG_INFINITY, |(_, height)| height);
        Ok(highest.max(policy.cost_to_go_bound))
    }

    /// Number of cuts of all nodes, active or not.
    pub fn total_cuts(&self) -> usize {
        self.nodes.iter().map(|node| node.cuts.len()).sum()
    }

    /// Checks that the policy was made for a problem of this shape.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleRuns`] that names the first difference.
    pub fn check_compatible(&self, problem: &Problem) -> Result<()> {
        let names = |states: &[State]| states.iter().map(|state| state.name.clone()).collect::<Vec<_>>();
        if names(&self.states) != names(&problem.states) {
            return Err(Error::new(ErrorKind::IncompatibleRuns, "policy and problem have other states")
                .with("policy", names(&self.states).join(" "))
                .with("problem", names(&problem.states).join(" ")));
        }
        let nodes: Vec<_> =
            problem.nodes.iter().map(|node| (node.name.as_str(), !node.children.is_empty())).collect();
        let own: Vec<_> = self.nodes.iter().map(|node| (node.name.as_str(), node.has_successors)).collect();
        if own != nodes {
            let message = format!("policy and problem have other nodes ({} and {})", own.len(), nodes.len());
            return Err(Error::new(ErrorKind::IncompatibleRuns, message));
        }
        Ok(())
    }
}
