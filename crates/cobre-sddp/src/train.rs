//! Training: stochastic dual dynamic programming (Pereira and Pinto, 1991) on a policy graph.

use std::time::Instant;

use cobre_comm::{Communicator, SendBuffer, SharedMemoryProvider};
use cobre_core::{Error, ErrorKind, Event, Phase, Purpose, Result, System};
use cobre_lp::{Counts, CutOrigin, CutStore, LpSolver};

use crate::backward::{Backward, TrialPoint};
use crate::chain::Chains;
use crate::checkpoint::Checkpoint;
use crate::exchange::{Cut, Paths, agree, agreed_bases, gather_cuts, share};
use crate::forward::{Draw, PathResult, Terrain, walk};
use crate::job::Job;
use crate::options::TrainOptions;
use crate::policy::Policy;
use crate::problem::{Node, Problem};
use crate::selection::select;
use crate::sharing::{share_cuts, shares_memory};
use crate::statistics::Statistics;
use crate::training::{IterationRecord, Termination, TrainFailure, Training};
use crate::workers::Workers;

/// A cut that raises the cost-to-go at its trial point by less than this (relative, 1 at least) is not kept.
const NEGLIGIBLE: f64 = 1e-10;

/// Trains a policy until a stopping rule holds or the job is cancelled.
///
/// Each iteration samples paths and walks them forward, then, from the last stage to the first, solves every
/// opening at every trial point, turns the duals into certified cuts, and exchanges the cuts among the ranks. The
/// result has the same bits for any number of ranks and threads. On cancellation, of whatever rank, it is the policy
/// of the last complete iteration.
///
/// # Errors
/// With the training up to the last complete iteration: what [`Problem::validate`] finds; [`ErrorKind::OutOfRange`] for options without meaning or a bound on the
/// cost-to-go that is above it; [`ErrorKind::SolverFailure`] with stage, node, iteration, path and noise when a
/// stage problem has no solution; [`ErrorKind::WorkerFailed`] when another rank failed or died;
/// [`ErrorKind::BackendFailure`] when ranks cannot talk.
pub fn train<S: LpSolver, C: Communicator + SharedMemoryProvider>(
    problem: &Problem,
    options: &TrainOptions,
    job: &Job<'_, C>,
) -> std::result::Result<Training, TrainFailure> {
    train_from::<S, C>(problem, options, job, None, &mut |_| Ok(()))
}

/// As [`train`], from where an earlier training of the same problem and options stood, and showing to `keep`, on rank
/// 0, where it stands after every iteration. The policy and the records are those of a training that was never
/// interrupted; stopping rules, threads and ranks may be others.
///
/// # Errors
/// As [`train`]; [`ErrorKind::IncompatibleRuns`] for a checkpoint of another problem,
/// [`ErrorKind::OutputCorrupted`] for one that no training can have; and what `keep` returns.
pub fn train_from<S: LpSolver, C: Communicator + SharedMemoryProvider>(
    problem: &Problem,
    options: &TrainOptions,
    job: &Job<'_, C>,
    start: Option<Checkpoint>,
    keep: &mut dyn FnMut(&Checkpoint) -> Result<()>,
) -> std::result::Result<Training, TrainFailure> {
    let mut trainer = Trainer::<S, C>::new(problem, options, job, start)?;
    trainer.announce(Phase::Started, None);
    let outcome = trainer.run(keep);
    trainer.announce(Phase::Finished, trainer.stand.convergence.last().copied());
    match outcome {
        Ok(reason) => Ok(trainer.finish(Termination::Rule(reason))),
        Err(error) if error.kind() == ErrorKind::Cancelled => Ok(trainer.finish(Termination::Interrupted)),
        Err(error) => {
            let earned = Some(Box::new(trainer.finish(Termination::Failed)));
            Err(TrainFailure { error, earned })
        }
    }
}

struct Trainer<'a, S: LpSolver, C: Communicator> {
    problem: &'a Problem,
    options: &'a TrainOptions,
    job: &'a Job<'a, C>,
    workers: Workers<S>,
    /// Where the training stands; the bases in its policy are those of the last checkpoint.
    stand: Checkpoint,
    /// Starting basis per node, the same on every rank.
    bases: Vec<S::State>,
    chains: Vec<Chains>,
    send: SendBuffer<f64>,
    /// Whether other ranks of this machine read the cuts from the same memory.
    shares_memory: bool,
    /// When this process began, and seconds that the training had taken before.
    started: (Instant, f64),
}

/// What the backward pass did to the cuts.
#[derive(Clone, Copy, Default)]
struct Tally {
    added: u64,
    dropped: u64,
    solves: u64,
}

