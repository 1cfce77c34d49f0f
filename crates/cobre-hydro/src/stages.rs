//! `stages.json`: the horizon, its blocks and the policy graph.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use cobre_core::ErrorKind;
use cobre_sddp::Risk;
use serde_json::Value;

use crate::problems::{Place, Problems};
use crate::reader::{Fields, Range, shown};
use crate::registry::{Entity, Ids, Registry, RegistrySource};

const FILE: &str = "stages.json";

/// Days of a year in discount factors.
const DAYS_PER_YEAR: f64 = 365.25;

/// Hours times m3/s give hm3 after this factor: seconds per hour over m3 per hm3.
const HM3_PER_M3S_HOUR: f64 = 3600.0 / 1e6;

/// A load block of a stage.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) hours: f64,
}

impl Block {
    /// Volume in hm3 of one m3/s over the block.
    pub(crate) fn hm3_per_m3s(&self) -> f64 {
        self.hours * HM3_PER_M3S_HOUR
    }
}

/// A stage of the horizon.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stage {
    pub(crate) id: i32,
    pub(crate) start: NaiveDate,
    pub(crate) end: NaiveDate,
    pub(crate) season: Option<i32>,
    /// Sorted by id.
    pub(crate) blocks: Vec<Block>,
    pub(crate) openings: usize,
    pub(crate) risk: Risk,
    /// Factor on every cost after the stage.
    pub(crate) discount: f64,
}

impl Entity for Stage {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Stage {
    /// Hours of all blocks.
    pub(crate) fn hours(&self) -> f64 {
        self.blocks.iter().map(|block| block.hours).sum()
    }

