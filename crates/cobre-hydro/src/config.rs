//! `config.json`: how to train, simulate and treat negative inflow.

use cobre_core::ErrorKind;
use cobre_sddp::{CutSelection, SelectionMethod, Stopping, StoppingMode, StoppingRule};
use serde_json::Value;

use crate::problems::Problems;
use crate::reader::{Fields, Range, shown};

const FILE: &str = "config.json";

/// Seed when the case names none.
const DEFAULT_SEED: u64 = 42;

/// What `config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) training_enabled: bool,
    pub(crate) forward_passes: usize,
    pub(crate) stopping: Stopping,
    pub(crate) cut_selection: Option<CutSelection>,
    /// Seed of the opening tree.
    pub(crate) tree_seed: u64,
    /// Seed of the forward passes.
    pub(crate) forward_seed: u64,
    pub(crate) simulation_enabled: bool,
    pub(crate) simulation_scenarios: u64,
    pub(crate) simulation_seed: u64,
    /// Price of water that a negative inflow lacks, in $ per m3/s and hour; `None` leaves inflow negative.
    pub(crate) inflow_penalty: Option<f64>,
    pub(crate) policy_path: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            training_enabled: true,
            forward_passes: 1,
            stopping: Stopping::default(),
            cut_selection: None,
            tree_seed: DEFAULT_SEED,
            forward_seed: DEFAULT_SEED,
            simulation_enabled: false,
            simulation_scenarios: 2000,
            simulation_seed: DEFAULT_SEED,
            inflow_penalty: Some(1000.0),
            policy_path: "./policy".to_owned(),
        }
    }
}

impl Config {
    /// Reads the effective configuration.
    pub(crate) fn read(document: Option<&Value>, problems: &Problems) -> Self {
        let mut config = Self::default();
        let root = document.and_then(|document| Fields::root(document, FILE, problems));
        let Some(mut root) = root else { return config };
        if let Some(training) = root.object("training") {
            config.read_training(training);
        }
        if let Some(mut modeling) = root.optional_object("modeling") {
            if let Some(part) = modeling.optional_object("inflow_non_negativity") {
                config.read_non_negativity(part);
            }
            modeling.finish();
        }
        if let Some(policy) = root.optional_object("policy") {
            config.read_policy(policy);
        }
        config.simulation_seed = config.forward_seed;
        if let Some(simulation) = root.optional_object("simulation") {
            config.read_simulation(simulation);
        }
        if let Some(mut exports) = root.optional_object("exports") {
            refuse_unless(&mut exports, "states", false, "the export of visited states");
            refuse_unless(&mut exports, "stochastic", false, "the export of the opening tree");
            exports.finish();
        }
        if root
            .optional("estimation")
            .is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty()))
        {
            root.refuse("estimation", "fitting of inflow models to history");
        }
        root.finish();
        config
    }

    fn read_training(&mut self, mut training: Fields<'_>) {
        self.training_enabled = training.flag("enabled", true);
        self.forward_passes = training.whole("forward_passes", 1).unwrap_or(1) as usize;
        let list = training.list("stopping_rules");
        if training.optional("stopping_rules").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            training.problem(
                ErrorKind::SchemaViolation,
                "stopping_rules",
                "an empty list",
                "at least one rule",
            );
        }
        self.stopping.rules =
            training.parts("stopping_rules", list).into_iter().filter_map(read_rule).collect();
        if training.word("stopping_mode", &["any", "all"], false) == Some("all") {
            self.stopping.mode = StoppingMode::All;
        }
        self.tree_seed = training.optional_whole("tree_seed", 0).unwrap_or(DEFAULT_SEED);
        if let Some(selection) = training.optional_object("cut_selection") {
            self.cut_selection = read_cut_selection(selection);
        }
        self.forward_seed = self.tree_seed;
        if let Some(seed) = training.optional_object("scenario_source").and_then(read_scenario_source) {
            self.forward_seed = seed;
        }
        training.finish();
    }

    fn read_non_negativity(&mut self, mut part: Fields<'_>) {
        let methods = &["none", "penalty", "truncation", "truncation_with_penalty"];
        let method = part.word("method", methods, false).unwrap_or("penalty");
        let cost = part.optional_number("penalty_cost", Range::Positive).unwrap_or(1000.0);
        match method {
            "none" => self.inflow_penalty = None,
            "penalty" => self.inflow_penalty = Some(cost),
            other => part.refuse_value("method", other, "truncation of negative inflow"),
        }
        part.finish();
    }

    fn read_policy(&mut self, mut policy: Fields<'_>) {
        if let Some(path) = policy.optional_text("path") {
            path.clone_into(&mut self.policy_path);
        }
        let mode = policy.word("mode", &["fresh", "warm_start", "resume"], false);
        if let Some(mode) = mode.filter(|mode| *mode != "fresh") {
            policy.refuse_value("mode", mode, "a start from an earlier policy through the case");
        }
        refuse_unless(&mut policy, "validate_compatibility", true, "a policy of another case");
        policy.refuse("boundary", "a terminal cost-to-go from another policy");
        policy.finish();
    }

    fn read_simulation(&mut self, mut simulation: Fields<'_>) {
        self.simulation_enabled = simulation.flag("enabled", false);
        self.simulation_scenarios = simulation.optional_whole("num_scenarios", 1).unwrap_or(2000);
        if simulation.optional_whole("io_channel_capacity", 1).is_some_and(|capacity| capacity != 64) {
            simulation.refuse("io_channel_capacity", "a capacity of the channel to the writer other than 64");
        }
        if let Some(seed) = simulation.optional_object("scenario_source").and_then(read_scenario_source) {
            self.simulation_seed = seed;
        }
        simulation.finish();
    }
}

