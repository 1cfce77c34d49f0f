//! Simulation of a policy.

use std::time::Instant;

use cobre_comm::Communicator;
use cobre_core::{Event, Phase, Purpose, Result, System};
use cobre_lp::{LpSolver, SolverState};

use crate::exchange::{gather, share};
use crate::forward::{Draw, Terrain, walk};
use crate::job::Job;
use crate::options::SimulateOptions;
use crate::policy::{NodePolicy, Policy};
use crate::problem::Problem;
use crate::statistics::Statistics;
use crate::train::crash_bases;
use crate::trajectory::{Step, Trajectory};
use crate::workers::{Worker, Workers};

/// Scenarios that are held in memory at a time.
const BLOCK: usize = 256;

/// The costs of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulation {
    /// Number of scenarios.
    pub scenarios: u64,
    /// Mean of the costs, in $.
    pub mean_cost: f64,
    /// Standard deviation of the costs (n - 1), in $; NaN for one scenario of a random problem.
    pub std_cost: f64,
    /// Half width of the 95 % confidence interval of the mean, in $ (normal approximation); NaN as above.
    pub half_width: f64,
    /// Cost per scenario, in $.
    pub costs: Vec<f64>,
}

/// Simulates a policy and hands each block of this rank's scenarios, in ascending order, to `consume`.
///
/// Scenario s sees the same noise, and gives the same bits, whatever the number of scenarios, ranks and threads.
///
/// # Errors
/// [`cobre_core::ErrorKind::IncompatibleRuns`] for a policy of another problem, [`cobre_core::ErrorKind::Cancelled`] when the job was
/// cancelled, [`cobre_core::ErrorKind::SolverFailure`] as in training, and whatever `consume` returns.
pub fn simulate<S: LpSolver, C: Communicator>(
    problem: &Problem,
    policy: &Policy,
    options: &SimulateOptions,
    job: &Job<'_, C>,
    consume: &mut dyn FnMut(Vec<Trajectory>) -> Result<()>,
) -> Result<Simulation> {
    problem.validate()?;
    options.validate()?;
    policy.check_compatible(problem)?;
    let started = Instant::now();
    let workers = Workers::<S>::new(options.threads, problem.nodes.len())?;
    let cuts = policy.cut_stores();
    let mut terrain: Terrain<'_, S> = Terrain {
        problem,
        cuts: &cuts,
        bases: &starting_bases::<S>(problem, policy)?,
        failure_directory: options.failure_directory.as_deref(),
        cancel: job.cancel,
    };
    let bases = pilot(&terrain, &policy.nodes, options.seed, &workers)?;
    terrain.bases = &bases;

    let own = share(options.scenarios as usize, job.comm.rank(), job.comm.size());
    let announce = |phase, done: usize, costs: &[f64]| {
        let mean = costs.iter().sum::<f64>() / costs.len().max(1) as f64;
        job.events.emit(Event {
            system: System::Simulate,
            phase,
            iteration: 0,
            done: done as u64,
            total: Some(own.len() as u64),
            metrics: vec![("scenarios_complete", done as f64), ("mean_cost", mean)],
            elapsed_secs: started.elapsed().as_secs_f64(),
            worker_id: (job.comm.size() > 1).then(|| job.comm.rank() as u32),
        });
    };
    announce(Phase::Started, 0, &[]);
    let mut costs = Vec::new();
    let block = BLOCK.min(own.len().div_ceil(20).max(options.threads));
    for first in own.clone().step_by(block) {
        let count = block.min(own.end - first);
        let trajectories = workers.run(count, job.cancel, |worker, index| {
            follow(&terrain, options.seed, (first + index) as u64, worker)
        })?;
        costs.extend(trajectories.iter().map(|trajectory| trajectory.cost));
        consume(trajectories)?;
        announce(Phase::Progress, costs.len(), &costs);
    }
    let counts: Vec<usize> = (0..job.comm.size())
        .map(|rank| share(options.scenarios as usize, rank, job.comm.size()).len())
        .collect();
    let costs = gather(job.comm, &costs, &counts)?;
    announce(Phase::Finished, own.len(), &costs);
    let Statistics { mean, std, half_width } = Statistics::of(&costs, problem.is_deterministic());
    Ok(Simulation { scenarios: options.scenarios, mean_cost: mean, std_cost: std, half_width, costs })
}

/// The bases that training ended with; for a node without one, or whose stage problem is another now, the crash basis.
fn starting_bases<S: LpSolver>(problem: &Problem, policy: &Policy) -> Result<Vec<S::State>> {
    let mut bases = crash_bases::<S>(problem)?;
    for ((node, learned), basis) in problem.nodes.iter().zip(&policy.nodes).zip(&mut bases) {
        let Ok(known) = S::State::from_bytes(&learned.basis) else { continue };
        let mut solver = S::new(std::sync::Arc::clone(&node.lp), node.cost_to_go())?;
        if solver.begin_unit(&known, &learned.cuts).is_ok() {
            *basis = known;
        }
    }
    Ok(bases)
}

/// Starting bases that do not depend on who simulates what: where there is none from training, that of scenario 0.
fn pilot<S: LpSolver>(
    terrain: &Terrain<'_, S>,
    learned: &[NodePolicy],
    seed: u64,
    workers: &Workers<S>,
) -> Result<Vec<S::State>> {
    let draw = Draw { seed, purpose: Purpose::Simulation, iteration: 0, path: 0 };
    let walked = workers.run(1, terrain.cancel, |worker, _| walk(terrain, draw, worker, &mut |_| {}))?;
    let mut bases = terrain.bases.to_vec();
    for visit in walked.into_iter().flat_map(|path| path.visits) {
        if learned[visit.node].basis.is_empty() {
            bases[visit.node] = visit.basis;
        }
    }
    Ok(bases)
}

fn follow<S: LpSolver>(
    terrain: &Terrain<'_, S>,
    seed: u64,
    scenario: u64,
    worker: &mut Worker<S>,
) -> Result<Trajectory> {
    let draw = Draw { seed, purpose: Purpose::Simulation, iteration: 0, path: scenario };
    let mut steps = Vec::new();
    let path = walk(terrain, draw, worker, &mut |seen| {
        let solution = seen.solver.solution();
        steps.push(Step {
            node: seen.node,
            opening: seen.opening,
            discount: seen.discount,
            stage_cost: solution.stage_cost,
            cost_to_go: solution.cost_to_go,
            incoming: seen.incoming.to_vec(),
            primal: solution.primal.clone(),
            row_duals: solution.row_duals.clone(),
        });
    })?;
    Ok(Trajectory { scenario, cost: path.cost, steps })
}
