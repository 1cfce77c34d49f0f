//! One path through the policy graph.

use cobre_core::{CancelToken, Error, Purpose, Result, StreamKey};
use cobre_lp::{CutStore, LpSolver};

use crate::failure::Place;
use crate::problem::{Problem, Transition};
use crate::workers::Worker;

/// A path in a graph with cycles is cut after so many stages per node, far beyond where a discounted cost matters.
const LONGEST_PATH_PER_NODE: usize = 1_000;

/// How the noise of a path is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) purpose: Purpose,
    pub(crate) iteration: u64,
    pub(crate) path: u64,
}

/// One stage of a path, after its problem was solved.
#[derive(Clone, Debug)]
pub(crate) struct Visit<St> {
    pub(crate) node: usize,
    pub(crate) opening: usize,
    /// State at the end of the stage: the trial point.
    pub(crate) outgoing: Vec<f64>,
    /// The solver's state after the solve.
    pub(crate) basis: St,
}

/// A path and its cost.
#[derive(Clone, Debug)]
pub(crate) struct PathResult<St> {
    pub(crate) visits: Vec<Visit<St>>,
    /// Sum of the discounted stage costs, in $.
    pub(crate) cost: f64,
}

/// What can be seen of a stage of a path while its solver still holds the solution.
pub(crate) struct Seen<'a, S> {
    pub(crate) node: usize,
    pub(crate) opening: usize,
    pub(crate) discount: f64,
    pub(crate) incoming: &'a [f64],
    pub(crate) solver: &'a S,
}

/// What a path walks over: the problem, the cuts as they stand, and a starting basis per node.
pub(crate) struct Terrain<'a, S: LpSolver> {
    pub(crate) problem: &'a Problem,
    pub(crate) cuts: &'a [&'a CutStore],
    pub(crate) bases: &'a [S::State],
    pub(crate) failure_directory: Option<&'a std::path::Path>,
    pub(crate) cancel: &'a CancelToken,
}

/// Walks one path, from the root until it ends; shows each stage to `look`.
pub(crate) fn walk<S: LpSolver>(
    terrain: &Terrain<'_, S>,
    draw: Draw,
    worker: &mut Worker<S>,
    look: &mut dyn FnMut(Seen<'_, S>),
) -> Result<PathResult<S::State>> {
    let problem = terrain.problem;
    let longest = problem.longest_path().unwrap_or(LONGEST_PATH_PER_NODE * problem.nodes.len());
    let mut result = PathResult { visits: Vec::new(), cost: 0.0 };
    let mut incoming = problem.initial_state();
    let mut arcs: &[Transition] = &problem.root;
    let mut discount = 1.0;
    while result.visits.len() < longest {
        terrain.cancel.check()?;
        let stage = result.visits.len() as u32;
        let Draw { seed, purpose, iteration, path } = draw;
        let mut stream = StreamKey { seed, purpose, iteration, path, stage }.open();
        let Some(arc) = stream.choose(arcs.iter().map(|arc| arc.probability)) else { break };
        let index = arcs[arc].child;
        let node = &problem.nodes[index];
        let opening = stream
            .choose(node.openings.iter().map(|opening| opening.probability))
            .expect("the probabilities of a node's openings sum to one");
        discount *= arcs[arc].discount;
        let (solver, _) = worker.solver(problem, index)?;
        solver.begin_unit(&terrain.bases[index], terrain.cuts[index])?;
        solver.set(&incoming, &node.openings[opening].outcome);
        solver.solve(terrain.cuts[index]).map_err(|failure| -> Error {
            let place = Place { node, iteration, path, opening, directory: terrain.failure_directory };
            place.error(&failure, solver)
        })?;
        result.cost += discount * solver.solution().stage_cost;
        look(Seen { node: index, opening, discount, incoming: &incoming, solver });
        // Feasibility tolerances may leave a state a hair outside its bounds; the next stage must not inherit that.
        let primal = &solver.solution().primal;
        let instance = solver.instance();
        incoming = node
            .lp
            .outgoing
            .iter()
            .map(|&column| primal[column].clamp(instance.col_lower[column], instance.col_upper[column]))
            .collect();
        result.visits.push(Visit { node: index, opening, outgoing: incoming.clone(), basis: solver.state() });
        arcs = &node.children;
    }
    Ok(result)
}
