//! Values by entity and stage: seasonal statistics and block factors.

use std::collections::{BTreeMap, BTreeSet};

use cobre_core::ErrorKind;

use crate::folder::Folder;
use crate::network::read_reference;
use crate::problems::{Place, Problems};
use crate::reader::{Fields, Range};
use crate::registry::{Ids, Registry};
use crate::stages::Stage;
use crate::tables::{ColumnRule, Table};

/// Entity id and stage id.
pub(crate) type Key = (i32, i32);

/// Entity id, stage id and block id.
pub(crate) type BlockKey = (i32, i32, i32);

/// A row of a table with its keys, all of which exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyedRow {
    pub(crate) row: usize,
    pub(crate) key: Key,
    /// `None` for all blocks of the stage.
    pub(crate) block: Option<i32>,
}

/// The rows whose entity, stage and block exist and stand there once; problems for the others.
pub(crate) fn keyed_rows(
    table: &Table,
    entity: (&'static str, &Ids),
    stages: &Registry<Stage>,
    problems: &Problems,
) -> Vec<KeyedRow> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    for row in 0..table.rows {
        let (Some(id), Some(stage)) = (table.id(entity.0, row), table.id("stage_id", row)) else { continue };
        let block = table.id("block_id", row);
        let place = table.place(row);
        let entity_exists = entity.1.check(id, &place, entity.0, problems);
        let stage_exists = check_stage(stages, stage, &place, problems);
        let block_exists = block.is_none_or(|block| check_block(stages, (stage, block), &place, problems));
        if !(entity_exists && stage_exists && block_exists) {
            continue;
        }
        if seen.insert((id, stage, block)) {
            rows.push(KeyedRow { row, key: (id, stage), block });
        } else {
            let value = format!("{} {id}, stage {stage} a second time", entity.1.noun);
            problems.add(place.problem(
                ErrorKind::DuplicateId,
                entity.0,
                value,
                "each entity and stage once",
            ));
        }
    }
    rows
}

/// Records a problem for a stage that does not exist; true when it does.
pub(crate) fn check_stage(stages: &Registry<Stage>, id: i32, place: &Place, problems: &Problems) -> bool {
    let exists = stages.ids.allows(id);
    if !exists {
        let expected = match (stages.ids.iter().next(), stages.ids.iter().last()) {
            (Some(first), Some(last)) => format!("a stage of the case, {first} to {last}"),
            _ => "a stage of the case".to_owned(),
        };
        problems.add(place.problem(ErrorKind::StageMismatch, "stage_id", id, expected));
    }
    exists
}

/// Records a problem for a block that a stage does not have; true when it has.
fn check_block(stages: &Registry<Stage>, at: (i32, i32), place: &Place, problems: &Problems) -> bool {
    let Some(index) = stages.index(at.0) else { return true };
    let exists = stages.entities[index].blocks.iter().any(|block| block.id == at.1);
    if !exists {
        let expected = format!("the id of a block of stage {}", at.0);
        problems.add(place.problem(ErrorKind::MissingReference, "block_id", at.1, expected));
    }
    exists
}

/// Mean and standard deviation.
pub(crate) type Statistics = BTreeMap<Key, (f64, f64)>;

/// Reads `inflow_seasonal_stats` in m3/s: every hydro at every stage.
pub(crate) fn read_inflow(folder: &Folder<'_>, hydros: &Ids, stages: &Registry<Stage>) -> Statistics {
    const STEM: &str = "scenarios/inflow_seasonal_stats";
    let rules = [
        ColumnRule::id("hydro_id"),
        ColumnRule::id("stage_id"),
        ColumnRule::real("mean_m3s", Range::Any),
        ColumnRule::real("std_m3s", Range::NonNegative),
    ];
    if !folder.has_table(STEM) && hydros.iter().next().is_some() {
        folder.missing_table(STEM, "the inflow of every hydro at every stage");
    }
    let Some(table) = folder.table(STEM, &rules) else { return Statistics::new() };
    let statistics =
        read_statistics(&table, ("hydro_id", hydros), ("mean_m3s", "std_m3s"), (stages, folder.problems));
    for id in hydros.iter() {
        check_coverage(&table, (hydros.noun, id), &statistics, (stages, folder.problems));
    }
    statistics
}