fn refuse_unless(fields: &mut Fields<'_>, key: &'static str, accepted: bool, feature: &str) {
    if fields.flag(key, accepted) != accepted {
        fields.refuse(key, feature);
    }
}

fn read_rule(mut rule: Fields<'_>) -> Option<StoppingRule> {
    let types = &["iteration_limit", "time_limit", "bound_stalling", "simulation"];
    let found = match rule.word("type", types, true)? {
        "iteration_limit" => rule.whole("limit", 1).map(StoppingRule::IterationLimit),
        "time_limit" => Some(StoppingRule::TimeLimit(rule.number("seconds", Range::Positive))),
        "bound_stalling" => {
            let iterations = rule.whole("iterations", 1);
            let tolerance = rule.number("tolerance", Range::Positive);
            iterations.map(|iterations| StoppingRule::BoundStalling { iterations, tolerance })
        }
        _ => {
            rule.refuse_value("type", "\"simulation\"", "stopping by simulation");
            return None;
        }
    };
    rule.finish();
    found
}

fn read_cut_selection(mut selection: Fields<'_>) -> Option<CutSelection> {
    let enabled = selection.flag("enabled", false);
    let method = selection.word("method", &["level1", "lml1", "domination"], enabled);
    let check_frequency = selection.optional_whole("check_frequency", 1).unwrap_or(5);
    let memory_window = selection.optional_whole("memory_window", 1);
    let tolerance = selection.optional_number("cut_activity_tolerance", Range::NonNegative);
    selection.optional_whole("threshold", 0);
    selection.optional_number("domination_epsilon", Range::NonNegative);
    selection.optional_whole("basis_activity_window", 1);
    selection.optional_whole("max_active_per_stage", 1);
    if enabled {
        if method == Some("domination") {
            selection.refuse_value("method", "\"domination\"", "cut selection by domination");
        }
        if selection.optional("threshold").is_some_and(|value| value.as_u64() != Some(0)) {
            selection.refuse("threshold", "the deprecated threshold of cut selection");
        }
        if selection.optional("basis_activity_window").is_some_and(|value| value.as_u64() != Some(5)) {
            selection.refuse("basis_activity_window", "a window of basis activity other than 5");
        }
        selection.refuse("domination_epsilon", "cut selection by domination");
        selection.refuse("max_active_per_stage", "a limit on active cuts");
        if method == Some("lml1") {
            selection.refuse("cut_activity_tolerance", "a tolerance of limited-memory Level-1");
        }
    }
    selection.finish();
    let method = match method {
        Some("level1") => SelectionMethod::Level1,
        Some("lml1") => SelectionMethod::LimitedMemoryLevel1,
        _ => return None,
    };
    let clamp = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    enabled.then(|| CutSelection {
        method,
        check_frequency: clamp(check_frequency),
        memory_window: memory_window.map(clamp),
        tolerance: tolerance.unwrap_or(0.0),
    })
}

/// Reads a `scenario_source` and gives its seed. Only in-sample scenarios are modelled.
fn read_scenario_source(mut source: Fields<'_>) -> Option<u64> {
    let seed = source.optional_whole("seed", 0);
    source.refuse("historical_years", "historical scenarios");
    for class in ["inflow", "load", "ncs"] {
        let Some(mut part) = source.optional_object(class) else { continue };
        let schemes = &["in_sample", "out_of_sample", "historical", "external"];
        let scheme = part.word("scheme", schemes, true);
        if let Some(scheme) = scheme.filter(|scheme| *scheme != "in_sample") {
            let value = shown(&Value::from(scheme));
            part.refuse_value("scheme", &value, "a scheme of scenarios other than in_sample");
        }
        part.finish();
    }
    source.finish();
    seed
}
