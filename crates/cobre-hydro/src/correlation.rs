//! Spatial correlation of the noise: `scenarios/correlation.json`.

use std::collections::BTreeMap;

use cobre_core::ErrorKind;
use nalgebra::{DMatrix, SymmetricEigen};
use serde_json::Value;

use crate::folder::Folder;
use crate::problems::{Place, Problems, suggesting};
use crate::reader::{Fields, shown};
use crate::registry::Registry;
use crate::series::check_stage;
use crate::stages::Stage;

const FILE: &str = "scenarios/correlation.json";

/// Rounding that a written matrix may carry.
const TOLERANCE: f64 = 1e-9;

/// What an entry of the noise belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoiseEntity {
    /// Inflow of a hydro.
    Hydro(i32),
    /// Load of a bus.
    Bus(i32),
}

/// Entities whose noise is mixed, with the root of their correlation matrix.
#[derive(Clone, Debug)]
struct Group {
    /// Positions in the noise, ascending.
    members: Vec<usize>,
    root: DMatrix<f64>,
}

/// The correlation of every stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Correlation {
    profiles: BTreeMap<String, Vec<Group>>,
    schedule: BTreeMap<i32, String>,
    default_profile: Option<String>,
}

impl Correlation {
    /// Reads the file; without it the noise is independent.
    pub(crate) fn read(folder: &Folder<'_>, entities: &[NoiseEntity], stages: &Registry<Stage>) -> Self {
        let mut correlation = Self::default();
        let document = folder.optional_document(FILE);
        let root = document.as_ref().and_then(|document| Fields::root(document, FILE, folder.problems));
        let Some(mut root) = root else { return correlation };
        let method = root.word("method", &["spectral", "cholesky"], true);
        let profiles = root.optional("profiles");
        match profiles.map(|value| (value, value.as_object())) {
            Some((_, Some(map))) => {
                for (name, value) in map {
                    let place = Place::entity(FILE, format!("profiles.{name}"));
                    let Some(mut profile) = Fields::open(value, place, folder.problems) else { continue };
                    let groups = read_profile(&mut profile, entities, method == Some("cholesky"));
                    profile.finish();
                    correlation.profiles.insert(name.clone(), groups);
                }
            }
            Some((value, None)) => {
                root.problem(ErrorKind::TypeMismatch, "profiles", &shown(value), "an object of profiles");
            }
            None => root.problem(ErrorKind::SchemaViolation, "profiles", "nothing", "an object of profiles"),
        }
        correlation.read_schedule(&mut root, stages);
        root.finish();
        correlation.choose_default(stages, folder.problems);
        correlation
    }

    fn read_schedule(&mut self, root: &mut Fields<'_>, stages: &Registry<Stage>) {
        let Some(list) = root.optional_list("schedule") else { return };
        for mut entry in root.parts("schedule", list) {
            let stage = entry.id("stage_id");
            let name = entry.text("profile_name");
            let stage = stage.filter(|stage| check_stage(stages, *stage, entry.place(), entry.problems()));
            if let Some(name) = name.filter(|name| !self.profiles.contains_key(*name)) {
                let field = entry.path("profile_name");
                let expected = "the name of a profile";
                let mut problem = entry.place().problem(ErrorKind::MissingReference, &field, name, expected);
                problem.suggestion =
                    crate::problems::did_you_mean(name, self.profiles.keys().map(String::as_str));
                entry.problems().add(problem);
            }
            if let (Some(stage), Some(name)) = (stage, name)
                && self.schedule.insert(stage, name.to_owned()).is_some()
            {
                entry.problem(ErrorKind::DuplicateId, "stage_id", &stage.to_string(), "each stage once");
            }
            entry.finish();
        }
    }

    fn choose_default(&mut self, stages: &Registry<Stage>, problems: &Problems) {
        let names: Vec<&String> = self.profiles.keys().collect();
        self.default_profile = match names.as_slice() {
            [only] => Some((*only).clone()),
            _ => self.profiles.contains_key("default").then(|| "default".to_owned()),
        };
        let uncovered = stages.ids.iter().find(|stage| !self.schedule.contains_key(stage));
        if let (None, Some(stage)) = (&self.default_profile, uncovered)
            && !self.profiles.is_empty()
        {
            let value = format!("no profile for stage {stage}");
            let place = Place::file(FILE);
            let expected = "a schedule of every stage, or a profile named `default` for the others";
            problems.add(place.problem(ErrorKind::CoverageMismatch, "schedule", value, expected));
        }
    }

    /// Correlates independent standard normals of a stage in place.
    pub(crate) fn apply(&self, stage: i32, values: &mut [f64]) {
        let name = self.schedule.get(&stage).or(self.default_profile.as_ref());
        for group in name.and_then(|name| self.profiles.get(name)).into_iter().flatten() {
            let independent: Vec<f64> = group.members.iter().map(|&member| values[member]).collect();
            for (row, &member) in group.members.iter().enumerate() {
                let terms =
                    independent.iter().enumerate().map(|(column, value)| group.root[(row, column)] * value);
                values[member] = terms.sum();
            }
        }
    }
}

