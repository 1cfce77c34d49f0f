//! Simulation of a policy.

use std::time::Instant;

use cobre_comm::Communicator;
use cobre_core::{CancelToken, Event, Phase, Purpose, Result, System};
use cobre_lp::{Counts, CutStore, LpSolver, SolverState};

use crate::exchange::{agree, gather, share};
use crate::forward::{Draw, Terrain, walk};
use crate::job::Job;
use crate::options::SimulateOptions;
use crate::policy::{NodePolicy, Policy};
use crate::problem::Problem;
use crate::statistics::Statistics;
use crate::train::crash_bases;
use crate::trajectory::{Step, Trajectory};
use crate::workers::{Worker, Workers};

/// Scenarios that are held in memory at a time, on each rank.
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

/// Simulates a policy and hands the scenarios, in ascending order and block by block, to `consume` on rank 0.
///
/// The ranks share the scenarios of each block, and all of them know the costs in the end. Scenario s sees the same
/// noise, and gives the same bits, whatever the number of scenarios, ranks and threads. Beside the costs stands what
/// the solvers of this process did, which is another on every rank.
///
/// # Errors
/// [`cobre_core::ErrorKind::IncompatibleRuns`] for a policy of another problem, [`cobre_core::ErrorKind::Cancelled`] when the job was
/// cancelled on any rank, [`cobre_core::ErrorKind::SolverFailure`] as in training, whatever `consume` returns, and
/// [`cobre_core::ErrorKind::WorkerFailed`] when another rank failed or died.
pub fn simulate<S: LpSolver, C: Communicator>(
    problem: &Problem,
    policy: &Policy,
    options: &SimulateOptions,
    job: &Job<'_, C>,
    consume: &mut dyn FnMut(Vec<Trajectory>) -> Result<()>,
) -> Result<(Simulation, Counts)> {
    let started = Instant::now();
    let cuts = policy.cut_stores();
    let prepare = || {
        problem.validate()?;
        options.validate()?;
        policy.check_compatible(problem)?;
        let workers = Workers::<S>::new(options.threads, problem.nodes.len())?;
        let bases = starting_bases::<S>(problem, policy)?;
        let bases = pilot(
            &terrain::<S>(problem, &cuts, &bases, options, job.cancel),
            &policy.nodes,
            options.seed,
            &workers,
        )?;
        Ok((workers, bases))
    };
    let (workers, bases) = agree(job.comm, prepare())?;
    let terrain = terrain::<S>(problem, &cuts, &bases, options, job.cancel);
    let announce = |phase, costs: &[f64]| {
        let mean = costs.iter().sum::<f64>() / costs.len().max(1) as f64;
        job.events.emit(Event {
            system: System::Simulate,
            phase,
            iteration: 0,
            done: costs.len() as u64,
            total: Some(options.scenarios),
            metrics: vec![("scenarios_complete", costs.len() as f64), ("mean_cost", mean)],
            elapsed_secs: started.elapsed().as_secs_f64(),
            worker_id: (job.comm.size() > 1).then(|| job.comm.rank() as u32),
        });
    };
    announce(Phase::Started, &[]);
    let (comm, total) = (job.comm, options.scenarios as usize);
    let mut costs = Vec::new();
    let block = (BLOCK * comm.size()).min(total.div_ceil(20).max(options.threads * comm.size()));
    for first in (0..total).step_by(block) {
        let count = block.min(total - first);
        let own = share(count, comm.rank(), comm.size());
        let walked = workers.run(own.len(), job.cancel, |worker, index| {
            follow(&terrain, options.seed, (first + own.start + index) as u64, worker)
        });
        let own = agree(comm, walked)?;
        let counts: Vec<usize> = (0..comm.size()).map(|rank| share(count, rank, comm.size()).len()).collect();
        let own_costs: Vec<f64> = own.iter().map(|trajectory| trajectory.cost).collect();
        costs.extend(gather(comm, &own_costs, &counts)?);
        let all = gather_trajectories(comm, own)?;
        agree(comm, if comm.rank() == 0 { consume(all) } else { Ok(()) })?;
        announce(Phase::Progress, &costs);
    }
    announce(Phase::Finished, &costs);
    let Statistics { mean, std, half_width } = Statistics::of(&costs, problem.is_deterministic());
    let scenarios = options.scenarios;
    let simulation = Simulation { scenarios, mean_cost: mean, std_cost: std, half_width, costs };
    Ok((simulation, workers.counts()))
}

fn terrain<'a, S: LpSolver>(
    problem: &'a Problem,
    cuts: &'a [&'a CutStore],
    bases: &'a [S::State],
    options: &'a SimulateOptions,
    cancel: &'a CancelToken,
) -> Terrain<'a, S> {
    Terrain { problem, cuts, bases, failure_directory: options.failure_directory.as_deref(), cancel }
}

/// The trajectories of all ranks, in rank order, on rank 0; elsewhere none.
fn gather_trajectories<C: Communicator>(comm: &C, own: Vec<Trajectory>) -> Result<Vec<Trajectory>> {
    if comm.size() == 1 {
        return Ok(own);
    }
    let mut numbers = Vec::new();
    for trajectory in &own {
        trajectory.write(&mut numbers);
    }
    let counts = gather(comm, &[numbers.len() as u64], &vec![1; comm.size()])?;
    let counts: Vec<usize> = counts.into_iter().map(|count| count as usize).collect();
    let all = gather(comm, &numbers, &counts)?;
    Ok(if comm.rank() == 0 { Trajectory::read_all(&all) } else { Vec::new() })
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
