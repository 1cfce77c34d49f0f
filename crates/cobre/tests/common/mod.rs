//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::Write;
use std::path::{Path, PathBuf};

use cobre::policy_files::to_bytes;
use cobre::{Policy, StoredPolicy};
use cobre_lp::{CutOrigin, CutStore};
use cobre_sddp::{NodePolicy, State};

/// Says aloud, past the capture of test output, that a test did nothing and why.
pub(crate) fn skip(test: &str, reason: &str) {
    writeln!(std::io::stderr(), "SKIPPED {test}: {reason}").expect("standard error is open");
}

/// One cut: intercept, coefficients, (iteration, path), active.
pub(crate) type Cut = (f64, Vec<f64>, (u32, u32), bool);

/// A policy with the given cuts per node.
pub(crate) fn policy(states: &[&str], nodes: Vec<Vec<Cut>>, lower_bound: f64) -> StoredPolicy {
    let last = nodes.len().saturating_sub(1);
    let node = |(index, cuts): (usize, Vec<Cut>)| {
        let mut store = CutStore::new(states.len());
        for (intercept, coefficients, (iteration, path), _) in &cuts {
            store.push(*intercept, coefficients, CutOrigin { iteration: *iteration, path: *path });
        }
        store.retain(&cuts.iter().map(|cut| cut.3).collect::<Vec<_>>());
        let cost_to_go_bound = if index == last { f64::NEG_INFINITY } else { -0.1 };
        NodePolicy {
            name: format!("stage {index}"),
            stage: index,
            has_successors: index != last,
            cost_to_go_bound,
            cuts: store,
            basis: vec![index as u8, 255],
        }
    };
    let states = states.iter().map(|name| State { name: (*name).to_owned(), initial: 1.0 / 3.0 }).collect();
    let nodes = nodes.into_iter().enumerate().map(node).collect();
    let policy = Policy { states, nodes, iterations: 3, lower_bound };
    StoredPolicy { policy, seed: Some(u64::MAX), problem_sha256: Some("abc".to_owned()) }
}

/// A small policy with everything in it.
pub(crate) fn small_policy() -> StoredPolicy {
    let cuts =
        vec![(1.0, vec![0.1, -2.0], (1, 0), false), (0.1 + 0.2, vec![f64::MIN_POSITIVE, -0.0], (2, 7), true)];
    policy(&["storage:0", "path"], vec![cuts, Vec::new(), Vec::new()], 1e300 / 3.0)
}

/// All bits of a policy, read through its fields and not through the files under test.
pub(crate) fn bits(stored: &StoredPolicy) -> Vec<u64> {
    let policy = &stored.policy;
    let mut bits = vec![policy.iterations, policy.lower_bound.to_bits(), policy.nodes.len() as u64];
    bits.extend(policy.states.iter().map(|state| state.initial.to_bits()));
    for node in &policy.nodes {
        let flags = u64::from(node.has_successors);
        bits.extend([node.stage as u64, flags, node.cost_to_go_bound.to_bits(), node.cuts.len() as u64]);
        for id in 0..node.cuts.len() as u32 {
            let origin = node.cuts.origin(id);
            bits.extend([
                u64::from(origin.iteration),
                u64::from(origin.path),
                u64::from(node.cuts.is_active(id)),
            ]);
            bits.push(node.cuts.intercept(id).to_bits());
            bits.extend(node.cuts.coefficients(id).iter().map(|value| value.to_bits()));
        }
        bits.extend(node.cuts.active().iter().map(|&id| u64::from(id)));
    }
    bits
}

/// True when two policies are equal in every bit and every word.
pub(crate) fn same(left: &StoredPolicy, right: &StoredPolicy) -> bool {
    let words = |stored: &StoredPolicy| {
        let mut words: Vec<String> = stored.policy.states.iter().map(|state| state.name.clone()).collect();
        words.extend(stored.policy.nodes.iter().map(|node| node.name.clone()));
        words.push(format!("{:?} {:?}", stored.seed, stored.problem_sha256));
        words
    };
    let equal_bytes = to_bytes(left).expect("encodes") == to_bytes(right).expect("encodes");
    bits(left) == bits(right) && words(left) == words(right) && equal_bytes
}

/// Every file below a folder with its contents, sorted by path.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("the folder can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let contents = std::fs::read(&path).expect("the file can be read");
                found.push((path.strip_prefix(folder).expect("below the folder").to_owned(), contents));
            }
        }
    }
    found.sort();
    found
}

/// Names of the entries of a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
