//! Hydro plants, their cascade and their initial storage.

use std::collections::BTreeMap;

use cobre_core::ErrorKind;

use crate::folder::Folder;
use crate::network::{check_limits, read_reference, refuse_lifetime};
use crate::penalties::{HYDRO_COSTS, HydroCosts, OPTIONAL_HYDRO_COSTS, Penalties, read_optional_costs};
use crate::problems::{Place, Problems, suggesting};
use crate::reader::{Fields, Range};
use crate::registry::{Entity, Ids, Registry, RegistrySource};

const FILE: &str = "system/hydros.json";

/// A hydro plant with its reservoir.
#[derive(Clone, Debug)]
pub(crate) struct Hydro {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) bus: i32,
    /// Where turbined and spilled water goes.
    pub(crate) downstream: Option<i32>,
    /// Where diverted water goes.
    pub(crate) diversion: Option<i32>,
    /// In MW per m3/s.
    pub(crate) productivity: f64,
    pub(crate) limits: HydroLimits,
    pub(crate) costs: HydroCosts,
}

impl Entity for Hydro {
    fn id(&self) -> i32 {
        self.id
    }
}

/// A limit with its name in files.
pub(crate) type NamedLimit = (&'static str, f64);

/// The limits of a hydro plant at a stage: hm3, m3/s and MW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HydroLimits {
    pub(crate) min_storage: f64,
    pub(crate) max_storage: f64,
    pub(crate) min_turbined: f64,
    pub(crate) max_turbined: f64,
    pub(crate) min_outflow: f64,
    /// Infinite without a limit.
    pub(crate) max_outflow: f64,
    pub(crate) min_generation: f64,
    pub(crate) max_generation: f64,
    pub(crate) max_diversion: f64,
    /// Water taken from the reservoir; negative for water brought to it.
    pub(crate) withdrawal: f64,
}

impl HydroLimits {
    /// Pairs that must be in order, with their names in files.
    pub(crate) fn pairs(&self) -> [(NamedLimit, NamedLimit); 4] {
        [
            (("min_storage_hm3", self.min_storage), ("max_storage_hm3", self.max_storage)),
            (("min_turbined_m3s", self.min_turbined), ("max_turbined_m3s", self.max_turbined)),
            (("min_outflow_m3s", self.min_outflow), ("max_outflow_m3s", self.max_outflow)),
            (("min_generation_mw", self.min_generation), ("max_generation_mw", self.max_generation)),
        ]
    }
}

/// Reads `system/hydros.json` and checks the cascade.
pub(crate) fn read_hydros(folder: &Folder<'_>, penalties: &Penalties, buses: &Ids) -> Registry<Hydro> {
    let source = RegistrySource { file: FILE, key: "hydros", noun: "hydro" };
    let document = folder.document(source.file);
    let registry = Registry::read(document.as_ref(), source, folder.problems, |fields, id| {
        read_hydro(fields, id, penalties, buses)
    });
    check_cascade(&registry, folder.problems);
    registry
}

fn read_hydro(fields: &mut Fields<'_>, id: i32, penalties: &Penalties, buses: &Ids) -> Option<Hydro> {
    let name = fields.text("name").map(str::to_owned);
    let bus = read_reference(fields, "bus_id", buses);
    let downstream = fields.optional_id("downstream_id");
    let (mut min_storage, mut max_storage) = (f64::NAN, f64::NAN);
    if let Some(mut reservoir) = fields.object("reservoir") {
        min_storage = reservoir.number("min_storage_hm3", Range::NonNegative);
        max_storage = reservoir.number("max_storage_hm3", Range::NonNegative);
        reservoir.finish();
    }
    let (mut min_outflow, mut max_outflow) = (f64::NAN, f64::INFINITY);
    if let Some(mut outflow) = fields.object("outflow") {
        min_outflow = outflow.number("min_outflow_m3s", Range::NonNegative);
        max_outflow = outflow.optional_number("max_outflow_m3s", Range::NonNegative).unwrap_or(f64::INFINITY);
        outflow.finish();
    }
    let generation = fields.object("generation").map(read_generation).unwrap_or_default();
    refuse_features(fields);
    let mut diversion = None;
    let mut max_diversion = 0.0;
    if let Some(mut part) = fields.optional_object("diversion") {
        diversion = part.id("downstream_id");
        max_diversion = part.number("max_flow_m3s", Range::NonNegative);
        part.finish();
    }
    let mut costs = penalties.hydro;
    if let Some(mut part) = fields.optional_object("penalties") {
        read_optional_costs(&mut part, HYDRO_COSTS, &mut costs);
        read_optional_costs(&mut part, OPTIONAL_HYDRO_COSTS, &mut costs);
        part.finish();
    }
    let limits = HydroLimits {
        min_storage,
        max_storage,
        min_turbined: generation.turbined.0,
        max_turbined: generation.turbined.1,
        min_outflow,
        max_outflow,
        min_generation: generation.power.0,
        max_generation: generation.power.1,
        max_diversion,
        withdrawal: 0.0,
    };
    for (lower, upper) in limits.pairs() {
        check_limits(fields, lower, upper);
    }
    let productivity = generation.productivity;
    Some(Hydro { id, name: name?, bus: bus?, downstream, diversion, productivity, limits, costs })
}

#[derive(Default)]
struct Generation {
    productivity: f64,
    turbined: (f64, f64),
    power: (f64, f64),
}

