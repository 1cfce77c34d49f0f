//! Noise that is drawn: reproducible, of the right moments, correlated as asked.

mod common;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int32Type};
use cobre_core::ErrorKind;
use common::CaseFiles;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Noise by entity, over all openings of all stages.
fn noise(case: &CaseFiles) -> Vec<Vec<f64>> {
    let case = case.load().unwrap_or_else(|error| panic!("{error}"));
    let tables = case.tables().unwrap();
    let (_, openings) = tables.iter().find(|(name, _)| *name == "openings").unwrap();
    let entity = openings.column_by_name("entity_index").unwrap().as_primitive::<Int32Type>();
    let values = openings.column_by_name("noise").unwrap().as_primitive::<Float64Type>();
    let mut by_entity: Vec<Vec<f64>> = Vec::new();
    for (entity, value) in entity.values().iter().zip(values.values()) {
        by_entity.resize_with(by_entity.len().max(*entity as usize + 1), Vec::new);
        by_entity[*entity as usize].push(*value);
    }
    by_entity
}

fn with_openings(count: usize) -> CaseFiles {
    let mut case = CaseFiles::new();
    for stage in 0..3 {
        *case.at("stages.json", &format!("/stages/{stage}/num_scenarios")) = json!(count);
    }
    case
}

fn correlation(method: &str, matrix: &Value) -> Value {
    let entities = json!([{"type": "inflow", "id": 2}, {"type": "inflow", "id": 1}]);
    let group = json!({"name": "all", "entities": entities, "matrix": matrix});
    json!({"method": method, "profiles": {"default": {"correlation_groups": [group]}}})
}

fn sample_correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |x: &[f64], mx: f64, y: &[f64], my: f64| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>()
    };
    product(a, mean_a, b, mean_b) / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
}

#[test]
fn the_same_seed_gives_the_same_noise_and_another_another() {
    let mut case = with_openings(5);
    let first = noise(&case);
    assert_eq!(noise(&case), first);
    case.at("config.json", "/training")["tree_seed"] = json!(43);
    assert_ne!(noise(&case), first);
    // The forward seed does not touch the tree.
    let mut case = with_openings(5);
    case.at("config.json", "/training")["scenario_source"] = json!({"seed": 1});
    assert_eq!(noise(&case), first);
    // More openings: those that were there stay.
    let more = noise(&with_openings(6));
    assert_eq!(more[0][..5], first[0][..5]);
}

#[test]
fn the_sample_has_the_moments_and_the_correlation() {
    for method in ["spectral", "cholesky"] {
        let mut case = with_openings(4000);
        case.set("scenarios/correlation.json", correlation(method, &json!([[1.0, 0.8], [0.8, 1.0]])));
        let noise = noise(&case);
        let count = noise[0].len() as f64;
        for values in &noise {
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
            // Four standard errors of 12,000 normals.
            assert!(mean.abs() < 4.0 / count.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / count).sqrt());
        }
        let found = sample_correlation(&noise[0], &noise[1]);
        assert!((found - 0.8).abs() < 4.0 * 0.36 / count.sqrt(), "{method}: {found}");
    }
}

#[test]
fn a_singular_matrix_is_fine_for_the_spectral_root() {
    let mut case = with_openings(50);
    case.set("scenarios/correlation.json", correlation("spectral", &json!([[1.0, 1.0], [1.0, 1.0]])));
    let noise = noise(&case);
    assert!(noise[0].iter().zip(&noise[1]).all(|(a, b)| (a - b).abs() < 1e-7));
    case.set("scenarios/correlation.json", correlation("cholesky", &json!([[1.0, 1.0], [1.0, 1.0]])));
    let file = "scenarios/correlation.json";
    case.refused(ErrorKind::OutOfRange, file, "correlation_groups[0].matrix");
}

#[test]
fn matrices_and_entities_are_checked() {
    let file = "scenarios/correlation.json";
    for (matrix, kind) in [
        (json!([[1.0, 0.5], [0.4, 1.0]]), ErrorKind::OutOfRange),
        (json!([[1.0, 0.5], [0.5, 0.9]]), ErrorKind::OutOfRange),
        (json!([[1.0, 0.5]]), ErrorKind::CoverageMismatch),
    ] {
        let mut case = CaseFiles::new();
        case.set(file, correlation("spectral", &matrix));
        case.refused(kind, file, "correlation_groups[0].matrix");
    }
    let mut case = CaseFiles::new();
    let mut document = correlation("spectral", &json!([[1.0, 0.0], [0.0, 1.0]]));
    document["profiles"]["default"]["correlation_groups"][0]["entities"][0] =
        json!({"type": "load", "id": 0});
    document["schedule"] = json!([{"stage_id": 1, "profile_name": "defalt"}]);
    case.set(file, document);
    let kinds: Vec<ErrorKind> = case.problems().iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ErrorKind::MissingReference, ErrorKind::MissingReference]);
}

#[test]
fn supplied_openings_must_cover_everything_once() {
    let file = "scenarios/noise_openings.csv";
    let complete = || {
        let mut lines = vec!["stage_id,opening_index,entity_index,value".to_owned()];
        for stage in 0..3 {
            for opening in 0..2 {
                for entity in 0..2 {
                    lines.push(format!("{stage},{opening},{entity},0.25"));
                }
            }
        }
        lines
    };
    let check = |lines: &[String], kind: ErrorKind, field: &str| {
        let mut case = CaseFiles::new();
        case.text(file, &lines.join("\n"));
        case.refused(kind, file, field);
    };
    let mut case = CaseFiles::new();
    case.text(file, &complete().join("\n"));
    assert_eq!(noise(&case), [vec![0.25; 6], vec![0.25; 6]]);
    let mut lines = complete();
    lines.remove(4);
    check(&lines, ErrorKind::CoverageMismatch, "value");
    let mut lines = complete();
    lines.push(lines[4].clone());
    check(&lines, ErrorKind::DuplicateId, "entity_index");
    let mut lines = complete();
    lines.push("0,2,0,1".to_owned());
    check(&lines, ErrorKind::CoverageMismatch, "opening_index");
    let mut lines = complete();
    lines.push("5,0,0,1".to_owned());
    check(&lines, ErrorKind::StageMismatch, "stage_id");
    let mut lines = complete();
    lines[1] = "0,0,0,nan".to_owned();
    check(&lines, ErrorKind::OutOfRange, "value");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The order of entities in a group moves with its matrix and changes nothing.
    #[test]
    fn the_order_within_a_group_changes_nothing(rho in -0.95f64..0.95) {
        let mut case = with_openings(3);
        case.set("scenarios/correlation.json", correlation("spectral", &json!([[1.0, rho], [rho, 1.0]])));
        let first = noise(&case);
        let entities = "/profiles/default/correlation_groups/0/entities";
        case.at("scenarios/correlation.json", entities).as_array_mut().unwrap().reverse();
        prop_assert_eq!(noise(&case), first);
    }
}
