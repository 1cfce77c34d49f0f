//! The first layer: which files a case directory holds, and which it must not.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cobre_core::{Error, ErrorKind, Problem, Result};
use serde_json::Value;

use crate::json;
use crate::problems::{Place, Problems, did_you_mean, suggesting};
use crate::tables::{ColumnRule, Table};

/// JSON files that Cobre reads.
const DOCUMENTS: &[&str] = &[
    "config.json",
    "penalties.json",
    "stages.json",
    "initial_conditions.json",
    "system/buses.json",
    "system/lines.json",
    "system/hydros.json",
    "system/thermals.json",
    "scenarios/load_factors.json",
    "scenarios/correlation.json",
    "constraints/exchange_factors.json",
];

/// Tables that Cobre reads, as `.parquet` or `.csv`.
const TABLES: &[&str] = &[
    "scenarios/inflow_seasonal_stats",
    "scenarios/load_seasonal_stats",
    "scenarios/noise_openings",
    "constraints/thermal_bounds",
    "constraints/hydro_bounds",
    "constraints/line_bounds",
    "constraints/penalty_overrides_bus",
    "constraints/penalty_overrides_line",
    "constraints/penalty_overrides_hydro",
];

/// JSON files of the format whose feature is not modelled; fine only when their list is empty.
const REFUSED_DOCUMENTS: &[(&str, &str)] = &[
    ("system/non_controllable_sources.json", "non-controllable sources"),
    ("system/pumping_stations.json", "pumping stations"),
    ("system/energy_contracts.json", "energy contracts"),
    ("system/hydro_production_models.json", "production models by stage or season (FPHA)"),
    ("scenarios/non_controllable_factors.json", "non-controllable sources"),
    ("constraints/generic_constraints.json", "generic constraints"),
];

/// Tables of the format whose feature is not modelled; fine only without rows.
const REFUSED_TABLES: &[(&str, &str)] = &[
    ("system/hydro_geometry", "reservoir geometry (FPHA, evaporation)"),
    ("system/fpha_hyperplanes", "the FPHA production model"),
    ("scenarios/inflow_ar_coefficients", "inflow with autoregressive lags (PAR)"),
    ("scenarios/inflow_annual_component", "inflow with an annual component (PAR-A)"),
    ("scenarios/inflow_history", "fitting of inflow models to history"),
    ("scenarios/non_controllable_stats", "non-controllable sources"),
    ("scenarios/external_scenarios", "external scenarios"),
    ("scenarios/external_inflow_scenarios", "external scenarios"),
    ("scenarios/external_load_scenarios", "external scenarios"),
    ("scenarios/external_ncs_scenarios", "external scenarios"),
    ("constraints/generic_constraint_bounds", "generic constraints"),
    ("constraints/pumping_bounds", "pumping stations"),
    ("constraints/contract_bounds", "energy contracts"),
    ("constraints/ncs_bounds", "non-controllable sources"),
    ("constraints/penalty_overrides_ncs", "non-controllable sources"),
];

/// The directories that hold input.
const ROOMS: &[&str] = &["system", "scenarios", "constraints"];

/// Directories that hold results: never read, so they may stand beside the input.
const RESULT_ROOMS: &[&str] = &["output", "out", "results"];

/// The files of a case.
pub(crate) struct Folder<'a> {
    root: &'a Path,
    present: BTreeSet<String>,
    read: RefCell<BTreeSet<PathBuf>>,
    pub(crate) problems: &'a Problems,
}

impl<'a> Folder<'a> {
    /// Lists the directory and refuses what the format does not know or Cobre does not model.
    pub(crate) fn scan(root: &'a Path, problems: &'a Problems) -> Result<Self> {
        if !root.is_dir() {
            let problem = Problem {
                kind: ErrorKind::MissingFile,
                file: root.display().to_string(),
                entity: String::new(),
                field: String::new(),
                value: if root.exists() { "a file" } else { "nothing" }.to_owned(),
                expected: "a case directory".to_owned(),
                suggestion: None,
            };
            return Err(Error::from_problems("the case cannot be read", vec![problem]));
        }
        let mut folder = Self { root, present: BTreeSet::new(), read: RefCell::default(), problems };
        folder.list("")?;
        for room in ROOMS.iter().filter(|room| root.join(room).is_dir()) {
            folder.list(&format!("{room}/"))?;
        }
        for name in &folder.present {
            folder.check_known(name);
        }
        folder.refuse_features();
        Ok(folder)
    }

    fn list(&mut self, room: &str) -> Result<()> {
        let path = self.root.join(room);
        let failed = |source: std::io::Error| {
            let error = Error::new(ErrorKind::MissingFile, "a directory of the case cannot be listed");
            error.with("path", path.display().to_string()).caused_by(source)
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_room = room.is_empty() && ROOMS.contains(&name.as_str());
            if !is_room && !is_aside(&name, room.is_empty() && entry.path().is_dir()) {
                self.present.insert(format!("{room}{name}"));
            }
        }
        Ok(())
    }

