//! Files appear whole or not at all, and only where they belong.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use cobre::atomic::{self, AtomicFile};
use cobre::output::OutputDirectory;
use cobre::policy_files::{load, save};
use cobre::run_record::{RunRecord, Section};
use cobre_core::{Error, ErrorKind};
use common::{names, same, skip, small_policy};
use serde_json::json;

#[test]
fn a_file_appears_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("file");
    fs::write(&target, "old").unwrap();
    let mut file = AtomicFile::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"old");
    if cfg!(target_os = "linux") {
        assert_eq!(names(folder.path()), ["file"], "the draft has no name");
    }
    file.commit().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    let mut abandoned = AtomicFile::create(&target).unwrap();
    abandoned.write_all(b"never").unwrap();
    drop(abandoned);
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn files_have_the_rights_of_ordinary_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    atomic::write(&ours, b"").unwrap();
    fs::write(&theirs, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&theirs));
}

#[test]
fn a_write_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("nowhere").join("file");
    assert_eq!(atomic::write(&missing, b"x").unwrap_err().kind(), ErrorKind::CheckpointFailed);
    // A folder of the target's name: the draft is complete, the renaming fails.
    let occupied = folder.path().join("occupied");
    fs::create_dir(&occupied).unwrap();
    fs::write(occupied.join("inside"), "x").unwrap();
    let error = atomic::write(&occupied, b"x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CheckpointFailed);
    assert!(error.context().contains_key("path"), "{error}");
    assert_eq!(names(folder.path()), ["occupied"]);
}

#[test]
fn a_full_disk_leaves_the_older_policy() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = TinyDisk::mount(folder.path()) else {
        return skip("a_full_disk_leaves_the_older_policy", "a small file system cannot be mounted here");
    };
    let policy = folder.path().join("policy");
    save(&small_policy(), &policy).unwrap();
    let filler = vec![7u8; 1 << 20];
    let error = atomic::write(&policy.join("large"), &filler).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CheckpointFailed);
    assert!(error.suggestion().is_some(), "{error}");
    drop(fs::write(folder.path().join("filler"), &filler));
    assert_eq!(save(&small_policy(), &policy).unwrap_err().kind(), ErrorKind::CheckpointFailed);
    assert_eq!(names(&policy), ["cuts.parquet", "policy.json"]);
    assert!(same(&load(&policy).unwrap(), &small_policy()));
    drop(mount);
}

/// A file system of 64 KiB, as long as it lives.
struct TinyDisk<'a>(&'a Path);

impl<'a> TinyDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        let arguments = ["-t", "tmpfs", "-o", "size=64k", "tmpfs"];
        let output = Command::new("mount").args(arguments).arg(path).output().ok()?;
        output.status.success().then_some(Self(path))
    }
}

impl Drop for TinyDisk<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.0).output());
    }
}

fn claim(path: &Path) -> cobre_core::Result<OutputDirectory> {
    OutputDirectory::claim(path, Section::Training, json!({ "status": "running" }))
}

fn status(path: &Path) -> serde_json::Value {
    let record = RunRecord::read(&path.join("run.json")).unwrap();
    record.section(Section::Training).unwrap()["status"].clone()
}

#[test]
fn a_directory_is_taken_by_one_job_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("out");
    let mut first = claim(&path).unwrap();
    assert_eq!(status(&path), "running");
    if cfg!(target_os = "linux") {
        assert_eq!(claim(&path).unwrap_err().kind(), ErrorKind::IncompatibleSettings);
    }
    first.finish("complete", json!({})).unwrap();
    drop(first);
    assert_eq!(status(&path), "complete");
    let mut second = claim(&path).unwrap();
    second.fail(&Error::new(ErrorKind::SolverFailure, "no"));
    assert_eq!(status(&path), "failed");
    second.fail(&Error::new(ErrorKind::Cancelled, "stop"));
    assert_eq!(status(&path), "interrupted");
    drop(second);
    drop(claim(&path).unwrap());
    assert_eq!(status(&path), "failed", "a job that panics says so");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let before = common::files(folder.path());
        let error = claim(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleSettings, "{error}");
        assert!(error.suggestion().is_some(), "{error}");
        assert_eq!(common::files(folder.path()), before);
    };
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    refused(folder.path());
    refused(&folder.path().join("thesis.tex"));
    for foreign in ["{}", "not JSON", "{\"format\": \"cobre-run\", \"version\": 99}"] {
        fs::write(folder.path().join("run.json"), foreign).unwrap();
        refused(folder.path());
    }
}

#[test]
fn drafts_of_a_killed_process_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".cobre-draft-1-1"), "half").unwrap();
    let output = claim(folder.path()).unwrap();
    fs::create_dir_all(folder.path().join("policy")).unwrap();
    fs::write(folder.path().join("policy").join(".cobre-draft-x"), "half").unwrap();
    drop(output);
    drop(claim(folder.path()).unwrap());
    assert_eq!(names(folder.path()), ["policy", "run.json"]);
    assert!(names(&folder.path().join("policy")).is_empty());
}
