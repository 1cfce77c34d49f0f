//! Every mistake is found, named, and reported with the others.

mod common;

use cobre_core::ErrorKind;
use common::CaseFiles;
use serde_json::{Value, json};

#[test]
fn the_small_case_is_valid() {
    let case = CaseFiles::new().load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(case.name(), "small");
    assert!(case.is_training_enabled() && !case.is_simulation_enabled());
    assert_eq!(case.train_options().seed, 42);
    assert_eq!(case.snapshot().files.len(), 10);
}

#[test]
fn five_mistakes_are_one_error_that_names_all_five() {
    let mut case = CaseFiles::new();
    case.at("config.json", "/training")["forward_pases"] = json!(3);
    *case.at("system/thermals.json", "/thermals/0/cost_per_mwh") = json!("ten");
    *case.at("system/hydros.json", "/hydros/0/bus_id") = json!(9);
    *case.at("system/thermals.json", "/thermals/1/generation/max_mw") = json!(-5.0);
    let inflow = case.texts["scenarios/inflow_seasonal_stats.csv"].replace("2,1,10,2\n", "");
    case.text("scenarios/inflow_seasonal_stats.csv", &inflow);
    let error = case.load().unwrap_err();
    let found: Vec<(ErrorKind, &str, &str)> =
        error.problems().iter().map(|p| (p.kind, p.file.as_str(), p.field.as_str())).collect();
    let expected = [
        (ErrorKind::SchemaViolation, "config.json", "training.forward_pases"),
        (ErrorKind::TypeMismatch, "system/thermals.json", "cost_per_mwh"),
        (ErrorKind::OutOfRange, "system/thermals.json", "generation.max_mw"),
        (ErrorKind::MissingReference, "system/hydros.json", "bus_id"),
        (ErrorKind::CoverageMismatch, "scenarios/inflow_seasonal_stats.csv", "stage_id"),
    ];
    assert_eq!(found, expected, "{error}");
    let text = error.to_string();
    for words in
        ["5 problems", "did you mean `forward_passes`?", "\"ten\"", "-5.0", "hydro 2", "known ids: 0"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn mistakes_in_other_files_do_not_hide_each_other() {
    let mut case = CaseFiles::new();
    case.documents.remove("stages.json");
    case.text("system/buses.json", "{ not json");
    case.documents.remove("system/buses.json");
    *case.at("system/hydros.json", "/hydros/1/reservoir/max_storage_hm3") = json!(null);
    case.text("scenarios/load_seasonal_stats.csv", "bus_id,stage_id,mean_mw,std_mw\n0,0,inf,0\n0,1,x,0\n");
    let kinds: Vec<ErrorKind> = case.problems().iter().map(|problem| problem.kind).collect();
    let expected = [
        ErrorKind::MissingFile,
        ErrorKind::ParseError,
        ErrorKind::SchemaViolation,
        ErrorKind::OutOfRange,
        ErrorKind::TypeMismatch,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn features_are_refused_by_name() {
    let edits: [(&str, &str, Value, &str); 14] = [
        ("system/hydros.json", "/hydros/0/generation/model", json!("fpha"), "FPHA"),
        ("system/hydros.json", "/hydros/0/generation/model", json!("linearized_head"), "head"),
        ("system/hydros.json", "/hydros/0/evaporation", json!({"coefficients_mm": []}), "evaporation"),
        ("system/hydros.json", "/hydros/0/filling", json!({"start_stage_id": 1}), "filling"),
        ("system/hydros.json", "/hydros/0/exit_stage_id", json!(2), "leaves"),
        ("system/thermals.json", "/thermals/0/gnl_config", json!({"lag_stages": 1}), "gnl"),
        ("stages.json", "/policy_graph/type", json!("cyclic"), "cyclic"),
        ("stages.json", "/stages/0/sampling_method", json!("lhs"), "sampling method"),
        ("stages.json", "/stages/0/block_mode", json!("sequential"), "blocks"),
        ("stages.json", "/stages/0/state_variables", json!({"inflow_lags": true}), "PAR"),
        ("config.json", "/policy", json!({"boundary": {"path": "x", "source_stage": 1}}), "terminal"),
        ("config.json", "/policy", json!({"mode": "warm_start"}), "policy"),
        ("config.json", "/training/scenario_source", json!({"inflow": {"scheme": "external"}}), "in_sample"),
        ("initial_conditions.json", "/past_inflows", json!([{"hydro_id": 1, "values_m3s": [1.0]}]), "PAR"),
    ];
    for (file, pointer, value, words) in edits {
        let mut case = CaseFiles::new();
        put(&mut case, file, pointer, value);
        let problems = case.problems();
        assert_eq!(problems.len(), 1, "{pointer}: {problems:#?}");
        let problem = &problems[0];
        assert_eq!((problem.kind, problem.file.as_str()), (ErrorKind::SchemaViolation, file), "{problem}");
        assert!(problem.expected.contains(words) && problem.expected.contains("not supported"), "{problem}");
    }
}

#[test]
fn files_of_features_are_refused_unless_empty() {
    let mut case = CaseFiles::new();
    case.set("system/non_controllable_sources.json", json!({"non_controllable_sources": []}));
    case.text("scenarios/inflow_ar_coefficients.csv", "hydro_id,stage_id,lag,coefficient\n");
    assert!(case.load().is_ok());
    case.text("scenarios/inflow_ar_coefficients.csv", "hydro_id,stage_id,lag,coefficient\n1,0,1,0.5\n");
    let problem = case.refused(ErrorKind::SchemaViolation, "scenarios/inflow_ar_coefficients.csv", "");
    assert!(problem.expected.contains("PAR"));
}

#[test]
fn unknown_files_are_refused_and_notes_are_not() {
    let mut case = CaseFiles::new();
    case.text("README.md", "notes");
    case.text(".hidden", "");
    case.text("output/training/x.parquet", "");
    assert!(case.load().is_ok());
    case.text("constraints/thermal_bound.csv", "thermal_id\n");
    let problem = case.refused(ErrorKind::SchemaViolation, "constraints/thermal_bound.csv", "");
    assert_eq!(problem.suggestion.as_deref(), Some("did you mean `constraints/thermal_bounds.csv`?"));
}

/// Puts a value at a pointer, whose last part may be new.
fn put(case: &mut CaseFiles, file: &str, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match case.at(file, parent) {
        Value::Array(list) => {
            let index: usize = key.parse().unwrap();
            list.resize(list.len().max(index + 1), Value::Null);
            list[index] = value;
        }
        object => object[key] = value,
    }
}

fn check_edits(file: &str, edits: &[(&str, Value, ErrorKind, &str)]) {
    for (pointer, value, kind, field) in edits {
        let mut case = CaseFiles::new();
        put(&mut case, file, pointer, value.clone());
        let problems = case.problems();
        let problem = &problems[0];
        assert_eq!((problem.kind, problem.file.as_str()), (*kind, file), "{pointer}: {problems:#?}");
        assert!(field.is_empty() || problem.field == *field, "{problem}");
    }
}

#[test]
fn mistakes_of_the_settings_have_their_kind() {
    use ErrorKind::{InvalidEnum, MissingReference, OutOfRange, StageMismatch, TypeMismatch};
    check_edits(
        "config.json",
        &[
            ("/training/stopping_mode", json!("anny"), InvalidEnum, "training.stopping_mode"),
            ("/training/forward_passes", json!(0), OutOfRange, "training.forward_passes"),
            ("/training/forward_passes", json!(1.5), TypeMismatch, "training.forward_passes"),
        ],
    );
    check_edits(
        "stages.json",
        &[
            ("/stages/1/id", json!(7), StageMismatch, ""),
            ("/stages/1/start_date", json!("2024-02-02"), StageMismatch, "start_date"),
            ("/stages/2/end_date", json!("2024-02-30"), TypeMismatch, "end_date"),
            ("/stages/0/season_id", json!(3), MissingReference, "season_id"),
        ],
    );
    check_edits(
        "penalties.json",
        &[
            ("/hydro/spillage_cost", json!(0.0), OutOfRange, "hydro.spillage_cost"),
            ("/bus/excess_cost", json!(1e300), OutOfRange, "bus.excess_cost"),
        ],
    );
}

#[test]
fn mistakes_of_the_system_have_their_kind() {
    use ErrorKind::{CapacityViolation, DuplicateId, MissingReference, PhysicalConstraint, SchemaViolation};
    let bus = json!({"id": 0, "name": "B1"});
    check_edits("system/buses.json", &[("/buses/1", bus, DuplicateId, "id")]);
    check_edits(
        "system/hydros.json",
        &[
            ("/hydros/1/downstream_id", json!(1), PhysicalConstraint, "downstream_id"),
            ("/hydros/1/downstream_id", json!(5), MissingReference, "downstream_id"),
            ("/hydros/0/reservoir/min_storage_hm3", json!(300.0), CapacityViolation, "min_storage_hm3"),
            ("/hydros/0/penalties", json!({"spilage_cost": 1}), SchemaViolation, "penalties.spilage_cost"),
        ],
    );
    check_edits(
        "initial_conditions.json",
        &[
            ("/storage/0/value_hm3", json!(201), PhysicalConstraint, "value_hm3"),
            ("/storage/0/hydro_id", json!(2), DuplicateId, ""),
        ],
    );
}

#[test]
fn deficit_tiers_ascend_and_the_last_has_no_end() {
    let mut case = CaseFiles::new();
    *case.at("penalties.json", "/bus/deficit_segments") =
        json!([{"depth_mw": 10.0, "cost": 900.0}, {"depth_mw": null, "cost": 800.0}]);
    case.refused(ErrorKind::PenaltyConsistency, "penalties.json", "bus.deficit_segments[1].cost");
    *case.at("penalties.json", "/bus/deficit_segments") = json!([{"depth_mw": 10.0, "cost": 900.0}]);
    case.refused(ErrorKind::PenaltyConsistency, "penalties.json", "bus.deficit_segments[0].depth_mw");
}

#[test]
fn duplicate_keys_are_refused() {
    let mut case = CaseFiles::new();
    case.documents.remove("system/lines.json");
    case.text("system/lines.json", r#"{"lines": [], "lines": []}"#);
    case.refused(ErrorKind::SchemaViolation, "system/lines.json", "lines");
}

#[test]
fn overrides_are_merged_and_validated() {
    let root = CaseFiles::new();
    let path = root.write();
    let overrides = json!({"training": {"forward_passes": 9, "scenario_source": {"seed": 5}}});
    let case = cobre_hydro::Case::load(&path, Some(&overrides)).unwrap();
    assert_eq!((case.train_options().forward_passes, case.train_options().seed), (9, 5));
    assert_eq!(case.simulate_options().seed, 5);
    assert_eq!(case.config()["training"]["forward_passes"], json!(9));
    let error = cobre_hydro::Case::load(&path, Some(&json!({"trainin": {}}))).unwrap_err();
    assert_eq!(error.problems()[0].suggestion.as_deref(), Some("did you mean `training`?"));
    assert!(cobre_hydro::Case::load(&path, Some(&json!([1]))).is_err());
    let error = cobre_hydro::Case::load(&path.join("nowhere"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingFile);
}

#[test]
fn bounds_are_checked_after_overrides() {
    let mut case = CaseFiles::new();
    case.text("constraints/thermal_bounds.csv", "\u{feff}thermal_id,stage_id,min_generation_mw\n0,1,150\n");
    let problem =
        case.refused(ErrorKind::CapacityViolation, "constraints/thermal_bounds.csv", "min_generation_mw");
    assert_eq!(problem.entity, "row 1");
    case.text("constraints/thermal_bounds.csv", "thermal_id,stage_id,cost_per_mwh\n0,1,1\n0,1,2\n");
    case.refused(ErrorKind::DuplicateId, "constraints/thermal_bounds.csv", "thermal_id");
    case.text("constraints/thermal_bounds.csv", "thermal_id,stage_id,block_id,cost_per_mwh\n0,1,4,2\n");
    case.refused(ErrorKind::MissingReference, "constraints/thermal_bounds.csv", "block_id");
    case.text("constraints/thermal_bounds.csv", "thermal_id,stage_id,cost_per_mwh\n0,3,1\n");
    case.refused(ErrorKind::StageMismatch, "constraints/thermal_bounds.csv", "stage_id");
    case.texts.remove("constraints/thermal_bounds.csv");
    case.text("constraints/hydro_bounds.csv", "hydro_id,stage_id,max_diversion_m3s\n1,0,5\n");
    case.refused(ErrorKind::IncompatibleSettings, "constraints/hydro_bounds.csv", "max_diversion_m3s");
}

#[test]
fn transitions_are_the_plain_chain_or_refused() {
    let mut case = CaseFiles::new();
    let arc = |from: i32, to: i32, p: f64| json!({"source_id": from, "target_id": to, "probability": p});
    case.at("stages.json", "/policy_graph")["transitions"] = json!([arc(1, 2, 1.0), arc(0, 1, 1.0)]);
    assert!(case.load().is_ok());
    case.at("stages.json", "/policy_graph")["transitions"] = json!([arc(0, 1, 1.0)]);
    case.refused(ErrorKind::CoverageMismatch, "stages.json", "policy_graph.transitions");
    case.at("stages.json", "/policy_graph")["transitions"] = json!([arc(0, 1, 0.5), arc(1, 2, 1.0)]);
    case.refused(ErrorKind::SchemaViolation, "stages.json", "policy_graph.transitions[0].probability");
    case.at("stages.json", "/policy_graph")["transitions"] = json!([arc(0, 2, 1.0), arc(1, 2, 1.0)]);
    case.refused(ErrorKind::SchemaViolation, "stages.json", "policy_graph.transitions[0].target_id");
}
