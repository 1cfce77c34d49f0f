//! A policy as files: `policy.json` says what it is, `cuts.parquet` holds every cut. Reading back gives the same bits.
//!
//! Both files are replaced at once, as a folder, where the system can do that. `policy.json` is written last and holds
//! the SHA-256 of itself and of `cuts.parquet`, so that damage, and a mixture of two policies, is noticed when the
//! policy is loaded.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float64Type, Int32Type, Schema, SchemaRef, UInt32Type,
};
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::{CutOrigin, CutStore};
use cobre_sddp::{NodePolicy, Policy, State};

use crate::atomic;
use crate::fingerprint::{from_hexadecimal, hexadecimal, sha256};
use crate::policy_document::{Document, NodeEntry, StateEntry};
use crate::tables::{Table, corrupted, read_failed};

const DOCUMENT: &str = "policy.json";
const CUTS: &str = "cuts.parquet";
const MAGIC: &[u8; 8] = b"COBREPOL";

/// The columns of a table of cuts before the coefficients.
const FIXED: [(&str, DataType); 7] = [
    ("node", DataType::Int32),
    ("stage", DataType::Int32),
    ("cut_id", DataType::UInt32),
    ("iteration", DataType::UInt32),
    ("path", DataType::UInt32),
    ("is_active", DataType::Boolean),
    ("intercept", DataType::Float64),
];

/// A policy and what it was trained on.
#[derive(Clone, Debug)]
pub struct StoredPolicy {
    /// The policy.
    pub policy: Policy,
    /// Seed of the training.
    pub seed: Option<u64>,
    /// [`crate::fingerprint()`] of the problem.
    pub problem_sha256: Option<String>,
}

/// Writes a policy into a folder, which is created when it is not there, over an older policy.
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] with the path.
pub fn save(stored: &StoredPolicy, folder: &Path) -> Result<()> {
    let (document, cuts) = encode(&stored.policy, stored.seed, stored.problem_sha256.as_deref())?;
    atomic::replace_folder(folder, &[CUTS, DOCUMENT], &mut |folder| {
        atomic::write(&folder.join(CUTS), &cuts)?;
        atomic::write(&folder.join(DOCUMENT), &document)
    })
}

/// Reads the policy of a folder.
///
/// # Errors
/// [`ErrorKind::OutputNotFound`] for a missing file; [`ErrorKind::OutputCorrupted`] for a damaged one, for files
/// that do not belong together, and for a version this program does not know. The path is in the context.
pub fn load(folder: &Path) -> Result<StoredPolicy> {
    let path = folder.join(DOCUMENT);
    let document = fs::read(&path).map_err(|error| {
        let failed = read_failed(&path, error);
        let nested = folder.join("policy");
        if nested.join(DOCUMENT).exists() {
            failed.suggesting(format!("load {}", nested.display()))
        } else {
            failed
        }
    })?;
    let document = Document::parse(&document).map_err(|message| corrupted(&path, message))?;
    let path = folder.join(CUTS);
    let cuts = fs::read(&path).map_err(|error| read_failed(&path, error))?;
    decode(document, cuts).map_err(|message| corrupted(&path, message))
}

/// A policy as bytes; equal policies give equal bytes.
///
/// # Errors
/// [`ErrorKind::CheckpointFailed`] when the cuts cannot be encoded.
pub fn to_bytes(stored: &StoredPolicy) -> Result<Vec<u8>> {
    bytes_of(&stored.policy, stored.seed, stored.problem_sha256.as_deref())
}

/// As [`to_bytes`], for a policy that is still in training.
pub(crate) fn bytes_of(policy: &Policy, seed: Option<u64>, problem_sha256: Option<&str>) -> Result<Vec<u8>> {
    let (document, cuts) = encode(policy, seed, problem_sha256)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(document.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&document);
    bytes.extend_from_slice(&cuts);
    Ok(bytes)
}

