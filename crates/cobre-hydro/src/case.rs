//! Loading a case directory.

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use cobre_core::{Error, ErrorKind, Result};
use cobre_sddp::{SimulateOptions, TrainOptions};
use serde_json::Value;

use crate::bounds::{Bounds, Entities};
use crate::config::Config;
use crate::correlation::Correlation;
use crate::folder::{Folder, Source};
use crate::hydros::{read_hydros, read_initial_storage};
use crate::json;
use crate::model::Model;
use crate::network::{read_buses, read_lines, read_thermals};
use crate::openings::{Openings, noise_entities};
use crate::penalties::Penalties;
use crate::problems::{Place, Problems};
use crate::reader::shown;
use crate::registry::Registry;
use crate::series::{FactorSource, read_factors, read_inflow, read_load};
use crate::snapshot::Snapshot;
use crate::stages::read_stages;
use crate::system::System;

/// A hydrothermal case, read from its directory and validated as a whole.
///
/// The format is that of `cobre-rs/cobre` 0.5.1; `src/crates/hydro.md` of the book lists what is modelled. What
/// is not is refused by name. Entities are sorted by id, so their order in the files changes nothing.
///
/// ```no_run
/// let case = cobre_hydro::Case::load("examples/four_reservoirs".as_ref(), None)?;
/// let model = case.model()?;
/// println!("{} stages", model.problem.nodes.len());
/// # Ok::<(), cobre_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Case {
    snapshot: Snapshot,
    config: Config,
    effective_config: Value,
    system: Arc<System>,
}

impl Case {
    /// Reads and validates a case directory.
    ///
    /// `config_overrides` is an object that is merged into `config.json` key by key (a `null` removes the key) and
    /// validated with it.
    ///
    /// # Errors
    /// One error of the class Validation that lists every problem found, each with its own kind:
    /// [`ErrorKind::MissingFile`], [`ErrorKind::ParseError`], [`ErrorKind::SchemaViolation`] (unknown keys and
    /// features that are not modelled), [`ErrorKind::TypeMismatch`], [`ErrorKind::OutOfRange`],
    /// [`ErrorKind::InvalidEnum`], [`ErrorKind::DuplicateId`], [`ErrorKind::MissingReference`],
    /// [`ErrorKind::CoverageMismatch`], [`ErrorKind::StageMismatch`], [`ErrorKind::IncompatibleSettings`],
    /// [`ErrorKind::PhysicalConstraint`], [`ErrorKind::CapacityViolation`], [`ErrorKind::PenaltyConsistency`].
    pub fn load(directory: &Path, config_overrides: Option<&Value>) -> Result<Self> {
        let snapshot = Snapshot {
            directory: directory.to_path_buf(),
            name: folder_name(directory),
            overrides: config_overrides.cloned(),
            ..Snapshot::default()
        };
        Self::read(snapshot, Source::Directory(directory.to_path_buf()))
    }

    /// The same case again, of what was read before: no file is touched.
    ///
    /// ```
    /// # let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/four_reservoirs");
    /// let case = cobre_hydro::Case::load(directory.as_ref(), None)?;
    /// let twin = cobre_hydro::Case::from_snapshot(case.snapshot().clone())?;
    /// assert_eq!((twin.name(), twin.config()), (case.name(), case.config()));
    /// # Ok::<(), cobre_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`load`](Self::load), for a snapshot that is not of a valid case, or whose overrides were changed.
    pub fn from_snapshot(mut snapshot: Snapshot) -> Result<Self> {
        let present = std::mem::take(&mut snapshot.present);
        let files = std::mem::take(&mut snapshot.files);
        Self::read(snapshot, Source::Memory { present, files })
    }

    fn read(mut snapshot: Snapshot, source: Source) -> Result<Self> {
        let problems = Problems::default();
        let folder = Folder::open(source, &problems)?;
        let effective_config = effective_config(&folder, snapshot.overrides.as_ref());
        let config = Config::read(effective_config.as_ref(), &problems);
        let system = read_system(&folder, &config);
        (snapshot.present, snapshot.files) = folder.into_parts();
        problems.into_result(&format!("case {}", snapshot.name))?;
        let effective_config = effective_config.unwrap_or_default();
        Ok(Self { snapshot, config, effective_config, system: Arc::new(system) })
    }

    /// The directory, as given.
    pub fn directory(&self) -> &Path {
        &self.snapshot.directory
    }

    /// The name of the directory.
    pub fn name(&self) -> &str {
        &self.snapshot.name
    }

    /// The configuration after overrides.
    pub fn config(&self) -> &Value {
        &self.effective_config
    }

    /// What was read, byte by byte.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// True unless `training.enabled` is false.
    pub fn is_training_enabled(&self) -> bool {
        self.config.training_enabled
    }

