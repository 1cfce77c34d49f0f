//! The noise of every stage: supplied as a file, or drawn.

use std::collections::BTreeSet;

use cobre_core::{ErrorKind, Purpose, StreamKey};

use crate::correlation::{Correlation, NoiseEntity};
use crate::folder::Folder;
use crate::problems::Place;
use crate::reader::Range;
use crate::registry::Registry;
use crate::series::{Statistics, check_stage};
use crate::stages::Stage;
use crate::tables::{ColumnRule, Table};

const STEM: &str = "scenarios/noise_openings";

/// Standard normal noise, after spatial correlation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Openings {
    /// Whose noise it is: hydros by id, then buses with stochastic load by id.
    pub(crate) entities: Vec<NoiseEntity>,
    /// Stage × opening × entity.
    pub(crate) values: Vec<Vec<Vec<f64>>>,
}

/// Whose noise the case needs, in order.
pub(crate) fn noise_entities(hydros: impl Iterator<Item = i32>, load: &Statistics) -> Vec<NoiseEntity> {
    let stochastic = load.iter().filter(|(_, (_, deviation))| *deviation > 0.0);
    let buses: BTreeSet<i32> = stochastic.map(|(key, _)| key.0).collect();
    hydros.map(NoiseEntity::Hydro).chain(buses.into_iter().map(NoiseEntity::Bus)).collect()
}

impl Openings {
    /// Reads `noise_openings`, or draws: each opening of each stage from a stream of its own, entity by entity.
    pub(crate) fn read(
        folder: &Folder<'_>,
        entities: Vec<NoiseEntity>,
        stages: &Registry<Stage>,
        correlation: &Correlation,
        seed: u64,
    ) -> Self {
        let values = if folder.has_table(STEM) {
            let rules = [
                ColumnRule::id("stage_id"),
                ColumnRule::id("opening_index"),
                ColumnRule::id("entity_index"),
                ColumnRule::real("value", Range::Any),
            ];
            let table = folder.table(STEM, &rules);
            table.map(|table| from_table(folder, &table, entities.len(), stages)).unwrap_or_default()
        } else {
            draw(&entities, stages, correlation, seed)
        };
        Self { entities, values }
    }
}

fn draw(
    entities: &[NoiseEntity],
    stages: &Registry<Stage>,
    correlation: &Correlation,
    seed: u64,
) -> Vec<Vec<Vec<f64>>> {
    let opening = |position: usize, stage: &Stage, opening: usize| {
        let (path, stage_index) = (opening as u64, position as u32);
        let key = StreamKey { seed, purpose: Purpose::Openings, iteration: 0, path, stage: stage_index };
        let mut stream = key.open();
        let mut values: Vec<f64> = entities.iter().map(|_| stream.standard_normal()).collect();
        correlation.apply(stage.id, &mut values);
        values
    };
    let stages = stages.entities.iter().enumerate();
    stages
        .map(|(position, stage)| (0..stage.openings).map(|index| opening(position, stage, index)).collect())
        .collect()
}

fn from_table(
    folder: &Folder<'_>,
    table: &Table,
    entities: usize,
    stages: &Registry<Stage>,
) -> Vec<Vec<Vec<f64>>> {
    let problems = folder.problems;
    let empty = |stage: &Stage| vec![vec![f64::NAN; entities]; stage.openings];
    let mut values: Vec<Vec<Vec<f64>>> = stages.entities.iter().map(empty).collect();
    let mut filled: Vec<Vec<Vec<bool>>> =
        stages.entities.iter().map(|stage| vec![vec![false; entities]; stage.openings]).collect();
    for row in 0..table.rows {
        let cells =
            (table.id("stage_id", row), table.id("opening_index", row), table.id("entity_index", row));
        let (Some(stage), Some(opening), Some(entity)) = cells else { continue };
        let place = table.place(row);
        if !check_stage(stages, stage, &place, problems) {
            continue;
        }
        let Some(position) = stages.index(stage) else { continue };
        let openings = values[position].len();
        let outside = |field, found: i32, count: usize| {
            let expected = format!("an index below {count}");
            problems.add(place.problem(ErrorKind::CoverageMismatch, field, found, expected));
        };
        let Some(opening) = usize::try_from(opening).ok().filter(|opening| *opening < openings) else {
            outside("opening_index", opening, openings);
            continue;
        };
        let Some(entity) = usize::try_from(entity).ok().filter(|entity| *entity < entities) else {
            outside("entity_index", entity, entities);
            continue;
        };
        if std::mem::replace(&mut filled[position][opening][entity], true) {
            let value = format!("opening {opening}, entity {entity} of stage {stage} a second time");
            problems.add(place.problem(ErrorKind::DuplicateId, "entity_index", value, "each value once"));
        }
        values[position][opening][entity] = table.real("value", row).unwrap_or(f64::NAN);
    }
    for (stage, openings) in stages.entities.iter().zip(&filled) {
        let gaps = openings.iter().flatten().filter(|filled| !**filled).count();
        if gaps > 0 {
            let total = stage.openings * entities;
            let value = format!("{gaps} of {total} values missing");
            let expected = format!("{} openings of {entities} entities", stage.openings);
            let place = Place::entity(&table.file, format!("stage {}", stage.id));
            problems.add(place.problem(ErrorKind::CoverageMismatch, "value", value, expected));
        }
    }
    values
}
