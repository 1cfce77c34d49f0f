//! Training and simulation of a case, with the files they write.

use std::num::NonZero;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cobre_comm::Communicator;
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::Highs;
use cobre_sddp::{
    IterationRecord, Job, Policy, Problem, Risk, SimulateOptions, Simulation, Stopping, Termination,
    TrainFailure, TrainOptions, Training,
};
use serde_json::{Value, json};

use crate::atomic;
use crate::fingerprint::{fingerprint, sha256};
use crate::output::OutputDirectory;
use crate::policy_files::{self, StoredPolicy};
use crate::run_record::{self, Section, risk_json, stopping_json};
use crate::simulation_files::{ResultTable, SUMMARY, SimulationTables, discard_earlier};
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
    /// Where the files are.
    pub output_dir: Option<PathBuf>,
}

/// What a caller wants of a simulation; `None` leaves it to the case's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulateRequest {
    /// Number of scenarios.
    pub scenarios: Option<u64>,
    /// Seed of the scenarios.
    pub seed: Option<u64>,
    /// As [`TrainRequest::threads`].
    pub threads: Option<usize>,
    /// Where to write files; tables stay in memory when `None`.
    pub output_dir: Option<PathBuf>,
}

/// A complete simulation.
#[derive(Clone, Debug)]
pub struct SimulationResult {
    /// Costs and their statistics, in $.
    pub costs: Simulation,
    /// The tables.
    pub tables: Vec<ResultTable>,
    /// Seed of the scenarios.
    pub seed: u64,
    /// Threads of this process.
    pub threads: usize,
    /// Where the files are.
    pub output_dir: Option<PathBuf>,
}

/// The optimisation problem of a case.
///
/// # Errors
/// Those of the case's model: kinds of [`cobre_core::ErrorClass::Validation`].
pub fn problem(case: &Case) -> Result<Problem> {
    Ok(case.model()?.problem)
}

/// Trains a policy for a case. Every rank of `job` calls it with the same arguments; rank 0 writes the files.
///
/// A cancelled job is no error: what was learned is returned, and written, with [`Termination::Interrupted`].
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
/// [`ErrorKind::IncompatibleSettings`] for a case that is not to be trained, and for an output directory that holds
/// something else; [`ErrorKind::CheckpointFailed`] when it cannot be written;
/// [`ErrorKind::SolverFailure`]; on ranks other than 0 [`ErrorKind::WorkerFailed`] when rank 0 could not begin.
pub fn train<C: Communicator>(
    case: &Case,
    request: &TrainRequest,
    job: &Job<'_, C>,
) -> Result<TrainingResult> {
    if !case.is_training_enabled() {
        return Err(Error::new(ErrorKind::IncompatibleSettings, "training.enabled is false in config.json")
            .suggesting("override it to train all the same"));
    }
    let mut problem = problem(case)?;
    request.apply_risk(&mut problem);
    problem.validate()?;
    let mut options: TrainOptions = case.train_options();
    options.seed = request.seed.unwrap_or(options.seed);
    options.threads = request.threads.unwrap_or_else(available_threads);
    if let Some(stopping) = &request.stopping {
        options.stopping = stopping.clone();
    }
    options.validate()?;
    let policy_folder = policy_folder(case)?;
    let problem_sha256 = fingerprint(&problem);
    let mut output = on_rank_0(job.comm, || {
        let Some(path) = &request.output_dir else { return Ok(None) };
        let chosen = training_json(&options, request, &problem_sha256);
        let beginning = run_record::beginning(case, job.comm.size(), &chosen)?;
        OutputDirectory::claim(path, Section::Training, beginning).map(Some)
    })?
    .flatten();
    options.failure_directory = output.as_ref().map(|output| output.path().to_owned());
    let mut keep = |training: Training| {
        let result = TrainingResult {
            policy: Arc::new(StoredPolicy {
                policy: training.policy,
                seed: Some(options.seed),
                problem_sha256: Some(problem_sha256.clone()),
            }),
            convergence: training.convergence,
            termination: training.termination,
            seed: options.seed,
            threads: options.threads,
            output_dir: request.output_dir.clone(),
        };
        let Some(output) = output.as_mut() else { return Ok(result) };
        if result.convergence.is_empty() {
            // Nothing was earned that could take the place of what an earlier training left.
            output.withdraw(&Error::new(
                ErrorKind::Cancelled,
                "the job was cancelled in its first iteration",
            ))?;
        } else {
            write_training(&result, &policy_folder, output)?;
        }
        Ok(result)
    };
    let outcome = match cobre_sddp::train::<Highs, C>(&problem, &options, job) {
        Ok(training) => keep(training),
        Err(TrainFailure { error, earned }) => {
            let earned = earned.filter(|training| !training.convergence.is_empty());
            // That what was earned could not be written is worth less than what went wrong before.
            drop(earned.map(&mut keep));
            Err(error)
        }
    };
    outcome.inspect_err(|error| record_failure(output.as_mut(), error))
}

