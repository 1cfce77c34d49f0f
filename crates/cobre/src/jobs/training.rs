//! Training of a case.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cobre_comm::{Communicator, SharedMemoryProvider};
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::{Counts, Highs};
use cobre_sddp::{
    Checkpoint, CutSelection, IterationRecord, Job, Problem, Risk, Stopping, Termination, TrainFailure,
    TrainOptions, Training, agree, share_problem, tell,
};
use serde_json::{Value, json};

use super::{available_threads, compare_settings, failure_directory, on_rank_0, problem, record_failure};
use crate::checkpoint_files::{self, Checkpoints};
use crate::fingerprint::fingerprint;
use crate::output::OutputDirectory;
use crate::policy_files::{self, StoredPolicy};
use crate::run_record::{self, Section, risk_json, stopping_json};
use crate::{Case, tables};

/// What a caller wants of a training; `None` leaves it to the case's configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainRequest {
    /// Seed of the forward passes.
    pub seed: Option<u64>,
    /// Threads of this process; all cores it may use when `None`. Results do not depend on it.
    pub threads: Option<usize>,
    /// Risk measure of every node; the root becomes the mean then, unless `root_risk` is given.
    pub risk: Option<Risk>,
    /// Risk measure of the root.
    pub root_risk: Option<Risk>,
    /// When to stop.
    pub stopping: Option<Stopping>,
    /// Where to write files; none are written when `None`.
    pub output_dir: Option<PathBuf>,
    /// Iterations between two checkpoints in `output_dir`. When `None`, ten, or as many more as keep the time that
    /// checkpoints take below a twentieth.
    pub checkpoint_every: Option<u64>,
    /// Goes on from the checkpoint in `output_dir`, when there is one. The results have the bits of a training that
    /// was never stopped; stopping rules, threads and ranks may be others than before.
    pub resume: bool,
}

/// A training that ended by a rule or by cancellation.
#[derive(Clone, Debug)]
pub struct TrainingResult {
    /// The policy.
    pub policy: Arc<StoredPolicy>,
    /// One record per iteration.
    pub convergence: Vec<IterationRecord>,
    /// Why it ended.
    pub termination: Termination,
    /// Seed of the forward passes.
    pub seed: u64,
    /// Threads of this process.
    pub threads: usize,
    /// What the solvers of this process did.
    pub effort: Counts,
    /// Where the files are.
    pub output_dir: Option<PathBuf>,
}

