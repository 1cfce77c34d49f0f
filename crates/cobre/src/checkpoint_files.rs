//! Checkpoints as files: all that a training needs to go on with the bits it would have had.
//!
//! `training/checkpoint.bin` is one file, so that it is always whole: the last checkpoint or the one before. It holds,
//! each with its length, the settings that must not change, the policy ([`policy_files::to_bytes`]), the records of
//! the iterations and the trial points of cut selection; its SHA-256 comes last.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cobre_core::{Error, ErrorKind, Result};
use cobre_sddp::{Checkpoint, IterationRecord, TrialPoints};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::tables::{corrupted, read_failed};
use crate::{atomic, policy_files};

const FILE: &str = "checkpoint.bin";
const MAGIC: &[u8; 8] = b"COBRECK1";
const DIGEST: usize = 32;

/// Iterations between two checkpoints, unless somebody wants another number.
const USUAL_INTERVAL: u64 = 10;

/// Unless somebody wants another number: the time of training between two checkpoints is at least so many times what
/// the last one took, so that they cost at most a twentieth of it.
const TRAINING_PER_WRITING: u32 = 19;

/// Writes checkpoints when they are due.
pub(crate) struct Checkpoints {
    folder: PathBuf,
    settings: Value,
    every: Option<u64>,
    written: Instant,
    cost: Duration,
    iteration: u64,
}

impl Checkpoints {
    /// Checkpoints in a folder, of a training with `settings` that must not change, `every` so many iterations or as
    /// [`USUAL_INTERVAL`] and [`TRAINING_PER_WRITING`] say. `iteration` is that of the checkpoint that is there.
    pub(crate) fn new(folder: PathBuf, settings: Value, every: Option<u64>, iteration: u64) -> Self {
        Self { folder, settings, every, written: Instant::now(), cost: Duration::ZERO, iteration }
    }

    /// Writes a checkpoint when it is time.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path; the last checkpoint is untouched then.
    pub(crate) fn keep(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let age = checkpoint.convergence.len() as u64 - self.iteration;
        let is_due = match self.every {
            Some(every) => age >= every,
            None => age >= USUAL_INTERVAL && self.written.elapsed() >= self.cost * TRAINING_PER_WRITING,
        };
        if is_due { self.write(checkpoint) } else { Ok(()) }
    }

    /// Writes a checkpoint now.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub(crate) fn write(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let started = Instant::now();
        atomic::create_folder(&self.folder)?;
        atomic::write(&self.folder.join(FILE), &encode(&self.settings, checkpoint)?)?;
        (self.written, self.cost) = (Instant::now(), started.elapsed());
        self.iteration = checkpoint.convergence.len() as u64;
        Ok(())
    }
}

/// The bytes of the checkpoint in a folder; `None` when there is none.
///
/// # Errors
/// [`ErrorKind::OutputNotFound`] when it cannot be read, [`ErrorKind::OutputCorrupted`] when it is damaged, and
/// [`ErrorKind::IncompatibleRuns`] with every setting that is another than in `settings`.
pub(crate) fn read(folder: &Path, settings: &Value) -> Result<Option<Vec<u8>>> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|error| read_failed(&path, error))?;
    let [given, ..] = sections(&bytes).map_err(|message| corrupted(&path, message))?;
    let given: Value = serde_json::from_slice(given)
        .map_err(|error| corrupted(&path, "its settings are no JSON").caused_by(error))?;
    let differing: Vec<&str> = settings
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| given.get(name) != Some(value))
        .map(|(name, _)| name.as_str())
        .collect();
    if differing.is_empty() {
        return Ok(Some(bytes));
    }
    let listed = |of: &Value| -> String {
        let pairs: Vec<String> = differing.iter().map(|&name| format!("{name} {}", of[name])).collect();
        pairs.join(", ")
    };
    let message = format!("the checkpoint belongs to a training with another {}", differing.join(", "));
    let error = Error::new(ErrorKind::IncompatibleRuns, message)
        .with("path", path.display().to_string())
        .with("checkpoint", listed(&given))
        .with("now", listed(settings));
    Err(error.suggesting("train as before, or without resuming, or into another directory"))
}