impl<'a, S: LpSolver, C: Communicator + SharedMemoryProvider> Trainer<'a, S, C> {
    fn new(
        problem: &'a Problem,
        options: &'a TrainOptions,
        job: &'a Job<'a, C>,
        start: Option<Checkpoint>,
    ) -> Result<Self> {
        let prepare = || {
            problem.validate()?;
            options.validate()?;
            let mut bases = crash_bases::<S>(problem)?;
            if let Some(checkpoint) = &start {
                checkpoint.check(problem)?;
                bases = checkpoint.bases()?;
            }
            Ok((Workers::new(options.threads, problem.nodes.len())?, bases))
        };
        let (workers, bases) = agree(job.comm, prepare())?;
        let own = share(options.forward_passes, job.comm.rank(), job.comm.size());
        let send = job.comm.alloc_send(own.len() * (problem.states.len() + 2));
        let stand = start.unwrap_or_else(|| Checkpoint::untrained(problem));
        Ok(Self {
            workers,
            bases,
            chains: problem.nodes.iter().map(Chains::new).collect(),
            send: agree(job.comm, send.map_err(Error::from))?,
            shares_memory: shares_memory(job.comm)?,
            started: (Instant::now(), stand.convergence.last().map_or(0.0, |record| record.elapsed_secs)),
            stand,
            problem,
            options,
            job,
        })
    }