    /// Days from the first day to the last.
    pub(crate) fn days(&self) -> f64 {
        (self.end - self.start).num_days() as f64
    }
}

/// The factor on costs one stage of `days` later, at an annual rate: `(1 + rate)^(-days / 365.25)`.
pub(crate) fn discount_factor(annual_rate: f64, days: f64) -> f64 {
    (1.0 + annual_rate).powf(-days / DAYS_PER_YEAR)
}

/// Reads `stages.json`; the stages are sorted by id.
pub(crate) fn read_stages(document: Option<&Value>, problems: &Problems) -> Registry<Stage> {
    let source = RegistrySource { file: FILE, key: "stages", noun: "stage" };
    let root = document.and_then(|document| Fields::root(document, FILE, problems));
    let Some(mut root) = root else { return Registry { entities: Vec::new(), ids: Ids::unknown("stage") } };
    let seasons = read_seasons(&mut root);
    let graph = root.object("policy_graph");
    root.refuse_list("pre_study_stages", "stages before the study (PAR)");
    if root.optional("scenario_source").is_some() {
        let expected = "no such key here: it belongs to config.json";
        root.problem(ErrorKind::SchemaViolation, "scenario_source", "an object", expected);
    }
    let list = root.list("stages");
    let mut stages =
        Registry::read_list(list, source, problems, |fields, id| read_stage(fields, id, &seasons));
    if list.is_empty() {
        root.problem(ErrorKind::SchemaViolation, "stages", "no stage", "at least one stage");
    }
    root.finish();
    check_order(&stages, problems);
    if let Some(graph) = graph {
        read_graph(graph, &mut stages);
    }
    stages
}

fn read_seasons(root: &mut Fields<'_>) -> Ids {
    let mut ids = BTreeSet::new();
    if let Some(mut definitions) = root.optional_object("season_definitions") {
        definitions.word("cycle_type", &["monthly", "weekly", "custom"], true);
        let list = definitions.list("seasons");
        for mut season in definitions.parts("seasons", list) {
            let id = season.id("id");
            season.text("label");
            season.whole("month_start", 1);
            for key in ["day_start", "month_end", "day_end"] {
                season.optional_whole(key, 1);
            }
            if let Some(id) = id.filter(|id| !ids.insert(*id)) {
                season.problem(ErrorKind::DuplicateId, "id", &id.to_string(), "an id of its own");
            }
            season.finish();
        }
        definitions.finish();
    }
    Ids::of("season", ids)
}

/// More openings of a stage than this are a slip, and would fill the memory.
const MOST_OPENINGS: u64 = 1_000_000;

fn read_stage(fields: &mut Fields<'_>, id: i32, seasons: &Ids) -> Option<Stage> {
    let start = read_date(fields, "start_date");
    let end = read_date(fields, "end_date");
    if let (Some(start), Some(end)) = (start, end)
        && end <= start
    {
        let expected = format!("a date after start_date = {start}");
        fields.problem(ErrorKind::StageMismatch, "end_date", &end.to_string(), &expected);
    }
    let blocks = read_blocks(fields);
    let openings = fields.whole("num_scenarios", 1).unwrap_or(1);
    if openings > MOST_OPENINGS {
        let expected = format!("at most {MOST_OPENINGS}");
        fields.problem(ErrorKind::OutOfRange, "num_scenarios", &openings.to_string(), &expected);
    }
    let openings = openings.min(MOST_OPENINGS) as usize;
    let season = fields.optional_id("season_id");
    if let Some(season) = season {
        seasons.check(season, fields.place(), "season_id", fields.problems());
    }
    if fields
        .word("block_mode", &["parallel", "sequential", "chronological"], false)
        .is_some_and(|m| m != "parallel")
    {
        fields.refuse("block_mode", "blocks with storage between them");
    }
    let methods = ["saa", "lhs", "qmc_sobol", "qmc_halton", "selective", "historical_residuals"];
    if fields.word("sampling_method", &methods, false).is_some_and(|method| method != "saa") {
        fields.refuse("sampling_method", "a sampling method other than saa");
    }
    if let Some(mut variables) = fields.optional_object("state_variables") {
        if !variables.flag("storage", true) {
            variables.refuse_value("storage", "false", "a stage without storage as state");
        }
        if variables.flag("inflow_lags", false) {
            variables.refuse_value("inflow_lags", "true", "inflow with autoregressive lags (PAR)");
        }
        variables.finish();
    }
    let risk = read_risk(fields);
    Some(Stage { id, start: start?, end: end?, season, blocks, openings, risk, discount: 1.0 })
}

fn read_date(fields: &mut Fields<'_>, key: &'static str) -> Option<NaiveDate> {
    let text = fields.text(key)?;
    let date = text.parse::<NaiveDate>().ok();
    if date.is_none() {
        fields.problem(
            ErrorKind::TypeMismatch,
            key,
            &shown(&Value::from(text)),
            "a date such as \"2024-01-31\"",
        );
    }
    date
}

fn read_blocks(fields: &mut Fields<'_>) -> Vec<Block> {
    let list = fields.list("blocks");
    let mut blocks: Vec<Block> = Vec::new();
    for mut part in fields.parts("blocks", list) {
        let id = part.id("id");
        let name = part.text("name").unwrap_or_default().to_owned();
        let hours = part.number("hours", Range::Positive);
        if let Some(id) = id {
            if blocks.iter().any(|block| block.id == id) {
                part.problem(
                    ErrorKind::DuplicateId,
                    "id",
                    &id.to_string(),
                    "an id of its own within the stage",
                );
            }
            blocks.push(Block { id, name, hours });
        }
        part.finish();
    }
    if list.is_empty() && fields.optional("blocks").is_some_and(Value::is_array) {
        fields.problem(ErrorKind::SchemaViolation, "blocks", "an empty list", "at least one block");
    }
    blocks.sort_by_key(|block| block.id);
    blocks
}

fn read_risk(fields: &mut Fields<'_>) -> Risk {
    if fields.optional("risk_measure").is_none_or(Value::is_string) {
        fields.word("risk_measure", &["expectation"], false);
        return Risk::Expectation;
    }
    let Some(mut measure) = fields.object("risk_measure") else { return Risk::Expectation };
    let mut risk = Risk::Expectation;
    if let Some(mut cvar) = measure.object("cvar") {
        let alpha = cvar.number("alpha", Range::PositiveUnit);
        let weight = cvar.number("lambda", Range::Unit);
        risk = Risk::ExpectationCvar { alpha, weight };
        cvar.finish();
    }
    measure.finish();
    risk
}

fn check_order(stages: &Registry<Stage>, problems: &Problems) {
    if !stages.ids.is_readable() {
        return;
    }
    let ids: Vec<i32> = stages.ids.iter().collect();
    for pair in ids.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
        let place = Place::entity(FILE, format!("stage {}", pair[0] + 1));
        let value = format!("stage {} after stage {}", pair[1], pair[0]);
        problems.add(place.problem(
            ErrorKind::StageMismatch,
            "id",
            value,
            "stages whose ids follow each other",
        ));
    }
    for pair in stages.entities.windows(2).filter(|pair| pair[1].id == pair[0].id + 1) {
        if pair[1].start != pair[0].end {
            let place = Place::entity(FILE, format!("stage {}", pair[1].id));
            let expected = format!("{}, where stage {} ends", pair[0].end, pair[0].id);
            problems.add(place.problem(ErrorKind::StageMismatch, "start_date", pair[1].start, expected));
        }
    }
}