/// Simulates a policy on a case, in a job of one process.
///
/// # Errors
/// As [`train`], and [`ErrorKind::IncompatibleRuns`] for a policy of another problem, [`ErrorKind::Cancelled`],
/// [`ErrorKind::IncompatibleSettings`] for a job of several processes.
pub fn simulate<C: Communicator>(
    case: &Case,
    policy: &Policy,
    request: &SimulateRequest,
    job: &Job<'_, C>,
) -> Result<SimulationResult> {
    if job.comm.size() > 1 {
        let message = "the tables of a simulation are written by one process, the job has several";
        return Err(Error::new(ErrorKind::IncompatibleSettings, message).with("ranks", job.comm.size()));
    }
    let model = case.model()?;
    policy.check_compatible(&model.problem)?;
    let mut options: SimulateOptions = case.simulate_options();
    options.scenarios = request.scenarios.unwrap_or(options.scenarios);
    options.seed = request.seed.unwrap_or(options.seed);
    options.threads = request.threads.unwrap_or_else(available_threads);
    options.validate()?;
    let mut identity = json!({});
    let mut output = on_rank_0(job.comm, || {
        let Some(path) = &request.output_dir else { return Ok(None) };
        identity = simulation_identity(&options, &model.problem, policy)?;
        let mut chosen = identity.clone();
        chosen["threads"] = json!(options.threads);
        let beginning = run_record::beginning(case, job.comm.size(), &chosen)?;
        OutputDirectory::claim(path, Section::Simulation, beginning).map(Some)
    })?
    .flatten();
    options.failure_directory = output.as_ref().map(|output| output.path().to_owned());
    let run = || {
        let folder = output.as_ref().map(OutputDirectory::tables).transpose()?;
        let mut tables = SimulationTables::new(&model, folder.as_deref())?;
        let costs = cobre_sddp::simulate::<Highs, C>(&model.problem, policy, &options, job, &mut |block| {
            tables.consume(block)
        })?;
        folder.as_deref().map_or(Ok(()), discard_earlier)?;
        let tables = tables.finish()?;
        let (seed, threads) = (options.seed, options.threads);
        Ok(SimulationResult { costs, tables, seed, threads, output_dir: request.output_dir.clone() })
    };
    let outcome: Result<SimulationResult> = run().and_then(|result| {
        output.as_mut().map_or(Ok(()), |output| write_summary(&result, identity, output))?;
        Ok(result)
    });
    match (outcome, output) {
        // Tables get their names in the end: those of an earlier simulation are still whole.
        (Err(error), Some(mut output)) if error.kind() == ErrorKind::Cancelled => {
            output.withdraw(&error)?;
            Err(error)
        }
        (outcome, mut output) => outcome.inspect_err(|error| record_failure(output.as_mut(), error)),
    }
}

/// Number of threads that may run at once, by the affinity mask and the limits of the process.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

impl TrainRequest {
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
    // An earlier simulation in this directory was one of the policy that is now replaced.
    output.discard(Section::Simulation)?;
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

fn write_summary(result: &SimulationResult, identity: Value, output: &mut OutputDirectory) -> Result<()> {
    let costs = &result.costs;
    let figures = json!({
        "mean_cost": costs.mean_cost,
        "std_cost": costs.std_cost,
        "half_width": costs.half_width,
        "tables": result.tables.iter().map(|table| table.name).collect::<Vec<_>>(),
    });
    let mut summary = json!({ "format": "cobre-simulation", "version": 1, "cobre_version": crate::VERSION });
    for part in [identity, figures.clone()] {
        if let (Some(summary), Value::Object(part)) = (summary.as_object_mut(), part) {
            summary.extend(part);
        }
    }
    let text = format!("{summary:#}\n");
    atomic::write(&output.tables()?.join(SUMMARY), text.as_bytes())?;
    output.finish("complete", figures)
}

fn training_json(options: &TrainOptions, request: &TrainRequest, problem_sha256: &str) -> Value {
    json!({
        "seed": options.seed,
        "threads": options.threads,
        "forward_passes": options.forward_passes,
        "stopping": stopping_json(&options.stopping),
        "risk": request.risk.map(risk_json),
        "root_risk": request.root_risk.map(risk_json),
        "problem_sha256": problem_sha256,
    })
}

/// What makes a simulation the one it is; the same for any number of threads and ranks.
fn simulation_identity(options: &SimulateOptions, problem: &Problem, policy: &Policy) -> Result<Value> {
    Ok(json!({
        "scenarios": options.scenarios,
        "seed": options.seed,
        "problem_sha256": fingerprint(problem),
        "policy_cuts_sha256": sha256(&policy_files::cuts_table(policy, None)?.to_bytes()?),
    }))
}

/// Runs something on rank 0 alone, and tells the other ranks whether it went well: `None` for them.
fn on_rank_0<T, C: Communicator>(comm: &C, action: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    let outcome = if comm.rank() == 0 { action().map(Some) } else { Ok(None) };
    if comm.size() == 1 {
        return outcome;
    }
    let mut failed = [u8::from(outcome.is_err())];
    comm.broadcast(&mut failed, 0)?;
    if failed[0] != 0 && comm.rank() != 0 {
        return Err(
            Error::new(ErrorKind::WorkerFailed, "rank 0 could not prepare the output").with("rank", 0usize)
        );
    }
    outcome
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

fn record_failure(output: Option<&mut OutputDirectory>, error: &Error) {
    if let Some(output) = output {
        output.fail(error);
    }
}