/// The checkpoint of bytes that [`read`] gave.
///
/// # Errors
/// [`ErrorKind::OutputCorrupted`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Checkpoint> {
    let failed = |message: String| Error::new(ErrorKind::OutputCorrupted, message);
    let [_, policy, records, points] = sections(bytes).map_err(failed)?;
    let policy = policy_files::from_bytes(policy)?.policy;
    let convergence = words(records)
        .as_deref()
        .and_then(records_of)
        .ok_or_else(|| failed("its records are incomplete".into()))?;
    let trial_points = words(points)
        .as_deref()
        .and_then(|words| points_of(words, policy.nodes.len(), policy.states.len()))
        .ok_or_else(|| failed("its trial points are incomplete".into()))?;
    Ok(Checkpoint { policy, convergence, trial_points })
}

fn encode(settings: &Value, checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let text = |name: &str| settings[name].as_str();
    let policy =
        policy_files::bytes_of(&checkpoint.policy, settings["seed"].as_u64(), text("problem_sha256"))?;
    let records: Vec<u8> =
        checkpoint.convergence.iter().flat_map(record_words).flat_map(u64::to_le_bytes).collect();
    let mut points = Vec::new();
    for node in &checkpoint.trial_points {
        points.extend((node.len() as u64).to_le_bytes());
        for (iteration, state) in node {
            points.extend(iteration.to_le_bytes());
            points.extend(state.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        }
    }
    let mut bytes = MAGIC.to_vec();
    for section in [settings.to_string().into_bytes(), policy, records, points] {
        bytes.extend((section.len() as u64).to_le_bytes());
        bytes.extend(section);
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    Ok(bytes)
}

/// Settings, policy, records and trial points, or in words what is wrong.
fn sections(bytes: &[u8]) -> std::result::Result<[&[u8]; 4], String> {
    let damaged = || "the checkpoint is damaged".to_owned();
    let (body, digest) =
        bytes.len().checked_sub(DIGEST).and_then(|len| bytes.split_at_checked(len)).ok_or_else(damaged)?;
    let mut rest = body
        .strip_prefix(MAGIC)
        .ok_or("the file is no checkpoint, or one of a version that this Cobre does not know")?;
    if Sha256::digest(body).as_slice() != digest {
        return Err(damaged());
    }
    let mut found = [&[][..]; 4];
    for section in &mut found {
        let (len, after) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| damaged())?;
        (*section, rest) = after.split_at_checked(len).ok_or_else(damaged)?;
    }
    if rest.is_empty() { Ok(found) } else { Err(damaged()) }
}

fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

const RECORD_WORDS: usize = 13;

fn record_words(record: &IterationRecord) -> [u64; RECORD_WORDS] {
    [
        record.iteration,
        record.lower_bound.to_bits(),
        record.upper_bound.to_bits(),
        record.upper_bound_std.to_bits(),
        record.upper_bound_half_width.to_bits(),
        record.gap.to_bits(),
        record.cuts_added,
        record.cuts_dropped,
        record.cuts_active,
        record.stage_solves,
        record.pivots,
        record.recoveries,
        record.elapsed_secs.to_bits(),
    ]
}

fn records_of(words: &[u64]) -> Option<Vec<IterationRecord>> {
    let (records, rest) = words.as_chunks::<RECORD_WORDS>();
    let record = |words: &[u64; RECORD_WORDS]| IterationRecord {
        iteration: words[0],
        lower_bound: f64::from_bits(words[1]),
        upper_bound: f64::from_bits(words[2]),
        upper_bound_std: f64::from_bits(words[3]),
        upper_bound_half_width: f64::from_bits(words[4]),
        gap: f64::from_bits(words[5]),
        cuts_added: words[6],
        cuts_dropped: words[7],
        cuts_active: words[8],
        stage_solves: words[9],
        pivots: words[10],
        recoveries: words[11],
        elapsed_secs: f64::from_bits(words[12]),
    };
    rest.is_empty().then(|| records.iter().map(record).collect())
}

fn points_of(mut words: &[u64], nodes: usize, states: usize) -> Option<Vec<TrialPoints>> {
    let mut all = Vec::new();
    for _ in 0..nodes {
        let (&count, rest) = words.split_first()?;
        let len = usize::try_from(count).ok()?.checked_mul(states + 1)?;
        let (own, rest) = rest.split_at_checked(len)?;
        let point = |words: &[u64]| (words[0], words[1..].iter().map(|&bits| f64::from_bits(bits)).collect());
        all.push(own.chunks_exact(states + 1).map(point).collect());
        words = rest;
    }
    words.is_empty().then_some(all)
}
