//! Penalties: defaults of `penalties.json` and what entities and stages put in their place.

use cobre_core::ErrorKind;
use serde_json::Value;

use crate::reader::{Fields, Range};

/// A tier of deficit of a bus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DeficitSegment {
    /// Width in MW; `None` for the last, which has no end.
    pub(crate) depth_mw: Option<f64>,
    /// Price in `$/MWh`.
    pub(crate) cost_per_mwh: f64,
}

/// What violations and discouraged flows of a hydro plant cost, in $ per m3/s and hour unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct HydroCosts {
    pub(crate) spillage: f64,
    pub(crate) diversion: f64,
    /// In $ per hm3 below minimum storage at the end of a stage.
    pub(crate) storage_below: f64,
    pub(crate) turbined_below: f64,
    pub(crate) outflow_below: f64,
    pub(crate) outflow_above: f64,
    /// In `$/MWh`.
    pub(crate) generation_below: f64,
    /// For taking less water than the signed withdrawal asks for.
    pub(crate) withdrawal_below: f64,
    /// For taking more.
    pub(crate) withdrawal_above: f64,
    /// For water that a negative inflow lacks; `None` takes the price of `config.json`.
    pub(crate) inflow_nonnegativity: Option<f64>,
}

type Setter = fn(&mut HydroCosts, f64);

/// A cost by its key in files, and where it goes. Costs of features that are not modelled go nowhere: the format
/// asks for them, and the feature itself is refused.
pub(crate) const HYDRO_COSTS: &[(&str, Setter)] = &[
    ("spillage_cost", |costs, value| costs.spillage = value),
    ("fpha_turbined_cost", |_, _| ()),
    ("diversion_cost", |costs, value| costs.diversion = value),
    ("storage_violation_below_cost", |costs, value| costs.storage_below = value),
    ("filling_target_violation_cost", |_, _| ()),
    ("turbined_violation_below_cost", |costs, value| costs.turbined_below = value),
    ("outflow_violation_below_cost", |costs, value| costs.outflow_below = value),
    ("outflow_violation_above_cost", |costs, value| costs.outflow_above = value),
    ("generation_violation_below_cost", |costs, value| costs.generation_below = value),
    ("evaporation_violation_cost", |_, _| ()),
    ("water_withdrawal_violation_cost", |costs, value| {
        costs.withdrawal_below = value;
        costs.withdrawal_above = value;
    }),
];

/// Costs that refine a symmetric one; they come after it, whatever their order in the file.
pub(crate) const OPTIONAL_HYDRO_COSTS: &[(&str, Setter)] = &[
    ("evaporation_violation_pos_cost", |_, _| ()),
    ("evaporation_violation_neg_cost", |_, _| ()),
    ("water_withdrawal_violation_pos_cost", |costs, value| costs.withdrawal_above = value),
    ("water_withdrawal_violation_neg_cost", |costs, value| costs.withdrawal_below = value),
    ("inflow_nonnegativity_cost", |costs, value| costs.inflow_nonnegativity = Some(value)),
];

/// The defaults of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Penalties {
    pub(crate) deficit: Vec<DeficitSegment>,
    /// In `$/MWh`.
    pub(crate) excess_cost: f64,
    /// In `$/MWh`.
    pub(crate) exchange_cost: f64,
    pub(crate) hydro: HydroCosts,
}

impl Penalties {
    /// Reads `penalties.json`.
    pub(crate) fn read(document: Option<&Value>, problems: &crate::problems::Problems) -> Self {
        let mut penalties = Self::default();
        let root = document.and_then(|document| Fields::root(document, "penalties.json", problems));
        let Some(mut root) = root else { return penalties };
        if let Some(mut bus) = root.object("bus") {
            let list = bus.list("deficit_segments");
            penalties.deficit = read_deficit(&mut bus, list);
            penalties.excess_cost = bus.number("excess_cost", Range::Positive);
            bus.finish();
        }
        if let Some(mut line) = root.object("line") {
            penalties.exchange_cost = line.number("exchange_cost", Range::Positive);
            line.finish();
        }
        if let Some(mut hydro) = root.object("hydro") {
            for (key, set) in HYDRO_COSTS {
                set(&mut penalties.hydro, hydro.number(key, cost_range(key)));
            }
            read_optional_costs(&mut hydro, OPTIONAL_HYDRO_COSTS, &mut penalties.hydro);
            hydro.finish();
        }
        if let Some(mut source) = root.object("non_controllable_source") {
            source.number("curtailment_cost", Range::Positive);
            source.finish();
        }
        root.finish();
        penalties
    }
}

/// Which values a cost takes: above 0, except for the one that cases without a price for it set to 0.
pub(crate) fn cost_range(key: &str) -> Range {
    if key == "fpha_turbined_cost" { Range::NonNegative } else { Range::Positive }
}

/// Reads the costs that are there.
pub(crate) fn read_optional_costs(
    fields: &mut Fields<'_>,
    keys: &'static [(&'static str, Setter)],
    costs: &mut HydroCosts,
) {
    for (key, set) in keys {
        if let Some(value) = fields.optional_number(key, cost_range(key)) {
            set(costs, value);
        }
    }
}

/// Reads the tiers of deficit, which the list of `deficit_segments` of `fields` holds.
pub(crate) fn read_deficit<'a>(fields: &mut Fields<'a>, list: &'a [Value]) -> Vec<DeficitSegment> {
    let mut segments: Vec<DeficitSegment> = Vec::new();
    let count = list.len();
    if count == 0 {
        fields.problem(
            ErrorKind::SchemaViolation,
            "deficit_segments",
            "an empty list",
            "at least one segment",
        );
    }
    for (index, mut segment) in fields.parts("deficit_segments", list).into_iter().enumerate() {
        let depth_mw = segment.optional_number("depth_mw", Range::Positive);
        let cost_per_mwh = segment.number("cost", Range::Positive);
        let last = index + 1 == count;
        if last && depth_mw.is_some() {
            let expected = "null: the last segment has no end";
            segment.problem(ErrorKind::PenaltyConsistency, "depth_mw", "a depth", expected);
        }
        if !last && depth_mw.is_none() {
            let expected = "a depth: only the last segment has no end";
            segment.problem(ErrorKind::PenaltyConsistency, "depth_mw", "null", expected);
        }
        if let Some(before) = segments.last().filter(|before| before.cost_per_mwh > cost_per_mwh) {
            let expected = format!("at least {}, the cost of the segment before", before.cost_per_mwh);
            segment.problem(ErrorKind::PenaltyConsistency, "cost", &cost_per_mwh.to_string(), &expected);
        }
        segments.push(DeficitSegment { depth_mw, cost_per_mwh });
        segment.finish();
    }
    segments
}
