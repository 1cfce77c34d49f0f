//! The policy graph: nodes with a stage problem and noise, arcs with probabilities.

use std::sync::Arc;

use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::{CostToGo, Outcome, StageLp};

use crate::risk::Risk;

/// A multistage stochastic linear program, as a policy graph. The engine minimises.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The states, the same at every node.
    pub states: Vec<State>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Arcs from the root to the nodes where a path can begin.
    pub root: Vec<Transition>,
    /// Risk measure over the first node and its outcome.
    pub root_risk: Risk,
}

/// A state variable.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Name in queries, e.g. `storage:3`.
    pub name: String,
    /// Value before the first stage.
    pub initial: f64,
}

/// A node of the policy graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name in messages, unique, e.g. `stage 3`.
    pub name: String,
    /// Stage the node belongs to, 0-based.
    pub stage: usize,
    /// The stage problem.
    pub lp: Arc<StageLp>,
    /// Outcomes of the noise with their probabilities, independent of the path that led here.
    pub openings: Vec<Opening>,
    /// Arcs to the nodes that can follow. Probability missing to one is the probability of ending here.
    pub children: Vec<Transition>,
    /// Risk measure over the child and its outcome.
    pub risk: Risk,
    /// Bound below the cost-to-go of this node, in $; finite; not read without children.
    pub cost_to_go_bound: f64,
}

/// One outcome of a node's noise.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Probability within the node, > 0; a node's sum to one.
    pub probability: f64,
    /// What the outcome sets in the stage problem.
    pub outcome: Outcome,
}

/// An arc of the policy graph.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Index of the node the arc leads to.
    pub child: usize,
    /// Probability of the arc.
    pub probability: f64,
    /// Factor on every cost after the arc, in (0, 1].
    pub discount: f64,
}

impl Node {
    /// The factor of this node's θ: its arcs' largest discount, so that cuts are undiscounted where the arcs agree.
    pub fn discount(&self) -> f64 {
        self.children.iter().map(|arc| arc.discount).fold(0.0, f64::max)
    }

    /// What the solver must know of the cost-to-go; `None` without children.
    pub fn cost_to_go(&self) -> Option<CostToGo> {
        (!self.children.is_empty())
            .then(|| CostToGo { discount: self.discount(), lower_bound: self.cost_to_go_bound })
    }
}

impl Problem {
    /// The problem of a chain of stages: node t is followed by node t + 1 with probability one and the discount
    /// that node t's own children list would carry.
    ///
    /// `discounts` has one factor per node but the last.
    ///
    /// # Errors
    /// As [`validate`](Self::validate).
    pub fn chain(
        states: Vec<State>,
        mut nodes: Vec<Node>,
        discounts: &[f64],
        root_risk: Risk,
    ) -> Result<Self> {
        let count = nodes.len();
        for (index, node) in nodes.iter_mut().enumerate() {
            node.children = match discounts.get(index) {
                Some(&discount) if index + 1 < count => {
                    vec![Transition { child: index + 1, probability: 1.0, discount }]
                }
                _ => Vec::new(),
            };
        }
        if discounts.len() + 1 != count {
            let message =
                format!("{count} nodes need {} discounts, {} given", count.max(1) - 1, discounts.len());
            return Err(Error::new(ErrorKind::StageMismatch, message));
        }
        let root = vec![Transition { child: 0, probability: 1.0, discount: 1.0 }];
        let problem = Self { states, nodes, root, root_risk };
        problem.validate()?;
        Ok(problem)
    }

    /// The state before the first stage.
    pub fn initial_state(&self) -> Vec<f64> {
        self.states.iter().map(|state| state.initial).collect()
    }

    /// True when no node can come after itself.
    pub fn is_acyclic(&self) -> bool {
        self.topological_order().is_some()
    }

    /// True when there is exactly one path, that is, nothing is random.
    pub fn is_deterministic(&self) -> bool {
        let certain =
            |arcs: &[Transition]| arcs.len() <= 1 && arcs.iter().all(|arc| arc.probability >= 1.0 - 1e-12);
        certain(&self.root)
            && self.nodes.iter().all(|node| node.openings.len() == 1 && certain(&node.children))
    }