fn read_graph(mut graph: Fields<'_>, stages: &mut Registry<Stage>) {
    if graph.word("type", &["finite_horizon", "cyclic"], true) == Some("cyclic") {
        graph.refuse_value("type", "\"cyclic\"", "a cyclic policy graph");
    }
    let rate = graph.number("annual_discount_rate", Range::NonNegative);
    for stage in &mut stages.entities {
        stage.discount = discount_factor(rate, stage.days());
    }
    let Some(list) = graph.optional_list("transitions").filter(|list| !list.is_empty()) else {
        graph.finish();
        return;
    };
    let last = stages.ids.iter().last();
    let mut covered = BTreeSet::new();
    for mut arc in graph.parts("transitions", list) {
        let source = arc.id("source_id");
        let target = arc.id("target_id");
        let probability = arc.number("probability", Range::Unit);
        let override_rate = arc.optional_number("annual_discount_rate_override", Range::NonNegative);
        let field = arc.path("source_id");
        if let (Some(source), Some(target)) = (source, target)
            && stages.ids.check(source, arc.place(), &field, arc.problems())
            && stages.ids.check(target, arc.place(), &field.replace("source", "target"), arc.problems())
        {
            if target != source + 1 {
                let value = format!("{source} → {target}");
                arc.refuse_value("target_id", &value, "a policy graph other than the chain of stages");
            }
            if !covered.insert(source) {
                arc.problem(
                    ErrorKind::DuplicateId,
                    "source_id",
                    &source.to_string(),
                    "one transition per stage",
                );
            }
            if let (Some(rate), Some(index)) = (override_rate, stages.index(source)) {
                let days = stages.entities[index].days();
                stages.entities[index].discount = discount_factor(rate, days);
            }
        }
        if probability < 1.0 - 1e-12 {
            let value = probability.to_string();
            arc.refuse_value("probability", &value, "a policy graph other than the chain of stages");
        }
        arc.finish();
    }
    for id in stages.ids.iter().filter(|id| Some(*id) != last && !covered.contains(id)) {
        let value = format!("no transition from stage {id}");
        graph.problem(
            ErrorKind::CoverageMismatch,
            "transitions",
            &value,
            "one from every stage but the last",
        );
    }
    graph.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_is_discounted_at_the_rate_itself() {
        assert!((discount_factor(0.1, 365.25) - 1.0 / 1.1).abs() < 1e-15);
        assert_eq!(discount_factor(0.0, 31.0), 1.0);
        let month = discount_factor(0.9906f64.powf(-365.25 / 30.0) - 1.0, 30.0);
        assert!((month - 0.9906).abs() < 1e-12);
    }
}
