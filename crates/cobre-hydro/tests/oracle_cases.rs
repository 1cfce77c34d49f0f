//! The cases of the contract: which load, which are refused by name.

mod common;

use std::fs;

use cobre_hydro::Case;
use serde_json::json;

#[test]
fn supported_cases_load() {
    let Some(shared) = common::shared() else { return };
    let cases = shared.join("cases");
    for (name, stages, states) in [
        ("d01-thermal-dispatch", 2, 0),
        ("d02-single-hydro", 2, 1),
        ("d03-two-hydro-cascade", 3, 2),
        ("d04-transmission", 2, 2),
        ("d09-multi-deficit", 2, 0),
        ("d14-block-factors", 2, 0),
        ("d27-per-stage-thermal-cost", 2, 0),
        ("4ree", 12, 4),
    ] {
        let case = Case::load(&cases.join(name), None).unwrap_or_else(|error| panic!("{error}"));
        let model = case.model().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((model.problem.nodes.len(), model.problem.states.len()), (stages, states), "{name}");
        assert_eq!(case.name(), name);
        assert_eq!(case.tables().unwrap().len(), 8);
    }
}

#[test]
fn unsupported_cases_are_refused_by_name() {
    let Some(shared) = common::shared() else { return };
    let cases = shared.join("cases");
    for (name, feature) in [
        ("d05-fpha-constant-head", "FPHA"),
        ("d06-fpha-variable-head", "FPHA"),
        ("d13-generic-constraint", "generic constraints"),
    ] {
        let error = Case::load(&cases.join(name), None).unwrap_err();
        assert!(error.problems().iter().all(|problem| problem.expected.contains("not supported")), "{error}");
        assert!(error.to_string().contains(feature), "{error}");
    }
}

#[test]
fn block_factors_and_cost_overrides_arrive() {
    let Some(shared) = common::shared() else { return };
    let cases = shared.join("cases");
    let case = Case::load(&cases.join("d14-block-factors"), None).unwrap();
    let lp = case.model().unwrap().problem.nodes[0].lp.clone();
    let load = |block: i32| lp.row_lower[common::row(&lp, &format!("load[bus 0, block {block}]"))];
    assert!((load(1) / load(0) - 1.5).abs() < 1e-12);
    let case = Case::load(&cases.join("d27-per-stage-thermal-cost"), None).unwrap();
    let model = case.model().unwrap();
    let cost = |stage: usize| model.problem.nodes[stage].lp.col_cost.clone();
    let lp = &model.problem.nodes[1].lp;
    assert_eq!(cost(1)[common::column(lp, "generation[thermal 0, block 0]")], 120.0 * 730.0);
    assert_ne!(cost(0), cost(1));
}

#[test]
fn supplied_openings_are_used_as_they_are() {
    let Some(shared) = common::shared() else { return };
    let mut files = common::CaseFiles::new();
    files.documents.clear();
    files.texts.clear();
    let root = files.write();
    copy(&shared.join("cases/4ree"), &root);
    fs::copy(shared.join("4ree-noise_openings.parquet"), root.join("scenarios/noise_openings.parquet"))
        .unwrap();
    let overrides = json!({"training": {"forward_passes": 7}, "simulation": {"num_scenarios": 3}});
    let case = Case::load(&root, Some(&overrides)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((case.train_options().forward_passes, case.train_options().seed), (7, 42));
    assert_eq!(case.simulate_options().scenarios, 3);
    let (name, openings) = case.tables().unwrap().into_iter().next_back().unwrap();
    assert_eq!((name, openings.num_rows()), ("openings", 480));
    assert_eq!(case.model().unwrap().problem.nodes[0].openings.len(), 10);
    assert!(case.snapshot().files.keys().any(|file| file.ends_with("noise_openings.parquet")));
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