    /// The longest number of nodes on a path; `None` for a cyclic graph.
    pub fn longest_path(&self) -> Option<usize> {
        let order = self.topological_order()?;
        let mut longest = vec![0usize; self.nodes.len()];
        for &index in order.iter().rev() {
            let after = self.nodes[index].children.iter().map(|arc| longest[arc.child]).max().unwrap_or(0);
            longest[index] = after + 1;
        }
        self.root.iter().map(|arc| longest[arc.child]).max()
    }

    fn topological_order(&self) -> Option<Vec<usize>> {
        let mut degree = vec![0usize; self.nodes.len()];
        for arc in self.nodes.iter().flat_map(|node| &node.children) {
            degree[arc.child] += 1;
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|&index| degree[index] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for arc in &self.nodes[order[next]].children {
                degree[arc.child] -= 1;
                if degree[arc.child] == 0 {
                    order.push(arc.child);
                }
            }
            next += 1;
        }
        (order.len() == self.nodes.len()).then_some(order)
    }

    /// Checks everything the algorithm relies on.
    ///
    /// # Errors
    /// [`ErrorKind::MissingReference`] for an arc to nowhere, [`ErrorKind::OutOfRange`] for a probability,
    /// discount, initial value or cost-to-go bound that cannot be, [`ErrorKind::StageMismatch`] for a node
    /// with another number of states, [`ErrorKind::SchemaViolation`] for an outcome of another shape.
    pub fn validate(&self) -> Result<()> {
        if let Some(state) = self.states.iter().find(|state| !state.initial.is_finite()) {
            let error = Error::new(ErrorKind::OutOfRange, "the initial value of a state must be finite");
            return Err(error.with("state", state.name.as_str()));
        }
        check_arcs("the root", &self.root, self.nodes.len())?;
        if (self.root.iter().map(|arc| arc.probability).sum::<f64>() - 1.0).abs() > 1e-9 {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                "the probabilities of the root's arcs do not sum to one",
            ));
        }
        self.root_risk.validate()?;
        self.nodes.iter().try_for_each(|node| self.validate_node(node))
    }

    fn validate_node(&self, node: &Node) -> Result<()> {
        let fail = |kind, message: &str| Err(Error::new(kind, message).with("node", node.name.as_str()));
        if node.lp.states() != self.states.len() {
            return fail(ErrorKind::StageMismatch, "the stage problem has another number of states");
        }
        if node.openings.is_empty() {
            return fail(ErrorKind::CoverageMismatch, "a node needs at least one opening");
        }
        if node.openings.iter().any(|opening| !opening.outcome.fits(&node.lp.noise)) {
            return fail(
                ErrorKind::SchemaViolation,
                "an opening does not fit the noise of its stage problem",
            );
        }
        let total: f64 = node.openings.iter().map(|opening| opening.probability).sum();
        let positive = node.openings.iter().all(|opening| opening.probability > 0.0);
        if !positive || (total - 1.0).abs() > 1e-9 {
            return fail(
                ErrorKind::OutOfRange,
                "the probabilities of the openings are not positive or not one in sum",
            );
        }
        check_arcs(&node.name, &node.children, self.nodes.len())?;
        if !node.children.is_empty() && !node.cost_to_go_bound.is_finite() {
            return fail(ErrorKind::OutOfRange, "the bound on the cost-to-go must be finite");
        }
        node.risk.validate()
    }
}

fn check_arcs(from: &str, arcs: &[Transition], nodes: usize) -> Result<()> {
    for arc in arcs {
        if arc.child >= nodes {
            let message = format!("an arc leads to node {}, which does not exist", arc.child);
            return Err(Error::new(ErrorKind::MissingReference, message).with("from", from));
        }
        let probable = arc.probability > 0.0 && arc.probability <= 1.0;
        let discounted = arc.discount > 0.0 && arc.discount <= 1.0;
        if !(probable && discounted) {
            let message = "the probability and the discount of an arc must be in (0, 1]";
            return Err(Error::new(ErrorKind::OutOfRange, message).with("from", from));
        }
    }
    if arcs.iter().map(|arc| arc.probability).sum::<f64>() > 1.0 + 1e-9 {
        return Err(
            Error::new(ErrorKind::OutOfRange, "the probabilities of the arcs exceed one").with("from", from)
        );
    }
    Ok(())
}