/// The policy of [`to_bytes`].
///
/// # Errors
/// [`ErrorKind::OutputCorrupted`].
pub fn from_bytes(bytes: &[u8]) -> Result<StoredPolicy> {
    let split = || {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
    };
    let parse = || {
        let (document, cuts) = split().ok_or_else(|| "the bytes are no policy of Cobre".to_owned())?;
        decode(Document::parse(document)?, cuts.to_vec())
    };
    parse().map_err(|message| Error::new(ErrorKind::OutputCorrupted, message))
}

/// The cuts of one node, or of all: `node, stage, cut_id, iteration, path, is_active, intercept` and one coefficient
/// per state under the state's name, in $ and $ per unit, undiscounted.
///
/// # Errors
/// [`ErrorKind::MissingReference`] for a node that does not exist.
pub fn cuts_table(policy: &Policy, node: Option<usize>) -> Result<Table> {
    let schema = cuts_schema(&policy.states);
    let indices = match node {
        None => 0..policy.nodes.len(),
        Some(index) if index < policy.nodes.len() => index..index + 1,
        Some(index) => {
            let message = format!("the policy has {} nodes", policy.nodes.len());
            return Err(Error::new(ErrorKind::MissingReference, message).with("node", index));
        }
    };
    let batches =
        indices.map(|index| node_batch(index, &policy.nodes[index], &schema)).collect::<Result<_>>()?;
    Ok(Table { schema, batches })
}

fn cuts_schema(states: &[State]) -> SchemaRef {
    let mut names: Vec<String> = FIXED.iter().map(|(name, _)| (*name).to_owned()).collect();
    for state in states {
        let mut name = state.name.clone();
        // A state may be called like a fixed column.
        while names.contains(&name) {
            name = format!("state:{name}");
        }
        names.push(name);
    }
    let kinds = FIXED.iter().map(|(_, kind)| kind.clone()).chain(std::iter::repeat(DataType::Float64));
    let fields: Vec<Field> =
        names.into_iter().zip(kinds).map(|(name, kind)| Field::new(name, kind, false)).collect();
    Arc::new(Schema::new(fields))
}

fn node_batch(index: usize, node: &NodePolicy, schema: &SchemaRef) -> Result<RecordBatch> {
    let cuts = &node.cuts;
    let ids = 0..cuts.len() as u32;
    let unsigned =
        |values: &mut dyn Iterator<Item = u32>| Arc::new(UInt32Array::from_iter_values(values)) as ArrayRef;
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_value(index as i32, cuts.len())),
        Arc::new(Int32Array::from_value(node.stage as i32, cuts.len())),
        unsigned(&mut ids.clone()),
        unsigned(&mut ids.clone().map(|id| cuts.origin(id).iteration)),
        unsigned(&mut ids.clone().map(|id| cuts.origin(id).path)),
        Arc::new(ids.clone().map(|id| Some(cuts.is_active(id))).collect::<BooleanArray>()),
        Arc::new(Float64Array::from_iter_values(ids.clone().map(|id| cuts.intercept(id)))),
    ];
    for state in 0..cuts.states() {
        let coefficients = ids.clone().map(|id| cuts.coefficients(id)[state]);
        columns.push(Arc::new(Float64Array::from_iter_values(coefficients)));
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| {
        let message = "the cuts have another number of states than their policy";
        Error::new(ErrorKind::InternalPanic, message).with("node", index).caused_by(error)
    })
}

fn encode(policy: &Policy, seed: Option<u64>, problem_sha256: Option<&str>) -> Result<(Vec<u8>, Vec<u8>)> {
    let cuts = cuts_table(policy, None)?.to_bytes()?;
    let nodes = policy.nodes.iter().map(|node| NodeEntry {
        name: node.name.clone(),
        stage: node.stage,
        has_successors: node.has_successors,
        cost_to_go_bound: node.cost_to_go_bound,
        cuts: node.cuts.len(),
        active_cuts: node.cuts.active().len(),
        basis: hexadecimal(&node.basis),
    });
    let states =
        policy.states.iter().map(|state| StateEntry { name: state.name.clone(), initial: state.initial });
    let document = Document {
        cuts_sha256: sha256(&cuts),
        iterations: policy.iterations,
        lower_bound: policy.lower_bound,
        nodes: nodes.collect(),
        problem_sha256: problem_sha256.map(str::to_owned),
        seed,
        states: states.collect(),
        ..Document::default()
    };
    Ok((document.into_json(), cuts))
}