fn read_generation(mut fields: Fields<'_>) -> Generation {
    let model = fields.word("model", &["constant_productivity", "linearized_head", "fpha"], true);
    match model {
        Some("fpha") => fields.refuse_value("model", "\"fpha\"", "the FPHA production model"),
        Some("linearized_head") => {
            fields.refuse_value("model", "\"linearized_head\"", "productivity that depends on the head");
        }
        _ => {}
    }
    let productivity = if model == Some("constant_productivity") {
        fields.number("productivity_mw_per_m3s", Range::NonNegative)
    } else {
        fields.optional_number("productivity_mw_per_m3s", Range::NonNegative).unwrap_or(f64::NAN)
    };
    let turbined = limits(&mut fields, "min_turbined_m3s", "max_turbined_m3s");
    let power = limits(&mut fields, "min_generation_mw", "max_generation_mw");
    fields.finish();
    Generation { productivity, turbined, power }
}

fn limits(fields: &mut Fields<'_>, lower: &'static str, upper: &'static str) -> (f64, f64) {
    (fields.number(lower, Range::NonNegative), fields.number(upper, Range::NonNegative))
}

fn refuse_features(fields: &mut Fields<'_>) {
    fields.refuse("tailrace", "tailrace curves (FPHA)");
    fields.refuse("hydraulic_losses", "hydraulic losses (FPHA)");
    fields.refuse("efficiency", "turbine efficiency (FPHA)");
    fields.refuse("evaporation", "evaporation");
    fields.refuse("filling", "filling of reservoirs");
    refuse_lifetime(fields);
}

fn check_cascade(registry: &Registry<Hydro>, problems: &Problems) {
    let place = |hydro: &Hydro| Place::entity(FILE, format!("hydros (id {})", hydro.id));
    for hydro in &registry.entities {
        for (field, target) in targets(hydro) {
            if target == hydro.id {
                let expected = "another hydro than itself";
                problems.add(place(hydro).problem(ErrorKind::PhysicalConstraint, field, target, expected));
            } else {
                registry.ids.check(target, &place(hydro), field, problems);
            }
        }
    }
    let mut done = vec![false; registry.entities.len()];
    for start in 0..registry.entities.len() {
        if let Some(circle) = find_circle(registry, start, &mut done, &mut Vec::new()) {
            let names: Vec<String> =
                circle.iter().map(|&index| registry.entities[index].id.to_string()).collect();
            let hydro = &registry.entities[circle[0]];
            let value = format!("water that flows in a circle: {}", names.join(" → "));
            let field = "downstream_id";
            let expected = "a cascade that ends";
            problems.add(place(hydro).problem(ErrorKind::PhysicalConstraint, field, value, expected));
            return;
        }
    }
}

fn targets(hydro: &Hydro) -> impl Iterator<Item = (&'static str, i32)> {
    let downstream = hydro.downstream.map(|id| ("downstream_id", id));
    downstream.into_iter().chain(hydro.diversion.map(|id| ("diversion.downstream_id", id)))
}

/// Follows the water depth first; gives the circle it finds, which has at least two plants.
fn find_circle(
    registry: &Registry<Hydro>,
    start: usize,
    done: &mut [bool],
    path: &mut Vec<usize>,
) -> Option<Vec<usize>> {
    if let Some(position) = path.iter().position(|&index| index == start) {
        let mut circle = path[position..].to_vec();
        circle.push(start);
        return Some(circle);
    }
    if done[start] {
        return None;
    }
    path.push(start);
    let hydro = &registry.entities[start];
    let next: Vec<usize> =
        targets(hydro).filter_map(|(_, id)| registry.index(id)).filter(|&to| to != start).collect();
    let found = next.into_iter().find_map(|to| find_circle(registry, to, done, path));
    path.pop();
    done[start] = true;
    found
}

/// Reads `initial_conditions.json`: storage in hm3 by hydro id.
pub(crate) fn read_initial_storage(folder: &Folder<'_>, hydros: &Registry<Hydro>) -> BTreeMap<i32, f64> {
    const FILE: &str = "initial_conditions.json";
    let mut storage = BTreeMap::new();
    let document = folder.document(FILE);
    let root = document.as_ref().and_then(|document| Fields::root(document, FILE, folder.problems));
    let Some(mut root) = root else { return storage };
    for (index, value) in root.list("storage").iter().enumerate() {
        let place = Place::entity(FILE, format!("storage[{index}]"));
        let Some(mut fields) = Fields::open(value, place, folder.problems) else { continue };
        let id = read_reference(&mut fields, "hydro_id", &hydros.ids);
        let value = fields.number("value_hm3", Range::NonNegative);
        if let Some(id) = id {
            if storage.insert(id, value).is_some() {
                fields.problem(ErrorKind::DuplicateId, "hydro_id", &id.to_string(), "each hydro once");
            }
            let hydro = hydros.index(id).map(|index| &hydros.entities[index]);
            if let Some(hydro) = hydro.filter(|hydro| value > hydro.limits.max_storage) {
                let expected = format!("at most max_storage_hm3 = {}", hydro.limits.max_storage);
                fields.problem(ErrorKind::PhysicalConstraint, "value_hm3", &value.to_string(), &expected);
            }
        }
        fields.finish();
    }
    root.list("filling_storage");
    root.refuse_list("filling_storage", "filling of reservoirs");
    root.refuse_list("past_inflows", "inflow with autoregressive lags (PAR)");
    root.refuse_list("recent_observations", "inflow with autoregressive lags (PAR)");
    root.finish();
    if hydros.ids.is_readable() {
        for id in hydros.ids.iter().filter(|id| !storage.contains_key(id)) {
            let place = Place::entity(FILE, format!("hydro {id}"));
            let problem = place.problem(
                ErrorKind::CoverageMismatch,
                "storage",
                "no entry",
                "a storage for every hydro",
            );
            folder.problems.add(suggesting(problem, format!("add {{\"hydro_id\": {id}, \"value_hm3\": …}}")));
        }
    }
    storage
}