    /// Iterates until a rule holds and returns its word. After an error the policy is that of the last complete
    /// iteration.
    fn run(&mut self, keep: &mut dyn FnMut(&Checkpoint) -> Result<()>) -> Result<&'static str> {
        if !self.stand.convergence.is_empty()
            && let Some(reason) = self.decide()?
        {
            return Ok(reason);
        }
        loop {
            let iteration = self.stand.convergence.len() as u64 + 1;
            let before = self.stand.policy.cut_counts();
            let record = self.iterate(iteration).inspect_err(|_| self.stand.policy.restore(&before))?;
            self.stand.convergence.push(record);
            self.announce(Phase::Progress, Some(record));
            let mut kept = Ok(());
            if self.job.comm.rank() == 0 {
                self.stand.settle(&self.bases);
                kept = keep(&self.stand);
            }
            agree(self.job.comm, kept)?;
            if let Some(reason) = self.decide()? {
                return Ok(reason);
            }
        }
    }

    fn finish(self, termination: Termination) -> Training {
        let effort = self.workers.counts();
        let Self { mut stand, bases, .. } = self;
        if !stand.convergence.is_empty() {
            stand.settle(&bases);
        }
        let Checkpoint { policy, convergence, trial_points } = stand;
        Training { policy, convergence, trial_points, termination, effort }
    }

    /// One iteration: sample, forward, gather, backward with gather, bounds, selection.
    fn iterate(&mut self, iteration: u64) -> Result<IterationRecord> {
        let comm = self.job.comm;
        let counts = self.workers.counts();
        let own = agree(comm, self.forward(iteration))?;
        let paths = Paths::gather(comm, &own, self.options.forward_passes, self.problem.states.len())?;
        let mut tally = Tally::default();
        for depth in (0..paths.longest()).rev() {
            self.backward(iteration, depth, &own, &paths, &mut tally)?;
        }
        let lower_bound = self.lower_bound(iteration, &mut tally)?;
        tally.solves += paths.nodes.iter().map(|nodes| nodes.len() as u64).sum::<u64>();
        let effort = self.effort_since(counts)?;
        self.bases = agreed_bases(comm, &paths, &own, &self.bases)?;
        self.select(iteration, &paths);
        if self.shares_memory {
            share_cuts(comm, &mut self.stand.policy)?;
        }
        Ok(self.record(iteration, lower_bound, &paths, tally, effort))
    }

    fn forward(&self, iteration: u64) -> Result<Vec<PathResult<S::State>>> {
        let own = share(self.options.forward_passes, self.job.comm.rank(), self.job.comm.size());
        let cuts = self.stand.policy.cut_stores();
        let terrain: Terrain<'_, S> = Terrain {
            problem: self.problem,
            cuts: &cuts,
            bases: &self.bases,
            failure_directory: self.options.failure_directory.as_deref(),
            cancel: self.job.cancel,
        };
        self.workers.run(own.len(), self.job.cancel, |worker, index| {
            let path = (own.start + index) as u64;
            let draw = Draw { seed: self.options.seed, purpose: Purpose::Forward, iteration, path };
            walk(&terrain, draw, worker, &mut |_| {})
        })
    }

    /// Cuts for the nodes that the paths visited at a depth, exchanged and appended in path order.
    fn backward(
        &mut self,
        iteration: u64,
        depth: usize,
        own: &[PathResult<S::State>],
        paths: &Paths,
        tally: &mut Tally,
    ) -> Result<()> {
        let (comm, total) = (self.job.comm, self.options.forward_passes);
        let nodes = &self.problem.nodes;
        let has_cut =
            |path: usize| paths.nodes[path].get(depth).is_some_and(|&node| !nodes[node].children.is_empty());
        let cutting = |rank: usize| share(total, rank, comm.size()).filter(|&path| has_cut(path));
        let first = share(total, comm.rank(), comm.size()).start;
        let points: Vec<TrialPoint<'_, S::State>> = cutting(comm.rank())
            .map(|path| {
                let visits = &own[path - first].visits;
                let node = &nodes[visits[depth].node];
                let next = visits.get(depth + 1).map(|visit| (visit.node, visit.opening, &visit.basis));
                let state = &visits[depth].outgoing;
                TrialPoint { path: path as u64, state, arcs: &node.children, risk: &node.risk, next }
            })
            .collect();
        let cuts = agree(comm, self.evaluate(iteration, &points))?;
        let per_rank: Vec<usize> = (0..comm.size()).map(|rank| cutting(rank).count()).collect();
        let cuts = gather_cuts(comm, &cuts, &per_rank, self.problem.states.len(), &mut self.send)?;
        for (path, cut) in (0..total).filter(|&path| has_cut(path)).zip(cuts) {
            let node = paths.nodes[path][depth];
            tally.solves += self.solves_after(&nodes[node].children);
            let origin = CutOrigin { iteration: iteration as u32, path: path as u32 };
            match cut {
                Some(cut) => {
                    tally.added += u64::from(self.append(node, &paths.states[path][depth], &cut, origin)?);
                }
                None => tally.dropped += 1,
            }
        }
        Ok(())
    }

    fn evaluate(&self, iteration: u64, points: &[TrialPoint<'_, S::State>]) -> Result<Vec<Option<Cut>>> {
        let cuts = self.stand.policy.cut_stores();
        let backward: Backward<'_, S> = Backward {
            problem: self.problem,
            cuts: &cuts,
            bases: &self.bases,
            chains: &self.chains,
            iteration,
            failure_directory: self.options.failure_directory.as_deref(),
            cancel: self.job.cancel,
        };
        backward.evaluate(&self.workers, points)
    }

    /// Appends a cut unless it adds nothing; true when it was appended.
    fn append(&mut self, index: usize, state: &[f64], cut: &Cut, origin: CutOrigin) -> Result<bool> {
        let node = &self.problem.nodes[index];
        let value = cut.at(state);
        check_bound(self.problem, node, state, cut)?;
        let known = self.stand.policy.value(index, state)?;
        if value - known <= NEGLIGIBLE * known.abs().max(1.0) {
            return Ok(false);
        }
        self.stand.policy.nodes[index].cuts.push(cut.intercept, &cut.coefficients, origin);
        Ok(true)
    }

    /// The certified bound at the initial state, which rank 0 computes.
    fn lower_bound(&self, iteration: u64, tally: &mut Tally) -> Result<f64> {
        let comm = self.job.comm;
        let state = self.problem.initial_state();
        let (arcs, risk) = (&self.problem.root[..], &self.problem.root_risk);
        let point = TrialPoint { path: 0, state: &state, arcs, risk, next: None };
        tally.solves += self.solves_after(arcs);
        let points: &[_] = if comm.rank() == 0 { &[point] } else { &[] };
        let bound = agree(comm, self.evaluate(iteration, points))?.pop().flatten();
        let discount = arcs.iter().map(|arc| arc.discount).fold(0.0, f64::max);
        let last = self.stand.convergence.last().map_or(f64::NEG_INFINITY, |record| record.lower_bound);
        let mut bound = [bound.map_or(last, |cut| last.max(discount * cut.at(&state)))];
        comm.broadcast(&mut bound, 0)?;
        Ok(bound[0])
    }

    fn solves_after(&self, arcs: &[crate::Transition]) -> u64 {
        arcs.iter().map(|arc| self.problem.nodes[arc.child].openings.len() as u64).sum()
    }

    fn select(&mut self, iteration: u64, paths: &Paths) {
        let Some(selection) = &self.options.cut_selection else { return };
        for (nodes, states) in paths.nodes.iter().zip(&paths.states) {
            for (&node, state) in nodes.iter().zip(states) {
                self.stand.trial_points[node].push((iteration, state.clone()));
            }
        }
        if iteration.is_multiple_of(u64::from(selection.check_frequency)) {
            for (node, points) in self.stand.policy.nodes.iter_mut().zip(&mut self.stand.trial_points) {
                select(&mut node.cuts, points, iteration, selection);
            }
        }
    }

    /// Pivots and recoveries of all ranks since `before`, a count of this rank's.
    fn effort_since(&self, before: Counts) -> Result<[u64; 2]> {
        let after = self.workers.counts();
        let mut all = [0u64; 2];
        let own = [after.pivots - before.pivots, after.recoveries - before.recoveries];
        self.job.comm.allreduce(&own, &mut all, cobre_comm::ReduceOp::Sum)?;
        Ok(all)
    }

    fn record(
        &self,
        iteration: u64,
        lower_bound: f64,
        paths: &Paths,
        tally: Tally,
        [pivots, recoveries]: [u64; 2],
    ) -> IterationRecord {
        let statistics = Statistics::of(&paths.costs, self.problem.is_deterministic());
        let is_mean = self.problem.root_risk.is_expectation()
            && self.problem.nodes.iter().all(|node| node.children.is_empty() || node.risk.is_expectation());
        let gap = (statistics.mean - lower_bound) / statistics.mean.abs().max(1.0);
        IterationRecord {
            iteration,
            lower_bound,
            upper_bound: statistics.mean,
            upper_bound_std: statistics.std,
            upper_bound_half_width: statistics.half_width,
            gap: if is_mean { gap } else { f64::NAN },
            cuts_added: tally.added,
            cuts_dropped: tally.dropped,
            cuts_active: self.stand.policy.nodes.iter().map(|node| node.cuts.active().len() as u64).sum(),
            stage_solves: tally.solves,
            pivots,
            recoveries,
            elapsed_secs: self.elapsed_secs(),
        }
    }

    /// Seconds of training, those before a checkpoint included.
    fn elapsed_secs(&self) -> f64 {
        self.started.1 + self.started.0.elapsed().as_secs_f64()
    }

    /// The reason to stop, if there is one: rank 0's clock decides for all.
    fn decide(&self) -> Result<Option<&'static str>> {
        let bounds: Vec<f64> = self.stand.convergence.iter().map(|record| record.lower_bound).collect();
        let mut elapsed = [self.elapsed_secs()];
        self.job.comm.broadcast(&mut elapsed, 0)?;
        Ok(self.options.stopping.decide(&bounds, elapsed[0]).map(crate::StoppingRule::reason))
    }

    fn announce(&self, phase: Phase, record: Option<IterationRecord>) {
        let previous = self.stand.convergence.iter().rev().nth(1).map_or(0.0, |record| record.elapsed_secs);
        let metrics = record.map_or_else(Vec::new, |record| {
            vec![
                ("lower_bound", record.lower_bound),
                ("upper_bound", record.upper_bound),
                ("upper_bound_half_width", record.upper_bound_half_width),
                ("gap", record.gap),
                ("iteration_time_ms", (record.elapsed_secs - previous) * 1e3),
                ("cuts_added", record.cuts_added as f64),
                ("cuts_active", record.cuts_active as f64),
            ]
        });
        let iteration = self.stand.convergence.len() as u64;
        let (comm, total) = (self.job.comm, self.options.stopping.iteration_limit());
        self.job.events.emit(Event {
            system: System::Train,
            phase,
            iteration,
            done: iteration,
            total,
            metrics,
            elapsed_secs: self.elapsed_secs(),
            worker_id: (comm.size() > 1).then(|| comm.rank() as u32),
        });
    }
}

