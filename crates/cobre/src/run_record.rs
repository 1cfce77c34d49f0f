//! `run.json`: what ran, on what, with which options, and how it ended. The one file that knows times and machines.

use std::fs;
use std::path::Path;

use cobre_core::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use crate::fingerprint::sha256;
use crate::tables::{corrupted, read_failed};
use crate::{Case, Risk, Stopping, StoppingMode, StoppingRule};

const FORMAT: &str = "cobre-run";
const VERSION: u64 = 1;

/// The jobs a record has a section for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// A training.
    Training,
    /// A simulation.
    Simulation,
}

impl Section {
    /// The section's key, and the folder of the job's tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Simulation => "simulation",
        }
    }
}

/// The contents of `run.json`: one section per job that wrote into the directory.
#[derive(Clone, Debug)]
pub struct RunRecord(Map<String, Value>);

impl Default for RunRecord {
    fn default() -> Self {
        Self(Map::from_iter([("format".to_owned(), json!(FORMAT)), ("version".to_owned(), json!(VERSION))]))
    }
}

impl RunRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// [`ErrorKind::OutputNotFound`]; [`ErrorKind::OutputCorrupted`] for a file that is no record of this version.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(|error| read_failed(path, error))?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| corrupted(path, "the file is no JSON").caused_by(error))?;
        match value {
            Value::Object(map) if map.get("format") == Some(&json!(FORMAT)) => {
                if map.get("version") == Some(&json!(VERSION)) {
                    Ok(Self(map))
                } else {
                    Err(corrupted(path, "the file is a record of a version that this Cobre does not know"))
                }
            }
            _ => Err(corrupted(path, "the file is no record of Cobre")),
        }
    }

    /// A job's section, when that job ever ran.
    pub fn section(&self, section: Section) -> Option<&Value> {
        self.0.get(section.as_str())
    }

    /// Replaces a job's section.
    pub fn replace(&mut self, section: Section, contents: Value) {
        self.0.insert(section.as_str().to_owned(), contents);
    }

    /// Adds fields to a job's section.
    pub fn extend(&mut self, section: Section, fields: Value) {
        let entry = self.0.entry(section.as_str()).or_insert_with(|| json!({}));
        if let (Some(entry), Value::Object(fields)) = (entry.as_object_mut(), fields) {
            entry.extend(fields);
        }
    }

    /// Forgets a job.
    pub fn remove(&mut self, section: Section) {
        self.0.remove(section.as_str());
    }

    /// Writes the record atomically.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.0).map_err(|error| {
            Error::new(ErrorKind::InternalPanic, "the record of a run cannot be JSON").caused_by(error)
        })?;
        text.push(b'\n');
        crate::atomic::write(path, &text)
    }
}

/// What is known of a job when it begins.
pub fn beginning(case: &Case, ranks: usize, options: &Value) -> Value {
    let directory = case.directory().canonicalize().unwrap_or_else(|_| case.directory().to_owned());
    json!({
        "status": "running",
        "started": now(),
        "cobre_version": crate::VERSION,
        "platform": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
        "host": host(),
        "ranks": ranks,
        "case": case.name(),
        "case_directory": directory.display().to_string(),
        "config": case.config(),
        "options": options,
        "inputs": input_hashes(case),
    })
}

/// The time in UTC, as RFC 3339 with milliseconds.
pub fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A risk measure in the words of `stages.json`.
pub fn risk_json(risk: Risk) -> Value {
    match risk {
        Risk::Expectation => json!("expectation"),
        Risk::ExpectationCvar { alpha, weight } => json!({ "cvar": { "alpha": alpha, "lambda": weight } }),
    }
}

/// Stopping rules in the words of `config.json`.
pub fn stopping_json(stopping: &Stopping) -> Value {
    let rules = stopping.rules.iter().map(|rule| match *rule {
        StoppingRule::IterationLimit(limit) => json!({ "type": rule.reason(), "limit": limit }),
        StoppingRule::TimeLimit(seconds) => json!({ "type": rule.reason(), "seconds": seconds }),
        StoppingRule::BoundStalling { iterations, tolerance } => {
            json!({ "type": rule.reason(), "iterations": iterations, "tolerance": tolerance })
        }
    });
    let mode = match stopping.mode {
        StoppingMode::Any => "any",
        StoppingMode::All => "all",
    };
    json!({ "stopping_rules": rules.collect::<Vec<_>>(), "stopping_mode": mode })
}

/// SHA-256 of every input file, by its path in the case: of the bytes that were read, whatever the disk holds now.
fn input_hashes(case: &Case) -> Value {
    let files = &case.snapshot().files;
    files.iter().map(|(file, bytes)| (file.clone(), json!(sha256(bytes)))).collect::<Map<_, _>>().into()
}

fn host() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}
