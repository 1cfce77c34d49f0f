//! Simulation of a case.

use std::path::PathBuf;

use cobre_comm::{Communicator, SharedMemoryProvider};
use cobre_core::{ErrorKind, Result};
use cobre_hydro::Model;
use cobre_lp::{Counts, Highs};
use cobre_sddp::{Job, Policy, Problem, SimulateOptions, Simulation, agree, share_problem};
use serde_json::{Value, json};

use super::{available_threads, compare_settings, failure_directory, on_rank_0, record_failure};
use crate::fingerprint::{fingerprint, sha256};
use crate::output::OutputDirectory;
use crate::run_record::{self, Section};
use crate::simulation_files::{ResultTable, SUMMARY, SimulationTables, discard_earlier};
use crate::{Case, atomic, policy_files};

/// What a caller wants of a simulation; `None` leaves it to the case's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulateRequest {
    /// Number of scenarios.
    pub scenarios: Option<u64>,
    /// Seed of the scenarios.
    pub seed: Option<u64>,
    /// As [`TrainRequest::threads`](super::TrainRequest::threads).
    pub threads: Option<usize>,
    /// Where to write files; tables stay in memory when `None`.
    pub output_dir: Option<PathBuf>,
}

/// A complete simulation.
#[derive(Clone, Debug)]
pub struct SimulationResult {
    /// Costs and their statistics, in $.
    pub costs: Simulation,
    /// The tables; none on ranks other than 0.
    pub tables: Vec<ResultTable>,
    /// Seed of the scenarios.
    pub seed: u64,
    /// Threads of this process.
    pub threads: usize,
    /// What the solvers of this process did.
    pub effort: Counts,
    /// Where the files are.
    pub output_dir: Option<PathBuf>,
}

/// Simulates a policy on a case. Every rank of `job` calls it with the same arguments; rank 0 has the tables and writes
/// the files, and all ranks have the costs.
///
/// # Errors
/// As [`train`](super::train), and [`ErrorKind::IncompatibleRuns`] for a policy of another problem,
/// [`ErrorKind::Cancelled`].
pub fn simulate<C: Communicator + SharedMemoryProvider>(
    case: &Case,
    policy: &Policy,
    request: &SimulateRequest,
    job: &Job<'_, C>,
) -> Result<SimulationResult> {
    let (mut model, mut options) = agree(job.comm, request.plan(case, policy))?;
    let identity = agree(job.comm, simulation_identity(&options, &model.problem, policy))?;
    compare_settings(job.comm, &[&identity])?;
    model.problem = share_problem(job.comm, model.problem)?;
    let begun = on_rank_0(job.comm, || {
        let Some(path) = &request.output_dir else { return Ok(None) };
        let mut chosen = identity.clone();
        chosen["threads"] = json!(options.threads);
        let beginning = run_record::beginning(case, job.comm.size(), &chosen);
        OutputDirectory::claim(path, Section::Simulation, beginning).map(Some)
    })?;
    let mut output = begun.flatten();
    options.failure_directory = failure_directory(request.output_dir.as_ref());
    let outcome =
        follow(&model, policy, &options, job, output.as_ref()).and_then(|(costs, effort, tables)| {
            let (seed, threads, output_dir) = (options.seed, options.threads, request.output_dir.clone());
            let result = SimulationResult { costs, tables, seed, threads, effort, output_dir };
            let written = output.as_mut().map_or(Ok(()), |output| write_summary(&result, identity, output));
            // The other ranks must not take for done what rank 0 could not write.
            agree(job.comm, written)?;
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

/// Simulates, and fills the tables on rank 0.
fn follow<C: Communicator>(
    model: &Model,
    policy: &Policy,
    options: &SimulateOptions,
    job: &Job<'_, C>,
    output: Option<&OutputDirectory>,
) -> Result<(Simulation, Counts, Vec<ResultTable>)> {
    let begun = on_rank_0(job.comm, || {
        let folder = output.map(OutputDirectory::tables).transpose()?;
        Ok((SimulationTables::new(model, folder.as_deref())?, folder))
    })?;
    let (mut tables, folder) = begun.unzip();
    let mut consume =
        |block| tables.as_mut().map_or(Ok(()), |tables: &mut SimulationTables<'_>| tables.consume(block));
    let (costs, effort) =
        cobre_sddp::simulate::<Highs, C>(&model.problem, policy, options, job, &mut consume)?;
    let finished = on_rank_0(job.comm, || {
        folder.flatten().as_deref().map_or(Ok(()), discard_earlier)?;
        tables.map_or_else(|| Ok(Vec::new()), SimulationTables::finish)
    })?;
    Ok((costs, effort, finished.unwrap_or_default()))
}

impl SimulateRequest {
    fn plan(&self, case: &Case, policy: &Policy) -> Result<(Model, SimulateOptions)> {
        let model = case.model()?;
        policy.check_compatible(&model.problem)?;
        let mut options: SimulateOptions = case.simulate_options();
        options.scenarios = self.scenarios.unwrap_or(options.scenarios);
        options.seed = self.seed.unwrap_or(options.seed);
        options.threads = self.threads.unwrap_or_else(available_threads);
        options.validate()?;
        Ok((model, options))
    }
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

/// What makes a simulation the one it is; the same for any number of threads and ranks.
fn simulation_identity(options: &SimulateOptions, problem: &Problem, policy: &Policy) -> Result<Value> {
    Ok(json!({
        "scenarios": options.scenarios,
        "seed": options.seed,
        "problem_sha256": fingerprint(problem),
        "policy_cuts_sha256": sha256(&policy_files::cuts_table(policy, None)?.to_bytes()?),
    }))
}