    /// True when `simulation.enabled` is.
    pub fn is_simulation_enabled(&self) -> bool {
        self.config.simulation_enabled
    }

    /// Where the policy goes, relative to the output directory: `policy.path`.
    pub fn policy_path(&self) -> &str {
        &self.config.policy_path
    }

    /// Options of training: those of `config.json`, one thread, the default folder for failures.
    pub fn train_options(&self) -> TrainOptions {
        TrainOptions {
            forward_passes: self.config.forward_passes,
            seed: self.config.forward_seed,
            stopping: self.config.stopping.clone(),
            cut_selection: self.config.cut_selection,
            threads: 1,
            failure_directory: None,
        }
    }

    /// Options of simulation: those of `config.json`, one thread, the default folder for failures.
    pub fn simulate_options(&self) -> SimulateOptions {
        SimulateOptions {
            scenarios: self.config.simulation_scenarios,
            seed: self.config.simulation_seed,
            threads: 1,
            failure_directory: None,
        }
    }

    /// What was read, as tables: `hydros`, `thermals`, `buses`, `lines`, `stages`, `blocks`, `loads`, `openings`.
    ///
    /// # Errors
    /// [`ErrorKind::InternalPanic`] when a table cannot be built, which is a defect.
    pub fn tables(&self) -> Result<Vec<(&'static str, RecordBatch)>> {
        crate::inventory::tables(&self.system)
    }

    /// The multistage stochastic program of the case.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleSettings`] when future costs have no lower bound; the errors of
    /// [`Problem::validate`](cobre_sddp::Problem::validate), which would be a defect.
    pub fn model(&self) -> Result<Model> {
        Model::build(Arc::clone(&self.system))
    }
}

fn folder_name(directory: &Path) -> String {
    let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    resolved.file_name().map_or_else(|| "case".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn effective_config(folder: &Folder<'_>, overrides: Option<&Value>) -> Option<Value> {
    let mut document = folder.document("config.json");
    match (overrides, &mut document) {
        (Some(overrides @ Value::Object(_)), Some(document)) => json::merge(document, overrides),
        (Some(overrides), _) if !overrides.is_object() && !overrides.is_null() => {
            let place = Place::file("config_overrides");
            folder.problems.add(place.problem(ErrorKind::TypeMismatch, "", shown(overrides), "an object"));
        }
        _ => {}
    }
    document
}

fn read_system(folder: &Folder<'_>, config: &Config) -> System {
    let penalties = Penalties::read(folder.document("penalties.json").as_ref(), folder.problems);
    let stages = read_stages(folder.document("stages.json").as_ref(), folder.problems);
    let buses = read_buses(folder, &penalties);
    let lines = read_lines(folder, &penalties, &buses.ids);
    let thermals = read_thermals(folder, &buses.ids);
    let hydros = read_hydros(folder, &penalties, &buses.ids);
    check_not_empty(&buses, folder.problems);
    let initial_storage = read_initial_storage(folder, &hydros);
    let inflow = read_inflow(folder, &hydros.ids, &stages);
    let load = read_load(folder, &buses.ids, &stages);
    let factors = FactorSource {
        file: "scenarios/load_factors.json",
        list_key: "load_factors",
        entity: ("bus_id", &buses.ids),
        factor_keys: ["factor"],
    };
    let load_factors = read_factors(folder, factors, &stages);
    let entities =
        Entities { stages: &stages, buses: &buses, lines: &lines, thermals: &thermals, hydros: &hydros };
    let bounds = Bounds::read(folder, entities);
    // Noise is addressed by position among the entities: without them nothing can be said about it.
    let mut openings = Openings::default();
    if hydros.ids.is_readable() && stages.ids.is_readable() && buses.ids.is_readable() {
        let entities = noise_entities(hydros.ids.iter(), &load);
        let correlation = Correlation::read(folder, &entities, &stages);
        openings = Openings::read(folder, entities, &stages, &correlation, config.tree_seed);
    }
    let inflow_penalty = config.inflow_penalty;
    System {
        stages,
        buses,
        lines,
        thermals,
        hydros,
        initial_storage,
        inflow,
        load,
        load_factors,
        bounds,
        openings,
        inflow_penalty,
    }
}

fn check_not_empty(buses: &Registry<crate::network::Bus>, problems: &Problems) {
    if buses.ids.is_readable() && buses.ids.iter().next().is_none() {
        let place = Place::file("system/buses.json");
        problems.add(place.problem(ErrorKind::SchemaViolation, "buses", "an empty list", "at least one bus"));
    }
}

/// An error for a table that could not be put together.
pub(crate) fn table_defect(source: arrow::error::ArrowError) -> Error {
    Error::new(ErrorKind::InternalPanic, "a table could not be built").caused_by(source)
}