/// Trains a policy for a case. Every rank of `job` calls it with the same arguments; rank 0 writes the files.
///
/// A cancelled job is no error: what was learned is returned, and written, with [`Termination::Interrupted`]. A killed
/// one leaves its last checkpoint, from which [`TrainRequest::resume`] goes on.
///
/// ```no_run
/// use cobre::{Case, Job, LocalBackend, TrainRequest, train};
/// let case = Case::load("examples/four_reservoirs".as_ref(), None)?;
/// let request = TrainRequest { seed: Some(42), output_dir: Some("out".into()), ..TrainRequest::default() };
/// let cancel = cobre_core::CancelToken::new();
/// let job = Job { comm: &LocalBackend, events: &|_: cobre_core::Event| {}, cancel: &cancel };
/// let result = train(&case, &request, &job)?;
/// assert!(result.lower_bound().is_finite());
/// # Ok::<(), cobre_core::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::OutOfRange`] for a request that cannot be; those of the case's model;
/// [`ErrorKind::IncompatibleSettings`] for a case that is not to be trained, for checkpoints without an output
/// directory, and for an output directory that holds something else; [`ErrorKind::IncompatibleRuns`] for a checkpoint
/// of another training, and for ranks that read different cases; [`ErrorKind::OutputCorrupted`] for a damaged
/// checkpoint; [`ErrorKind::CheckpointFailed`] when the directory cannot be written;
/// [`ErrorKind::SolverFailure`]; [`ErrorKind::WorkerFailed`] when another rank failed or died.
pub fn train<C: Communicator + SharedMemoryProvider>(
    case: &Case,
    request: &TrainRequest,
    job: &Job<'_, C>,
) -> Result<TrainingResult> {
    let Plan { problem, mut options, policy_folder } = agree(job.comm, request.plan(case))?;
    let problem_sha256 = fingerprint(&problem);
    let settings = settings(&options, &problem_sha256);
    compare_settings(job.comm, &[&settings, &stopping_json(&options.stopping)])?;
    let problem = share_problem(job.comm, problem)?;
    let begun = on_rank_0(job.comm, || {
        let Some(path) = &request.output_dir else { return Ok(None) };
        let folder = path.join(Section::Training.as_str());
        let kept = if request.resume { checkpoint_files::read(&folder, &settings)? } else { None };
        let chosen = training_json(&options, request, &settings);
        let beginning = run_record::beginning(case, job.comm.size(), &chosen);
        Ok(Some((OutputDirectory::claim(path, Section::Training, beginning)?, kept)))
    })?;
    let (mut output, kept): (Option<OutputDirectory>, _) = begun.flatten().unzip();
    options.failure_directory = failure_directory(request.output_dir.as_ref());
    let start = share_checkpoint(job.comm, kept.flatten())?;
    let earlier = start.as_ref().map_or(0, |start| start.convergence.len());
    let mut checkpoints = output.as_ref().map(|output| {
        let folder = output.path().join(Section::Training.as_str());
        Checkpoints::new(folder, settings.clone(), request.checkpoint_every, earlier as u64)
    });
    let mut keep = |checkpoint: &Checkpoint| checkpoints.as_mut().map_or(Ok(()), |all| all.keep(checkpoint));
    let outcome = cobre_sddp::train_from::<Highs, C>(&problem, &options, job, start, &mut keep);
    let mut finish = |training: Training| {
        let Training { policy, convergence, trial_points, termination, effort } = training;
        let stand = Checkpoint { policy, convergence, trial_points };
        let is_empty = stand.convergence.is_empty();
        let is_new = stand.convergence.len() > earlier;
        if let Some(checkpoints) = checkpoints.as_mut().filter(|_| !is_empty) {
            checkpoints.write(&stand)?;
        }
        let result = request.result(stand, (termination, effort), &options, problem_sha256.clone());
        let Some(output) = output.as_mut() else { return Ok(result) };
        if is_empty {
            // Nothing was earned that could take the place of what an earlier training left.
            output.withdraw(&Error::new(
                ErrorKind::Cancelled,
                "the job was cancelled in its first iteration",
            ))?;
            return Ok(result);
        }
        if is_new {
            // An earlier simulation in this directory was one of the policy that is now replaced.
            output.discard(Section::Simulation)?;
        }
        write_training(&result, &policy_folder, output)?;
        Ok(result)
    };
    let finished = match outcome {
        // The other ranks must not take for done what rank 0 could not write.
        Ok(training) => agree(job.comm, finish(training)),
        Err(TrainFailure { error, earned }) => {
            let earned = earned.filter(|training| !training.convergence.is_empty());
            // That what was earned could not be written is worth less than what went wrong before.
            drop(earned.map(|training| finish(*training)));
            Err(error)
        }
    };
    finished.inspect_err(|error| record_failure(output.as_mut(), error))
}

/// What a request means for a case.
struct Plan {
    problem: Problem,
    options: TrainOptions,
    policy_folder: PathBuf,
}

impl TrainRequest {
    fn plan(&self, case: &Case) -> Result<Plan> {
        if !case.is_training_enabled() {
            return Err(Error::new(
                ErrorKind::IncompatibleSettings,
                "training.enabled is false in config.json",
            )
            .suggesting("override it to train all the same"));
        }
        if self.output_dir.is_none() && (self.resume || self.checkpoint_every.is_some()) {
            let message = "checkpoints are kept in the output directory, and none is given";
            return Err(Error::new(ErrorKind::IncompatibleSettings, message));
        }
        if self.checkpoint_every == Some(0) {
            return Err(Error::new(ErrorKind::OutOfRange, "checkpoint_every must be at least 1"));
        }
        let mut problem = problem(case)?;
        self.apply_risk(&mut problem);
        problem.validate()?;
        let mut options: TrainOptions = case.train_options();
        options.seed = self.seed.unwrap_or(options.seed);
        options.threads = self.threads.unwrap_or_else(available_threads);
        if let Some(stopping) = &self.stopping {
            options.stopping = stopping.clone();
        }
        options.validate()?;
        Ok(Plan { problem, options, policy_folder: policy_folder(case)? })
    }

    fn result(
        &self,
        stand: Checkpoint,
        (termination, effort): (Termination, Counts),
        options: &TrainOptions,
        problem_sha256: String,
    ) -> TrainingResult {
        let (policy, seed, problem_sha256) = (stand.policy, Some(options.seed), Some(problem_sha256));
        TrainingResult {
            policy: Arc::new(StoredPolicy { policy, seed, problem_sha256 }),
            convergence: stand.convergence,
            termination,
            seed: options.seed,
            threads: options.threads,
            effort,
            output_dir: self.output_dir.clone(),
        }
    }

