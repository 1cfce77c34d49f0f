//! A case made again of what was read is the same case, whatever became of its directory.

mod common;

use std::fs::{self, File};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array};
use arrow::record_batch::RecordBatch;
use cobre_core::ErrorKind;
use cobre_hydro::{Case, Snapshot};
use common::CaseFiles;
use parquet::arrow::ArrowWriter;
use serde_json::json;

/// The small case with a Parquet table, an empty list of what is not modelled, a note, and a folder of results.
fn rich_case() -> CaseFiles {
    let mut case = CaseFiles::new();
    case.set("system/pumping_stations.json", json!({"pumping_stations": []}));
    case.text("scenarios/inflow_history.csv", "hydro_id,date,value_m3s\n");
    case.text("README.md", "A note.");
    case.text("output/run.json", "{}");
    case
}

fn write_bounds(case: &CaseFiles, cost: f64) -> std::path::PathBuf {
    let root = case.write();
    fs::create_dir_all(root.join("constraints")).unwrap();
    let columns: [(&str, ArrayRef); 3] = [
        ("thermal_id", Arc::new(Int32Array::from(vec![1]))),
        ("stage_id", Arc::new(Int32Array::from(vec![2]))),
        ("cost_per_mwh", Arc::new(Float64Array::from(vec![cost]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(root.join("constraints/thermal_bounds.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    root
}

fn problem(case: &Case) -> String {
    format!("{:?}", case.model().unwrap().problem)
}

#[test]
fn a_case_outlives_its_directory() {
    let files = rich_case();
    let overrides = json!({"training": {"forward_passes": 3}});
    let root = write_bounds(&files, 7.0);
    let case = Case::load(&root, Some(&overrides)).unwrap_or_else(|error| panic!("{error}"));
    fs::remove_dir_all(&root).unwrap();
    let twin = Case::from_snapshot(case.snapshot().clone()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((twin.name(), twin.directory()), (case.name(), root.as_path()));
    assert_eq!((twin.config(), twin.train_options().forward_passes), (case.config(), 3));
    assert_eq!(problem(&twin), problem(&case));
    assert_eq!(twin.tables().unwrap(), case.tables().unwrap());
    assert_eq!(twin.snapshot(), case.snapshot());
}

#[test]
fn a_snapshot_holds_what_was_read_and_not_what_lies_there_later() {
    let files = rich_case();
    let root = write_bounds(&files, 7.0);
    let case = Case::load(&root, None).unwrap();
    let Snapshot { present, files: contents, .. } = case.snapshot();
    assert!(present.iter().all(|file| contents.contains_key(file)), "{:?}", case.snapshot());
    for file in
        ["system/pumping_stations.json", "scenarios/inflow_history.csv", "constraints/thermal_bounds.parquet"]
    {
        assert_eq!(contents[file].as_ref(), fs::read(root.join(file)).unwrap(), "{file}");
    }
    assert!(!present.contains("README.md") && !present.iter().any(|file| file.starts_with("output")));

    let before = (case.snapshot().clone(), problem(&case));
    write_bounds(&files, 9.0);
    fs::write(root.join("config.json"), "{ no longer").unwrap();
    let twin = Case::from_snapshot(case.snapshot().clone()).unwrap();
    assert_eq!((twin.snapshot().clone(), problem(&twin)), before);
}

#[test]
fn a_snapshot_is_validated_like_a_directory() {
    let case = rich_case().load().unwrap();
    let refused = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = case.snapshot().clone();
        change(&mut snapshot);
        let error = Case::from_snapshot(snapshot).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error}");
        error.problems()[0].clone()
    };
    let overrides = json!({"training": {"forward_passes": 0}});
    let problem = refused(&|snapshot| snapshot.overrides = Some(overrides.clone()));
    assert_eq!((problem.kind, problem.file.as_str()), (ErrorKind::OutOfRange, "config.json"));
    let problem = refused(&|snapshot| snapshot.present.retain(|file| file != "penalties.json"));
    assert_eq!((problem.kind, problem.file.as_str()), (ErrorKind::MissingFile, "penalties.json"));
    let problem = refused(&|snapshot| drop(snapshot.files.remove("initial_conditions.json")));
    assert_eq!((problem.kind, problem.file.as_str()), (ErrorKind::ParseError, "initial_conditions.json"));
    let problem = refused(&|snapshot| snapshot.present.extend(["system/hydro.json".to_owned()]));
    assert_eq!((problem.kind, problem.file.as_str()), (ErrorKind::SchemaViolation, "system/hydro.json"));
    let broken: Arc<[u8]> = Arc::from(&b"\xff"[..]);
    let problem = refused(&|snapshot| {
        snapshot.files.insert("scenarios/inflow_history.csv".to_owned(), Arc::clone(&broken));
    });
    assert_eq!(problem.file, "scenarios/inflow_history.csv");
}