fn decode(document: Document, cuts: Vec<u8>) -> std::result::Result<StoredPolicy, String> {
    if sha256(&cuts) != document.cuts_sha256 {
        return Err(format!("{CUTS} is damaged or belongs to another policy than {DOCUMENT}"));
    }
    let table = Table::from_bytes(cuts).map_err(|error| error.to_string())?;
    let states: Vec<State> =
        document.states.into_iter().map(|entry| State { name: entry.name, initial: entry.initial }).collect();
    if table.schema.fields() != cuts_schema(&states).fields() {
        return Err(format!("{CUTS} has other columns than {DOCUMENT} says"));
    }
    let mut stores = vec![CutStore::new(states.len()); document.nodes.len()];
    let mut active = vec![Vec::new(); document.nodes.len()];
    for batch in &table.batches {
        read_batch(batch, &mut stores, &mut active)?;
    }
    let mut nodes = Vec::with_capacity(stores.len());
    for ((entry, mut store), active) in document.nodes.into_iter().zip(stores).zip(active) {
        store.retain(&active);
        if (store.len(), store.active().len()) != (entry.cuts, entry.active_cuts) {
            return Err(format!(
                "{CUTS} has another number of cuts of node {} than {DOCUMENT} says",
                entry.name
            ));
        }
        let basis = from_hexadecimal(&entry.basis).ok_or("a basis is no hexadecimal number")?;
        nodes.push(NodePolicy {
            basis,
            name: entry.name,
            stage: entry.stage,
            has_successors: entry.has_successors,
            cost_to_go_bound: entry.cost_to_go_bound,
            cuts: store,
        });
    }
    let policy = Policy { states, nodes, iterations: document.iterations, lower_bound: document.lower_bound };
    Ok(StoredPolicy { policy, seed: document.seed, problem_sha256: document.problem_sha256 })
}

/// Appends a batch's cuts to their nodes' stores, and whether each is active to `active`.
fn read_batch(
    batch: &RecordBatch,
    stores: &mut [CutStore],
    active: &mut [Vec<bool>],
) -> std::result::Result<(), String> {
    let nodes = primitive::<Int32Type>(batch, 0)?;
    let ids = primitive::<UInt32Type>(batch, 2)?;
    let iterations = primitive::<UInt32Type>(batch, 3)?;
    let paths = primitive::<UInt32Type>(batch, 4)?;
    let is_active =
        batch.column(5).as_any().downcast_ref::<BooleanArray>().ok_or("column 5 is not boolean")?;
    let intercepts = primitive::<Float64Type>(batch, 6)?;
    let coefficients =
        (FIXED.len()..batch.num_columns()).map(|column| primitive::<Float64Type>(batch, column));
    let coefficients = coefficients.collect::<std::result::Result<Vec<_>, _>>()?;
    let mut row_coefficients = vec![0.0; coefficients.len()];
    for row in 0..batch.num_rows() {
        let node = usize::try_from(nodes.value(row)).ok().filter(|&node| node < stores.len());
        let node = node.ok_or_else(|| format!("{CUTS} has cuts of a node that {DOCUMENT} has not"))?;
        for (value, column) in row_coefficients.iter_mut().zip(&coefficients) {
            *value = column.value(row);
        }
        let origin = CutOrigin { iteration: iterations.value(row), path: paths.value(row) };
        if stores[node].push(intercepts.value(row), &row_coefficients, origin) != ids.value(row) {
            return Err(format!("the cuts in {CUTS} are not in order"));
        }
        active[node].push(is_active.value(row));
    }
    Ok(())
}

fn primitive<T: ArrowPrimitiveType>(
    batch: &RecordBatch,
    column: usize,
) -> std::result::Result<&PrimitiveArray<T>, String> {
    let array = batch.column(column).as_any().downcast_ref::<PrimitiveArray<T>>();
    array
        .filter(|array| array.null_count() == 0)
        .ok_or_else(|| format!("column {column} of {CUTS} has another type"))
}