    fn check_known(&self, name: &str) {
        let known = all_names();
        if known.iter().any(|candidate| candidate == name) {
            return;
        }
        let mut problem = Place::file(name).problem(
            ErrorKind::SchemaViolation,
            "",
            "an unknown file or folder",
            "only files of the case format (and README files, hidden files, an `output` folder)",
        );
        problem.suggestion = did_you_mean(name, known.iter().map(String::as_str));
        self.problems.add(problem);
    }

    fn refuse_features(&self) {
        for (file, feature) in REFUSED_DOCUMENTS.iter().filter(|(file, _)| self.present.contains(*file)) {
            let empty = self.optional_document(file).is_some_and(|document| is_empty_registry(&document));
            if !empty {
                self.problems.add(Place::file(file).refused("", "the file", feature));
            }
        }
        for (stem, feature) in REFUSED_TABLES {
            let Some(file) = self.table_file(stem) else { continue };
            self.note_read(&file);
            if !Table::is_empty_file(&self.root.join(&file)) {
                self.problems.add(Place::file(&file).refused("", "the file", feature));
            }
        }
    }

    fn note_read(&self, file: &str) {
        self.read.borrow_mut().insert(PathBuf::from(file));
    }

    fn table_file(&self, stem: &str) -> Option<String> {
        let [parquet, csv] = [format!("{stem}.parquet"), format!("{stem}.csv")];
        match (self.present.contains(&parquet), self.present.contains(&csv)) {
            (true, true) => {
                let expected = format!("either {parquet} or {csv}");
                let place = Place::file(&csv);
                self.problems.add(place.problem(ErrorKind::IncompatibleSettings, "", "both files", expected));
                Some(parquet)
            }
            (true, false) => Some(parquet),
            (false, true) => Some(csv),
            (false, false) => None,
        }
    }

    /// Every file that was opened, relative to the case directory, sorted.
    pub(crate) fn into_files(self) -> Vec<PathBuf> {
        self.read.into_inner().into_iter().collect()
    }

    /// A document that every case has.
    pub(crate) fn document(&self, file: &str) -> Option<Value> {
        if !self.present.contains(file) {
            let place = Place::file(file);
            self.problems.add(place.problem(
                ErrorKind::MissingFile,
                "",
                "no such file",
                "a file every case has",
            ));
            return None;
        }
        self.optional_document(file)
    }

    /// A document that a case may have.
    pub(crate) fn optional_document(&self, file: &str) -> Option<Value> {
        if !self.present.contains(file) {
            return None;
        }
        self.note_read(file);
        let place = Place::file(file);
        let text = match fs::read_to_string(self.root.join(file)) {
            Ok(text) => text,
            Err(error) => {
                self.problems.add(place.problem(ErrorKind::ParseError, "", error, "a UTF-8 text file"));
                return None;
            }
        };
        match json::parse(text.trim_start_matches('\u{feff}')) {
            Ok((document, duplicates)) => {
                for path in duplicates {
                    let problem =
                        place.problem(ErrorKind::SchemaViolation, &path, "the key twice", "each key once");
                    self.problems.add(problem);
                }
                Some(document)
            }
            Err(error) => {
                self.problems.add(place.problem(ErrorKind::ParseError, "", error, "a JSON document"));
                None
            }
        }
    }

    /// A table that a case may have.
    pub(crate) fn table(&self, stem: &str, rules: &[ColumnRule]) -> Option<Table> {
        let file = self.table_file(stem)?;
        self.note_read(&file);
        Table::read(self.root, &file, rules, self.problems)
    }

    /// True when a table is there, readable or not.
    pub(crate) fn has_table(&self, stem: &str) -> bool {
        self.present.contains(&format!("{stem}.parquet")) || self.present.contains(&format!("{stem}.csv"))
    }

    /// Records that a table is missing which this case needs.
    pub(crate) fn missing_table(&self, stem: &str, needed_for: &str) {
        let file = format!("{stem}.parquet");
        let problem = Place::file(&file).problem(ErrorKind::MissingFile, "", "no such file", needed_for);
        self.problems.add(suggesting(problem, format!("{stem}.csv is accepted too")));
    }
}

fn all_names() -> Vec<String> {
    let documents = DOCUMENTS.iter().chain(REFUSED_DOCUMENTS.iter().map(|(file, _)| file));
    let stems = TABLES.iter().chain(REFUSED_TABLES.iter().map(|(stem, _)| stem));
    let tables = stems.flat_map(|stem| [format!("{stem}.parquet"), format!("{stem}.csv")]);
    documents.map(|file| (*file).to_owned()).chain(tables).collect()
}

/// Things that clearly are no input: hidden files, notes, result folders.
fn is_aside(name: &str, is_root_folder: bool) -> bool {
    name.starts_with('.')
        || name.starts_with("README")
        || name.starts_with("LICENSE")
        || (is_root_folder && RESULT_ROOMS.contains(&name))
}

/// True for `{}` and for an object whose only list is empty.
fn is_empty_registry(document: &Value) -> bool {
    let is_empty =
        |(key, value): (&String, &Value)| key == "$schema" || value.as_array().is_some_and(Vec::is_empty);
    document.as_object().is_some_and(|map| map.iter().all(is_empty))
}