fn read_profile(profile: &mut Fields<'_>, entities: &[NoiseEntity], cholesky: bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut taken = Vec::new();
    let list = profile.list("correlation_groups");
    for mut part in profile.parts("correlation_groups", list) {
        part.text("name");
        let before = part.problems().count();
        let members = read_members(&mut part, entities, &mut taken);
        let size = part.list("entities").len();
        let matrix = read_matrix(&mut part, size);
        if part.problems().count() == before
            && let Some(matrix) = matrix
        {
            groups.extend(make_group(&part, &members, &matrix, cholesky));
        }
        part.finish();
    }
    groups
}

fn read_members(part: &mut Fields<'_>, entities: &[NoiseEntity], taken: &mut Vec<NoiseEntity>) -> Vec<usize> {
    let list = part.optional_list("entities").unwrap_or_default();
    let mut members = Vec::new();
    for mut item in part.parts("entities", list) {
        let kind = item.word("type", &["inflow", "load", "ncs"], true);
        let id = item.id("id");
        let entity = match (kind, id) {
            (Some("inflow"), Some(id)) => Some(NoiseEntity::Hydro(id)),
            (Some("load"), Some(id)) => Some(NoiseEntity::Bus(id)),
            (Some("ncs"), _) => {
                item.refuse_value("type", "\"ncs\"", "non-controllable sources");
                None
            }
            _ => None,
        };
        if let Some(entity) = entity {
            if taken.contains(&entity) {
                item.problem(
                    ErrorKind::DuplicateId,
                    "id",
                    &format!("{entity:?}"),
                    "each entity in one group",
                );
            }
            taken.push(entity);
            if let Some(position) = entities.iter().position(|other| *other == entity) {
                members.push(position);
            } else {
                let expected = "a hydro, or a bus whose load has a standard deviation above 0";
                item.problem(ErrorKind::MissingReference, "id", &format!("{entity:?}"), expected);
            }
        }
        item.finish();
    }
    members
}

fn read_matrix(part: &mut Fields<'_>, size: usize) -> Option<DMatrix<f64>> {
    let list = part.list("matrix");
    let mut matrix = DMatrix::zeros(size, size);
    let shaped =
        list.len() == size && list.iter().all(|row| row.as_array().is_some_and(|row| row.len() == size));
    if !shaped {
        let expected = format!("{size} rows of {size} numbers, one per entity");
        part.problem(ErrorKind::CoverageMismatch, "matrix", "a matrix of another shape", &expected);
        return None;
    }
    for (row, values) in list.iter().filter_map(Value::as_array).enumerate() {
        for (column, value) in values.iter().enumerate() {
            let number = value.as_f64().filter(|number| number.abs() <= 1.0 + TOLERANCE);
            let Some(number) = number else {
                let key = format!("matrix[{row}][{column}]");
                part.problem(ErrorKind::OutOfRange, &key, &shown(value), "a number from -1 to 1");
                return None;
            };
            matrix[(row, column)] = number;
        }
    }
    Some(matrix)
}

/// Orders the members by position, checks the matrix and takes its root.
fn make_group(part: &Fields<'_>, members: &[usize], matrix: &DMatrix<f64>, cholesky: bool) -> Option<Group> {
    let fail = |value: String, expected: &str| {
        part.problem(ErrorKind::OutOfRange, "matrix", &value, expected);
        None
    };
    let size = members.len();
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by_key(|&index| members[index]);
    for row in 0..size {
        if (matrix[(row, row)] - 1.0).abs() > TOLERANCE {
            return fail(format!("{} at [{row}][{row}]", matrix[(row, row)]), "ones on the diagonal");
        }
        for column in 0..row {
            if (matrix[(row, column)] - matrix[(column, row)]).abs() > TOLERANCE {
                return fail(
                    format!("entries [{row}][{column}] and its mirror differ"),
                    "a symmetric matrix",
                );
            }
        }
    }
    let sorted = DMatrix::from_fn(size, size, |row, column| {
        let (row, column) = (order[row], order[column]);
        // The mean of both halves: rounding in the file must not make the root asymmetric.
        if row == column { 1.0 } else { 0.5 * (matrix[(row, column)] + matrix[(column, row)]) }
    });
    let eigen = SymmetricEigen::new(sorted.clone());
    let smallest = eigen.eigenvalues.iter().copied().fold(f64::INFINITY, f64::min);
    if smallest < -TOLERANCE * size as f64 {
        return fail(format!("an eigenvalue of {smallest}"), "a positive semidefinite matrix");
    }
    let root = if cholesky {
        let Some(decomposition) = sorted.cholesky() else {
            let place = part.place();
            let expected = "a positive definite matrix for the method cholesky";
            let problem =
                place.problem(ErrorKind::OutOfRange, &part.path("matrix"), "a singular matrix", expected);
            part.problems().add(suggesting(problem, "the method spectral takes singular matrices"));
            return None;
        };
        decomposition.l()
    } else {
        let roots = eigen.eigenvalues.map(|value| value.max(0.0).sqrt());
        &eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose()
    };
    Some(Group { members: order.iter().map(|&index| members[index]).collect(), root })
}
