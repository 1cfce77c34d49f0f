//! A small valid case in memory, to be edited and written to a temporary directory.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cobre_core::{Error, ErrorKind, Problem};
use cobre_hydro::{Case, Model};
use cobre_lp::StageLp;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Files of a case by their path.
pub(crate) struct CaseFiles {
    pub(crate) documents: BTreeMap<String, Value>,
    /// Tables as CSV and files of any other kind.
    pub(crate) texts: BTreeMap<String, String>,
    directory: TempDir,
}

/// Hours of every block: one m3/s is one hm3.
pub(crate) const HOURS: f64 = 1e6 / 3600.0;

pub(crate) fn hydro(id: i32, downstream: Option<i32>) -> Value {
    json!({
        "id": id, "name": format!("H{id}"), "bus_id": 0, "downstream_id": downstream,
        "reservoir": {"min_storage_hm3": 0.0, "max_storage_hm3": 200.0},
        "outflow": {"min_outflow_m3s": 0.0, "max_outflow_m3s": null},
        "generation": {
            "model": "constant_productivity", "productivity_mw_per_m3s": 2.0,
            "min_turbined_m3s": 0.0, "max_turbined_m3s": 50.0,
            "min_generation_mw": 0.0, "max_generation_mw": 80.0
        }
    })
}

fn stage(id: i32, start: &str, end: &str) -> Value {
    let blocks = json!([{"id": 0, "name": "ALL", "hours": HOURS}]);
    json!({"id": id, "start_date": start, "end_date": end, "blocks": blocks, "num_scenarios": 2})
}

impl CaseFiles {
    /// Two hydros in a cascade (1 above 2), two thermals, one bus, three stages of one block and two openings.
    pub(crate) fn new() -> Self {
        let mut case =
            Self { documents: BTreeMap::new(), texts: BTreeMap::new(), directory: TempDir::new().unwrap() };
        let rules = json!([{"type": "iteration_limit", "limit": 10}]);
        case.set("config.json", json!({"training": {"forward_passes": 1, "stopping_rules": rules}}));
        case.set(
            "penalties.json",
            json!({
                "bus": {"deficit_segments": [{"depth_mw": null, "cost": 1000.0}], "excess_cost": 0.5},
                "line": {"exchange_cost": 0.25},
                "hydro": {
                    "spillage_cost": 0.01, "fpha_turbined_cost": 0.01, "diversion_cost": 0.02,
                    "storage_violation_below_cost": 700.0, "filling_target_violation_cost": 1.0,
                    "turbined_violation_below_cost": 500.0, "outflow_violation_below_cost": 501.0,
                    "outflow_violation_above_cost": 502.0, "generation_violation_below_cost": 503.0,
                    "evaporation_violation_cost": 1.0, "water_withdrawal_violation_cost": 504.0
                },
                "non_controllable_source": {"curtailment_cost": 0.005}
            }),
        );
        let stages = json!([
            stage(0, "2024-01-01", "2024-02-01"),
            stage(1, "2024-02-01", "2024-03-01"),
            stage(2, "2024-03-01", "2024-04-01"),
        ]);
        let graph = json!({"type": "finite_horizon", "annual_discount_rate": 0.1});
        case.set("stages.json", json!({"policy_graph": graph, "stages": stages}));
        let storage = json!([{"hydro_id": 1, "value_hm3": 100.0}, {"hydro_id": 2, "value_hm3": 60.0}]);
        case.set("initial_conditions.json", json!({"storage": storage, "filling_storage": []}));
        case.set("system/buses.json", json!({"buses": [{"id": 0, "name": "B0"}]}));
        case.set("system/lines.json", json!({"lines": []}));
        case.set("system/hydros.json", json!({"hydros": [hydro(1, Some(2)), hydro(2, None)]}));
        let thermal = |id: i32, cost: f64| {
            let generation = json!({"min_mw": 0.0, "max_mw": 100.0});
            json!({"id": id, "name": format!("T{id}"), "bus_id": 0, "cost_per_mwh": cost, "generation": generation})
        };
        case.set("system/thermals.json", json!({"thermals": [thermal(0, 10.0), thermal(1, 50.0)]}));
        let rows = |row: fn(i32) -> String| (0..3).map(row).collect::<Vec<_>>().join("\n") + "\n";
        let inflow = rows(|stage| format!("1,{stage},40,5\n2,{stage},10,2"));
        let inflow = format!("hydro_id,stage_id,mean_m3s,std_m3s\n{inflow}");
        let load = format!("bus_id,stage_id,mean_mw,std_mw\n{}", rows(|stage| format!("0,{stage},150,0")));
        case.text("scenarios/inflow_seasonal_stats.csv", &inflow);
        case.text("scenarios/load_seasonal_stats.csv", &load);
        case
    }