/// The starting basis of every node before anything was solved.
pub(crate) fn crash_bases<S: LpSolver>(problem: &Problem) -> Result<Vec<S::State>> {
    problem
        .nodes
        .iter()
        .map(|node| Ok(S::new(std::sync::Arc::clone(&node.lp), node.cost_to_go())?.crash_state()))
        .collect()
}

/// Before the last stage the value is exact: one below the bound, by more than rounding of the terms it is made of,
/// proves the bound wrong.
fn check_bound(problem: &Problem, node: &Node, state: &[f64], cut: &Cut) -> Result<()> {
    let (bound, value) = (node.cost_to_go_bound, cut.at(state));
    let is_exact = node.children.iter().all(|arc| problem.nodes[arc.child].children.is_empty());
    let terms = cut.coefficients.iter().zip(state).map(|(slope, value)| (slope * value).abs());
    let size = terms.fold(cut.intercept.abs().max(bound.abs()).max(1.0), f64::max);
    if !is_exact || value >= bound - 1e-6 * size {
        return Ok(());
    }
    let message = format!("the bound on the cost-to-go of {} is above the cost-to-go itself", node.name);
    Err(Error::new(ErrorKind::OutOfRange, message)
        .with("stage", node.stage)
        .with("node", node.name.as_str())
        .with("bound", bound)
        .with("value_found", value)
        .with("state", format!("{state:?}"))
        .suggesting(format!("give a bound of at most {value}: every cost that can follow must be above it")))
}

impl Policy {
    pub(crate) fn cut_stores(&self) -> Vec<&CutStore> {
        self.nodes.iter().map(|node| &node.cuts).collect()
    }

    fn cut_counts(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.cuts.len()).collect()
    }

    fn restore(&mut self, counts: &[usize]) {
        for (node, &count) in self.nodes.iter_mut().zip(counts) {
            node.cuts.truncate(count);
        }
    }
}