    fn apply_risk(&self, problem: &mut Problem) {
        if let Some(risk) = self.risk {
            problem.nodes.iter_mut().for_each(|node| node.risk = risk);
            problem.root_risk = Risk::Expectation;
        }
        problem.root_risk = self.root_risk.unwrap_or(problem.root_risk);
    }
}

impl TrainingResult {
    /// Certified lower bound on the optimal cost, in $.
    pub fn lower_bound(&self) -> f64 {
        self.policy.policy.lower_bound
    }

    /// The record of the last iteration, if there was one.
    pub fn last(&self) -> Option<&IterationRecord> {
        self.convergence.last()
    }

    /// Active cuts of all nodes.
    pub fn active_cuts(&self) -> usize {
        self.policy.policy.nodes.iter().map(|node| node.cuts.active().len()).sum()
    }
}

fn write_training(result: &TrainingResult, policy_folder: &Path, output: &mut OutputDirectory) -> Result<()> {
    policy_files::save(&result.policy, &output.path().join(policy_folder))?;
    let folder = output.tables()?;
    tables::convergence(&result.convergence)?.write(&folder.join("convergence.parquet"))?;
    tables::timings(&result.convergence)?.write(&folder.join("timings.parquet"))?;
    let status = match result.termination {
        Termination::Rule(_) => "complete",
        stopped => stopped.as_str(),
    };
    let last = result.last();
    let results = json!({
        "termination_reason": result.termination.as_str(),
        "iterations": result.policy.policy.iterations,
        "lower_bound": result.lower_bound(),
        "upper_bound": last.map(|record| record.upper_bound),
        "upper_bound_half_width": last.map(|record| record.upper_bound_half_width),
        "gap": last.map(|record| record.gap),
        "total_cuts": result.policy.policy.total_cuts(),
        "elapsed_secs": last.map_or(0.0, |record| record.elapsed_secs),
    });
    output.finish(status, results)
}

fn training_json(options: &TrainOptions, request: &TrainRequest, settings: &Value) -> Value {
    let mut chosen = json!({
        "threads": options.threads,
        "stopping": stopping_json(&options.stopping),
        "risk": request.risk.map(risk_json),
        "root_risk": request.root_risk.map(risk_json),
        "checkpoint_every": request.checkpoint_every,
        "resume": request.resume,
    });
    if let (Some(chosen), Value::Object(settings)) = (chosen.as_object_mut(), settings) {
        chosen.extend(settings.clone().into_iter().filter(|(name, _)| name != "cobre_version"));
    }
    chosen
}

/// What decides every bit of a training but not when it ends: it must not change between a checkpoint and its
/// continuation.
fn settings(options: &TrainOptions, problem_sha256: &str) -> Value {
    let selection = options.cut_selection.map(|selection: CutSelection| {
        json!({
            "method": format!("{:?}", selection.method),
            "check_frequency": selection.check_frequency,
            "memory_window": selection.memory_window,
            "tolerance": selection.tolerance,
        })
    });
    json!({
        "cobre_version": crate::VERSION,
        "problem_sha256": problem_sha256,
        "seed": options.seed,
        "forward_passes": options.forward_passes,
        "cut_selection": selection,
    })
}

/// Rank 0's checkpoint on every rank.
fn share_checkpoint<C: Communicator>(comm: &C, kept: Option<Vec<u8>>) -> Result<Option<Checkpoint>> {
    let bytes = tell(comm, kept.unwrap_or_default(), 0)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    agree(comm, checkpoint_files::decode(&bytes).map(Some))
}

/// The folder that `policy.path` names, below the output directory.
fn policy_folder(case: &Case) -> Result<PathBuf> {
    let given = Path::new(case.policy_path());
    let is_below = given.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let folder: PathBuf = given.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let taken = [Section::Training.as_str(), Section::Simulation.as_str(), "run.json"];
    let is_free =
        folder.components().next().is_some_and(|first| taken.iter().all(|&name| first.as_os_str() != name));
    if is_below && is_free {
        return Ok(folder);
    }
    let message = "policy.path must name a folder of its own below the output directory";
    Err(Error::new(ErrorKind::IncompatibleSettings, message).with("policy_path", case.policy_path()))
}
