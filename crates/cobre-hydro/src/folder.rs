//! The first layer: which files a case directory holds, and which it must not.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

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

/// Where the files of a case come from.
pub(crate) enum Source {
    /// A directory.
    Directory(PathBuf),
    /// What was read of one before.
    Memory { present: BTreeSet<String>, files: BTreeMap<String, Arc<[u8]>> },
}

/// The files of a case, each read once.
pub(crate) struct Folder<'a> {
    source: Source,
    present: BTreeSet<String>,
    read: RefCell<BTreeMap<String, Arc<[u8]>>>,
    pub(crate) problems: &'a Problems,
}

impl<'a> Folder<'a> {
    /// Lists the files and refuses what the format does not know or Cobre does not model.
    pub(crate) fn open(source: Source, problems: &'a Problems) -> Result<Self> {
        let present = match &source {
            Source::Directory(root) => list_all(root)?,
            Source::Memory { present, .. } => present.clone(),
        };
        let folder = Self { source, present, read: RefCell::default(), problems };
        for name in &folder.present {
            folder.check_known(name);
        }
        folder.refuse_features();
        Ok(folder)
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
            if !self.bytes(&file).is_ok_and(|bytes| Table::is_empty(&file, bytes)) {
                self.problems.add(Place::file(&file).refused("", "the file", feature));
            }
        }
    }

    fn bytes(&self, file: &str) -> io::Result<Arc<[u8]>> {
        if let Some(bytes) = self.read.borrow().get(file) {
            return Ok(Arc::clone(bytes));
        }
        let bytes: Arc<[u8]> = match &self.source {
            Source::Directory(root) => fs::read(root.join(file))?.into(),
            Source::Memory { files, .. } => {
                files.get(file).cloned().ok_or_else(|| io::Error::other("the snapshot does not hold it"))?
            }
        };
        self.read.borrow_mut().insert(file.to_owned(), Arc::clone(&bytes));
        Ok(bytes)
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

    /// What the folder holds, and the contents of what was read.
    pub(crate) fn into_parts(self) -> (BTreeSet<String>, BTreeMap<String, Arc<[u8]>>) {
        (self.present, self.read.into_inner())
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
        let place = Place::file(file);
        let text = match self.bytes(file).and_then(|bytes| io::read_to_string(&bytes[..])) {
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
        Table::read(&file, self.bytes(&file), rules, self.problems)
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

/// Every file of a case directory, and of its rooms, that may be input.
fn list_all(root: &Path) -> Result<BTreeSet<String>> {
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
    let mut present = BTreeSet::new();
    list(root, "", &mut present)?;
    for room in ROOMS.iter().filter(|room| root.join(room).is_dir()) {
        list(root, &format!("{room}/"), &mut present)?;
    }
    Ok(present)
}

fn list(root: &Path, room: &str, present: &mut BTreeSet<String>) -> Result<()> {
    let path = root.join(room);
    let failed = |source: io::Error| {
        let error = Error::new(ErrorKind::MissingFile, "a directory of the case cannot be listed");
        error.with("path", path.display().to_string()).caused_by(source)
    };
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_room = room.is_empty() && ROOMS.contains(&name.as_str());
        if !is_room && !is_aside(&name, room.is_empty() && entry.path().is_dir()) {
            present.insert(format!("{room}{name}"));
        }
    }
    Ok(())
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