    pub(crate) fn set(&mut self, file: &str, document: Value) {
        self.documents.insert(file.to_owned(), document);
    }

    pub(crate) fn text(&mut self, file: &str, text: &str) {
        self.texts.insert(file.to_owned(), text.to_owned());
    }

    /// The value at a JSON pointer of a document, to be changed.
    pub(crate) fn at(&mut self, file: &str, pointer: &str) -> &mut Value {
        let document = self.documents.get_mut(file).unwrap_or_else(|| panic!("no {file}"));
        document.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {file}"))
    }

    /// Writes the files and gives the directory.
    pub(crate) fn write(&self) -> PathBuf {
        let root = self.directory.path().join("small");
        let _ = fs::remove_dir_all(&root);
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, document) in &self.documents {
            write(file, &serde_json::to_string_pretty(document).unwrap());
        }
        for (file, text) in &self.texts {
            write(file, text);
        }
        root
    }

    pub(crate) fn load(&self) -> Result<Case, Error> {
        Case::load(&self.write(), None)
    }

    pub(crate) fn model(&self) -> Model {
        self.load().unwrap_or_else(|error| panic!("{error}")).model().unwrap()
    }

    /// The problems of a case that must not load.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.load().expect_err("the case must be refused").problems().to_vec()
    }

    /// Asserts that exactly one problem is found, of a kind, at a file and field.
    pub(crate) fn refused(&self, kind: ErrorKind, file: &str, field: &str) -> Problem {
        let problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let problem = problems.into_iter().next().unwrap();
        let found = (problem.kind, problem.file.as_str(), problem.field.as_str());
        assert_eq!(found, (kind, file, field), "{problem}");
        problem
    }
}

pub(crate) fn column(lp: &StageLp, name: &str) -> usize {
    let found = lp.col_names.iter().position(|column| column == name);
    found.unwrap_or_else(|| panic!("no column {name} in {:?}", lp.col_names))
}

pub(crate) fn row(lp: &StageLp, name: &str) -> usize {
    let found = lp.row_names.iter().position(|row| row == name);
    found.unwrap_or_else(|| panic!("no row {name} in {:?}", lp.row_names))
}

/// The entries of a row as (column name, value), in column order.
pub(crate) fn entries(lp: &StageLp, name: &str) -> Vec<(String, f64)> {
    let row = row(lp, name);
    let mut found = Vec::new();
    for (column, name) in lp.col_names.iter().enumerate() {
        for (_, value) in lp.matrix.column(column).filter(|(at, _)| *at == row) {
            found.push((name.to_owned(), value));
        }
    }
    found
}

/// Asserts the entries of a row, in any order.
pub(crate) fn assert_row(lp: &StageLp, name: &str, expected: &[(&str, f64)]) {
    let mut found = entries(lp, name);
    let mut expected: Vec<(String, f64)> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    let same = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9);
    assert!(same, "row {name}: {found:?}, expected {expected:?}");
}

/// The shared cases, when this checkout has them beside it; says so aloud when it has not.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: ../shared is absent");
    None
}
