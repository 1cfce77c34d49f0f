//! Training and simulation of whole cases, and the files they write.

mod common;

use std::path::{Path, PathBuf};

use cobre::policy_files::load;
use cobre::run_record::{RunRecord, Section};
use cobre::{
    Case, Job, LocalBackend, SimulateRequest, Stopping, StoppingMode, StoppingRule, Table, TrainRequest,
    TrainingResult, simulate, tables, train,
};
use cobre_core::{CancelToken, ErrorKind, Event, EventSink, Phase};
use common::{bits, files, names, skip};

/// Lower bounds of the development cases, in $, with absolute tolerances: the contract of the case format.
const ORACLES: [(&str, f64, f64); 10] = [
    ("d01-thermal-dispatch", 182_500.0, 1e-6),
    ("d02-single-hydro", 23_635_000.0 / 9.0, 1e-4),
    ("d03-two-hydro-cascade", 4_171_000.0 / 3.0, 1e-4),
    ("d04-transmission", 5_263_443_883.0 / 657.0, 1e-4),
    ("d05-fpha-constant-head", 23_635_000.0 / 9.0, 1e-6),
    ("d06-fpha-variable-head", 732_952_154.0 / 225.0, 1e-4),
    ("d09-multi-deficit", 80_738_000.0, 1e-6),
    ("d13-generic-constraint", 15_330_000.0, 1e-2),
    ("d14-block-factors", 176_900.0, 1e-4),
    ("d27-per-stage-thermal-cost", 10_950_000.0, 1e-4),
];

fn ignore(_: Event) {}

fn on_job<T>(
    events: &dyn EventSink,
    cancel: &CancelToken,
    work: impl FnOnce(&Job<'_, LocalBackend>) -> T,
) -> T {
    work(&Job { comm: &LocalBackend, events, cancel })
}

fn quietly<T>(work: impl FnOnce(&Job<'_, LocalBackend>) -> T) -> T {
    on_job(&ignore, &CancelToken::new(), work)
}

fn iterations(limit: u64) -> Stopping {
    Stopping { rules: vec![StoppingRule::IterationLimit(limit)], mode: StoppingMode::Any }
}

fn four_reservoirs(test: &str) -> Option<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/four_reservoirs");
    if !directory.exists() {
        skip(test, "examples/four_reservoirs is not there");
        return None;
    }
    Some(Case::load(&directory, None).unwrap())
}

fn request(limit: u64, threads: usize, output_dir: Option<PathBuf>) -> TrainRequest {
    TrainRequest {
        stopping: Some(iterations(limit)),
        threads: Some(threads),
        output_dir,
        ..TrainRequest::default()
    }
}

fn trained(case: &Case, request: &TrainRequest) -> TrainingResult {
    quietly(|job| train(case, request, job)).unwrap()
}

#[test]
fn the_development_cases_reach_their_optimum() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cases");
    if !folder.exists() {
        return skip("the_development_cases_reach_their_optimum", "the cases are not there");
    }
    for (name, expected, tolerance) in ORACLES {
        let case = match Case::load(&folder.join(name), None) {
            Ok(case) => case,
            Err(error) => {
                let unsupported = |problem: &cobre_core::Problem| problem.expected.contains("not supported");
                assert!(error.problems().iter().all(unsupported), "{name}: {error}");
                skip(name, "the case has features that are not supported");
                continue;
            }
        };
        let result = trained(&case, &TrainRequest::default());
        let tolerance = tolerance.max(1e-9 * expected.abs());
        let bound = result.lower_bound();
        assert!((bound - expected).abs() <= tolerance, "{name}: {bound} where {expected} is expected");
        let request = SimulateRequest { scenarios: Some(1), ..SimulateRequest::default() };
        let simulated = quietly(|job| simulate(&case, &result.policy.policy, &request, job)).unwrap();
        let cost = simulated.costs.mean_cost;
        assert!((cost - bound).abs() <= 1e-9 * bound.abs(), "{name}: cost {cost}, bound {bound}");
    }
}