/// Reads `load_seasonal_stats` in MW: a bus has no rows (no load) or one for every stage.
pub(crate) fn read_load(folder: &Folder<'_>, buses: &Ids, stages: &Registry<Stage>) -> Statistics {
    const STEM: &str = "scenarios/load_seasonal_stats";
    let rules = [
        ColumnRule::id("bus_id"),
        ColumnRule::id("stage_id"),
        ColumnRule::real("mean_mw", Range::NonNegative),
        ColumnRule::real("std_mw", Range::NonNegative),
    ];
    if !folder.has_table(STEM) {
        folder.missing_table(STEM, "the load of the buses");
    }
    let Some(table) = folder.table(STEM, &rules) else { return Statistics::new() };
    let statistics =
        read_statistics(&table, ("bus_id", buses), ("mean_mw", "std_mw"), (stages, folder.problems));
    let loaded: BTreeSet<i32> = statistics.keys().map(|key| key.0).collect();
    for id in loaded {
        check_coverage(&table, (buses.noun, id), &statistics, (stages, folder.problems));
    }
    statistics
}

fn read_statistics(
    table: &Table,
    entity: (&'static str, &Ids),
    columns: (&str, &str),
    (stages, problems): (&Registry<Stage>, &Problems),
) -> Statistics {
    let value = |column, row| table.real(column, row).unwrap_or(f64::NAN);
    let rows = keyed_rows(table, entity, stages, problems);
    rows.iter().map(|row| (row.key, (value(columns.0, row.row), value(columns.1, row.row)))).collect()
}

fn check_coverage(
    table: &Table,
    (noun, id): (&str, i32),
    statistics: &Statistics,
    (stages, problems): (&Registry<Stage>, &Problems),
) {
    let missing: Vec<String> = stages
        .ids
        .iter()
        .filter(|stage| !statistics.contains_key(&(id, *stage)))
        .map(|s| s.to_string())
        .collect();
    if !missing.is_empty() {
        let value = format!("no row for stage {}", missing.join(", "));
        let place = Place::entity(&table.file, format!("{noun} {id}"));
        problems.add(place.problem(ErrorKind::CoverageMismatch, "stage_id", value, "a row for every stage"));
    }
}

/// Factors by entity, stage and block, one per key of `factor_keys`.
pub(crate) type Factors<const N: usize> = BTreeMap<BlockKey, [f64; N]>;

/// The words of a file of factors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FactorSource<'a, const N: usize> {
    pub(crate) file: &'static str,
    pub(crate) list_key: &'static str,
    pub(crate) entity: (&'static str, &'a Ids),
    pub(crate) factor_keys: [&'static str; N],
}

/// Reads a file of block factors; blocks without an entry keep the factor 1.
pub(crate) fn read_factors<const N: usize>(
    folder: &Folder<'_>,
    source: FactorSource<'_, N>,
    stages: &Registry<Stage>,
) -> Factors<N> {
    let mut factors = Factors::new();
    let problems = folder.problems;
    let document = folder.optional_document(source.file);
    let root = document.as_ref().and_then(|document| Fields::root(document, source.file, problems));
    let Some(mut root) = root else { return factors };
    for (index, value) in root.list(source.list_key).iter().enumerate() {
        let place = Place::entity(source.file, format!("{}[{index}]", source.list_key));
        let Some(mut fields) = Fields::open(value, place, problems) else { continue };
        let id = read_reference(&mut fields, source.entity.0, source.entity.1);
        let stage = fields.id("stage_id");
        let stage = stage.filter(|stage| check_stage(stages, *stage, fields.place(), problems));
        let list = fields.list("block_factors");
        for mut part in fields.parts("block_factors", list) {
            let block = part.id("block_id");
            let values = source.factor_keys.map(|key| part.number(key, Range::NonNegative));
            if let (Some(id), Some(stage), Some(block)) = (id, stage, block)
                && check_block(stages, (stage, block), part.place(), problems)
                && factors.insert((id, stage, block), values).is_some()
            {
                part.problem(ErrorKind::DuplicateId, "block_id", &block.to_string(), "each block once");
            }
            part.finish();
        }
        fields.finish();
    }
    root.finish();
    factors
}
