//! A policy read back is the policy that was written, and nothing else passes for one.

mod common;

use std::fs;
use std::path::Path;

use cobre::policy_files::{cuts_table, from_bytes, load, save, to_bytes};
use cobre_core::{ContextValue, Error, ErrorKind};
use common::{Cut, names, policy, same, small_policy};
use proptest::prelude::*;

fn any_finite() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
}

fn cut(states: usize) -> impl Strategy<Value = Cut> {
    (any_finite(), prop::collection::vec(any_finite(), states), any::<(u32, u32)>(), any::<bool>())
}

fn nodes() -> impl Strategy<Value = (usize, Vec<Vec<Cut>>)> {
    (0usize..4).prop_flat_map(|states| {
        (Just(states), prop::collection::vec(prop::collection::vec(cut(states), 0..6), 0..5))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_round_trip_keeps_every_bit(((states, nodes), lower_bound) in (nodes(), any_finite())) {
        let states = &["storage:0", "node", "état ½", "lag:3:1"][..states];
        let written = policy(states, nodes, lower_bound);
        let folder = tempfile::tempdir().unwrap();
        save(&written, folder.path()).unwrap();
        prop_assert!(same(&written, &load(folder.path()).unwrap()));
        prop_assert!(same(&written, &from_bytes(&to_bytes(&written).unwrap()).unwrap()));
        prop_assert_eq!(names(folder.path()), ["cuts.parquet", "policy.json"]);
    }
}

#[test]
fn an_untrained_policy_round_trips() {
    let written = policy(&[], vec![Vec::new()], f64::NEG_INFINITY);
    assert!(same(&written, &from_bytes(&to_bytes(&written).unwrap()).unwrap()));
}

#[test]
fn equal_policies_give_equal_files_and_an_older_policy_is_replaced() {
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    save(&policy(&["x"], vec![vec![(1.0, vec![2.0], (1, 0), true)]], 0.0), other.path()).unwrap();
    save(&small_policy(), one.path()).unwrap();
    save(&small_policy(), other.path()).unwrap();
    assert_eq!(common::files(one.path()), common::files(other.path()));
}

#[test]
fn cuts_are_a_table() {
    let stored = small_policy();
    let table = cuts_table(&stored.policy, Some(0)).unwrap();
    let columns: Vec<_> = table.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let fixed = ["node", "stage", "cut_id", "iteration", "path", "is_active", "intercept"];
    assert_eq!(columns[..7], fixed);
    assert_eq!(columns[7..], ["storage:0", "state:path"], "a state called like a column gets another name");
    assert_eq!(table.rows(), 2);
    assert_eq!(cuts_table(&stored.policy, Some(9)).unwrap_err().kind(), ErrorKind::MissingReference);
}

fn expect_failure(folder: &Path, kind: ErrorKind, file: &str) -> Error {
    let error = load(folder).expect_err("the policy is not readable");
    assert_eq!(error.kind(), kind, "{error}");
    let path = ContextValue::Text(folder.join(file).display().to_string());
    assert_eq!(error.context().get("path"), Some(&path), "{error}");
    error
}

#[test]
fn missing_files_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    expect_failure(folder.path(), ErrorKind::OutputNotFound, "policy.json");
    expect_failure(&folder.path().join("nowhere"), ErrorKind::OutputNotFound, "policy.json");
    save(&small_policy(), folder.path()).unwrap();
    fs::remove_file(folder.path().join("cuts.parquet")).unwrap();
    expect_failure(folder.path(), ErrorKind::OutputNotFound, "cuts.parquet");

    let parent = tempfile::tempdir().unwrap();
    save(&small_policy(), &parent.path().join("policy")).unwrap();
    let error = expect_failure(parent.path(), ErrorKind::OutputNotFound, "policy.json");
    assert!(error.suggestion().is_some_and(|text| text.ends_with("policy")), "{error}");
}

#[test]
fn a_mixture_of_two_policies_is_noticed() {
    let [one, other] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    save(&small_policy(), one.path()).unwrap();
    save(&policy(&["storage:0"], vec![Vec::new()], 0.0), other.path()).unwrap();
    fs::copy(other.path().join("cuts.parquet"), one.path().join("cuts.parquet")).unwrap();
    expect_failure(one.path(), ErrorKind::OutputCorrupted, "cuts.parquet");
}

#[test]
fn damage_is_noticed_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let written = small_policy();
    save(&written, folder.path()).unwrap();
    for file in ["policy.json", "cuts.parquet"] {
        let path = folder.path().join(file);
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            // White space in JSON carries nothing; any other change must not pass.
            match load(folder.path()) {
                Ok(read) => {
                    assert!(file == "policy.json" && same(&read, &written), "{file}, byte {position}");
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutputCorrupted, "{error}"),
            }
        }
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        expect_failure(folder.path(), ErrorKind::OutputCorrupted, file);
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn other_versions_and_other_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    save(&small_policy(), folder.path()).unwrap();
    let path = folder.path().join("policy.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let error = expect_failure(folder.path(), ErrorKind::OutputCorrupted, "policy.json");
    assert!(error.message().contains("version 2"), "{error}");
    fs::write(&path, "{\"format\": \"something else\"}").unwrap();
    expect_failure(folder.path(), ErrorKind::OutputCorrupted, "policy.json");
    for bytes in [&b""[..], b"COBREPOL", b"COBREPOL\xff\xff\xff\xff\xff\xff\xff\xff{}"] {
        assert_eq!(from_bytes(bytes).unwrap_err().kind(), ErrorKind::OutputCorrupted);
    }
}