#[test]
fn files_are_the_same_for_any_number_of_threads() {
    let Some(case) = four_reservoirs("files_are_the_same_for_any_number_of_threads") else { return };
    let folder = tempfile::tempdir().unwrap();
    let written = |threads: usize| {
        let out = folder.path().join(threads.to_string());
        let result = trained(&case, &request(4, threads, Some(out.clone())));
        let request = SimulateRequest {
            scenarios: Some(150),
            threads: Some(threads),
            output_dir: Some(out.clone()),
            ..SimulateRequest::default()
        };
        quietly(|job| simulate(&case, &result.policy.policy, &request, job)).unwrap();
        for timed in ["timings.parquet", "checkpoint.bin"] {
            std::fs::remove_file(out.join("training").join(timed)).unwrap();
        }
        std::fs::remove_file(out.join("run.json")).unwrap();
        files(&out)
    };
    let one = written(1);
    let paths: Vec<String> = one.iter().map(|(path, _)| path.display().to_string()).collect();
    for expected in ["policy/cuts.parquet", "policy/policy.json", "training/convergence.parquet"] {
        assert!(paths.contains(&expected.to_owned()), "{paths:?}");
    }
    for (left, right) in one.iter().zip(written(3)) {
        assert_eq!(left.0, right.0);
        assert!(left.1 == right.1, "{} differs", left.0.display());
    }
}

#[test]
fn files_hold_what_memory_holds() {
    let Some(case) = four_reservoirs("files_hold_what_memory_holds") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let result = trained(&case, &request(3, 2, Some(out.clone())));
    assert_eq!(bits(&load(&out.join("policy")).unwrap()), bits(&result.policy));
    let convergence = Table::read(&out.join("training/convergence.parquet")).unwrap();
    assert_eq!(convergence.batches, tables::convergence(&result.convergence).unwrap().batches);

    let request = SimulateRequest { scenarios: Some(70), ..SimulateRequest::default() };
    let in_memory = quietly(|job| simulate(&case, &result.policy.policy, &request, job)).unwrap();
    let request = SimulateRequest { output_dir: Some(out.clone()), ..request };
    let in_files = quietly(|job| simulate(&case, &result.policy.policy, &request, job)).unwrap();
    assert_eq!(in_memory.costs, in_files.costs);
    assert_eq!(in_memory.tables.len(), in_files.tables.len());
    for (left, right) in in_memory.tables.iter().zip(&in_files.tables) {
        let [left, right] = [left, right].map(|table| table.read().unwrap());
        assert_eq!(left.rows(), right.rows());
        let whole = |table: &Table| arrow::compute::concat_batches(&table.schema, &table.batches).unwrap();
        assert_eq!(whole(&left).columns(), whole(&right).columns());
    }
    let record = RunRecord::read(&out.join("run.json")).unwrap();
    for section in [Section::Training, Section::Simulation] {
        let section = record.section(section).unwrap();
        assert_eq!(section["status"], "complete");
        assert!(section["inputs"]["config.json"].is_string() && section["finished"].is_string(), "{section}");
    }
    // Training again makes the simulation obsolete.
    trained(&case, &self::request(1, 2, Some(out.clone())));
    assert_eq!(names(&out), ["policy", "run.json", "training"]);
    assert_eq!(load(&out.join("policy")).unwrap().policy.iterations, 1);
}

#[test]
fn an_interrupted_training_is_written() {
    let Some(case) = four_reservoirs("an_interrupted_training_is_written") else { return };
    let folder = tempfile::tempdir().unwrap();
    let cancel = CancelToken::new();
    let stop_at_three = |event: Event| {
        if event.phase == Phase::Progress && event.iteration == 3 {
            cancel.cancel();
        }
    };
    let endless = request(u64::MAX, 2, Some(folder.path().to_owned()));
    let result = on_job(&stop_at_three, &cancel, |job| train(&case, &endless, job)).unwrap();
    assert_eq!(result.termination.as_str(), "interrupted");
    let stored = load(&folder.path().join("policy")).unwrap();
    assert_eq!(stored.policy.iterations, 3);
    assert_eq!(
        bits(&stored),
        bits(&trained(&case, &request(3, 1, None)).policy),
        "as if it had been asked for three"
    );
    let record = RunRecord::read(&folder.path().join("run.json")).unwrap();
    assert_eq!(record.section(Section::Training).unwrap()["status"], "interrupted");
}

