//! The directory a job writes into.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cobre_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::atomic;
use crate::run_record::{RunRecord, Section, now};

const RECORD: &str = "run.json";

/// A directory that belongs to one running job, with the record of what ran there.
#[derive(Debug)]
pub struct OutputDirectory {
    path: PathBuf,
    section: Section,
    record: RunRecord,
    /// The record as it was before this job.
    earlier: RunRecord,
    has_ended: bool,
    /// Held until the job ends, however it ends: the lock goes with the process.
    _lock: Option<File>,
}

impl OutputDirectory {
    /// Takes a directory for a job: a new one, an empty one, or one that a job of Cobre wrote, whose results of the
    /// same kind are going to be replaced. Drafts left by a killed process are removed.
    ///
    /// `beginning` becomes the job's section of `run.json`.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleSettings`] for a directory that holds something else or that another job is writing
    /// into; [`ErrorKind::CheckpointFailed`] when it cannot be written.
    pub fn claim(path: &Path, section: Section, beginning: Value) -> Result<Self> {
        if path.exists() && !path.is_dir() {
            return Err(refused(path, "the output directory is a file"));
        }
        let record = existing_record(path)?;
        atomic::create_folder(path)?;
        let lock = lock(path)?;
        for folder in ["", "policy", Section::Training.as_str(), Section::Simulation.as_str()] {
            atomic::sweep_drafts(&path.join(folder))?;
        }
        let earlier = record.clone();
        let mut output =
            Self { path: path.to_owned(), section, record, earlier, has_ended: false, _lock: lock };
        output.record.replace(section, beginning);
        output.write_record()?;
        Ok(output)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the job's own tables, created when it is not there.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn tables(&self) -> Result<PathBuf> {
        let folder = self.path.join(self.section.as_str());
        atomic::create_folder(&folder)?;
        Ok(folder)
    }

    /// Removes the results of a job that the present one makes obsolete.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn discard(&mut self, section: Section) -> Result<()> {
        self.record.remove(section);
        atomic::remove(&self.path.join(section.as_str()))
    }

    /// Records the end of the job.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn finish(&mut self, status: &str, results: Value) -> Result<()> {
        self.has_ended = true;
        self.record.extend(self.section, results);
        self.record.extend(self.section, json!({ "status": status, "finished": now() }));
        self.write_record()
    }

    /// Ends a job that changed nothing: what an earlier job of the kind left, and its record, stay as they were.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn withdraw(&mut self, error: &Error) -> Result<()> {
        if self.earlier.section(self.section).is_none() {
            self.fail(error);
            return Ok(());
        }
        self.has_ended = true;
        self.record.clone_from(&self.earlier);
        self.write_record()
    }

    /// Records that the job ended with an error. That this cannot be written is not worth a second error.
    pub fn fail(&mut self, error: &Error) {
        let status = if error.kind() == ErrorKind::Cancelled { "interrupted" } else { "failed" };
        let error = json!({ "kind": error.kind().as_str(), "message": error.to_string() });
        drop(self.finish(status, json!({ "error": error })));
    }

    fn write_record(&self) -> Result<()> {
        self.record.write(&self.path.join(RECORD))
    }
}

impl Drop for OutputDirectory {
    /// A job that neither finished nor failed has panicked; its record must not say that it is still running.
    fn drop(&mut self) {
        if !self.has_ended {
            self.fail(&Error::new(ErrorKind::InternalPanic, "the job ended without a result"));
        }
    }
}

/// The record of a directory that a job may write into.
fn existing_record(path: &Path) -> Result<RunRecord> {
    let record = path.join(RECORD);
    if record.exists() {
        return RunRecord::read(&record).map_err(|error| {
            refused(path, "the output directory holds a run.json of another program").caused_by(error)
        });
    }
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(RunRecord::default()),
        entries => entries.map_err(|error| atomic::write_failed(path, error))?,
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| !atomic::is_draft(name));
    match names.iter().min() {
        None => Ok(RunRecord::default()),
        Some(name) => {
            let message = format!("the output directory holds {}, which is not Cobre's", name.display());
            Err(refused(path, &message))
        }
    }
}

/// How often, and after how long, a lock is tried again: between fork and exec, a child that some other thread starts
/// holds every lock of this process, also those that were just given up.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

fn lock(path: &Path) -> Result<Option<File>> {
    // Not every system and file system has locks on directories; there the user is trusted.
    let Ok(folder) = File::open(path) else { return Ok(None) };
    for _ in 0..LOCK_ATTEMPTS {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(refused(path, "another job is writing into the output directory"))
}

fn refused(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::IncompatibleSettings, message)
        .with("path", path.display().to_string())
        .suggesting("choose a directory that is new, empty, or written by Cobre")
}