#[test]
fn a_training_without_an_iteration_leaves_the_earlier_one() {
    let Some(case) = four_reservoirs("a_training_without_an_iteration_leaves_the_earlier_one") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let output = Some(folder.path().to_owned());
    trained(&case, &request(2, 2, output.clone()));
    let (policy, record) = (files(&folder.path().join("policy")), files(folder.path()));
    let cancel = CancelToken::new();
    cancel.cancel();
    let result = on_job(&ignore, &cancel, |job| train(&case, &request(9, 2, output), job)).unwrap();
    assert!(result.convergence.is_empty());
    assert_eq!(files(&folder.path().join("policy")), policy);
    assert_eq!(files(folder.path()), record);
}

#[test]
fn an_interrupted_simulation_leaves_the_earlier_one() {
    let Some(case) = four_reservoirs("an_interrupted_simulation_leaves_the_earlier_one") else { return };
    let folder = tempfile::tempdir().unwrap();
    let policy = trained(&case, &request(2, 2, None)).policy;
    let run = |scenarios: u64, events: &dyn EventSink, cancel: &CancelToken| {
        let output_dir = Some(folder.path().to_owned());
        let request =
            SimulateRequest { scenarios: Some(scenarios), output_dir, ..SimulateRequest::default() };
        on_job(events, cancel, |job| simulate(&case, &policy.policy, &request, job))
    };
    run(10, &ignore, &CancelToken::new()).unwrap();
    let before = files(&folder.path().join("simulation"));
    let cancel = CancelToken::new();
    let stop = |event: Event| {
        if event.phase == Phase::Progress {
            cancel.cancel();
        }
    };
    assert_eq!(run(5000, &stop, &cancel).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(files(&folder.path().join("simulation")), before);
    run(12, &ignore, &CancelToken::new()).unwrap();
    assert_eq!(Table::read(&folder.path().join("simulation/scenarios.parquet")).unwrap().rows(), 12);
}

#[test]
fn requests_that_cannot_be_are_refused_before_anything_is_written() {
    let Some(case) = four_reservoirs("requests_that_cannot_be_are_refused_before_anything_is_written") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let out = Some(folder.path().join("out"));
    let refused = |request: &TrainRequest| quietly(|job| train(&case, request, job)).unwrap_err().kind();
    assert_eq!(refused(&request(1, 0, out.clone())), ErrorKind::OutOfRange);
    assert_eq!(refused(&request(0, 1, out.clone())), ErrorKind::OutOfRange);
    let risk = Some(cobre::Risk::ExpectationCvar { alpha: 0.0, weight: 1.0 });
    assert_eq!(refused(&TrainRequest { risk, ..request(1, 1, out.clone()) }), ErrorKind::OutOfRange);
    let none = SimulateRequest { scenarios: Some(0), output_dir: out.clone(), ..SimulateRequest::default() };
    let policy = trained(&case, &request(1, 1, None)).policy;
    let error = quietly(|job| simulate(&case, &policy.policy, &none, job)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    let other = common::small_policy();
    let error =
        quietly(|job| simulate(&case, &other.policy, &SimulateRequest { output_dir: out, ..none }, job));
    assert_eq!(error.unwrap_err().kind(), ErrorKind::IncompatibleRuns);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_policy_goes_where_the_configuration_says() {
    let Some(case) = four_reservoirs("the_policy_goes_where_the_configuration_says") else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |config: serde_json::Value| {
        let case = Case::load(case.directory(), Some(&config)).unwrap();
        quietly(|job| train(&case, &request(1, 1, Some(folder.path().to_owned())), job))
    };
    for path in ["../elsewhere", "/tmp/elsewhere", "simulation", "."] {
        let refused = with(serde_json::json!({ "policy": { "path": path } }));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::IncompatibleSettings, "{path}");
    }
    let refused = with(serde_json::json!({ "training": { "enabled": false } }));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::IncompatibleSettings);
    assert!(names(folder.path()).is_empty());
    with(serde_json::json!({ "policy": { "path": "./mine" } })).unwrap();
    assert_eq!(names(folder.path()), ["mine", "run.json", "training"]);
}
