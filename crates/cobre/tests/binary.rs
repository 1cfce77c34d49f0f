//! The program `cobre-mpi`: real processes, joined by shared memory and TCP, stopped and killed.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::skip;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cobre-mpi");
/// Longer than any test takes: a job that hangs is killed then.
const LIMIT: Duration = Duration::from_mins(2);

/// The ranks of a job; those that are left are killed with it.
struct Ranks(Vec<Option<Child>>);

impl Drop for Ranks {
    fn drop(&mut self) {
        for rank in self.0.iter_mut().flatten() {
            drop(rank.kill());
            drop(rank.wait());
        }
    }
}

fn program(arguments: &[&str], variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["COBRE_", "OMPI_", "PMI", "SLURM_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn alone(arguments: &[&str]) -> Output {
    program(arguments, &[]).output().unwrap()
}

fn start(backend: &str, size: usize, arguments: &[&str]) -> Ranks {
    start_each(backend, size, &|_, ranks| {
        ranks.args(arguments);
    })
}

/// Starts ranks whose command lines `describe` completes.
fn start_each(backend: &str, size: usize, describe: &dyn Fn(usize, &mut Command)) -> Ranks {
    static JOBS: AtomicU32 = AtomicU32::new(0);
    let job = format!("/cobre-binary-{}-{}", std::process::id(), JOBS.fetch_add(1, Ordering::Relaxed));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let rank = |number: usize| {
        let (rank, size) = (number.to_string(), size.to_string());
        let variables = if backend == "shm" {
            [("COBRE_SHM_NAME", job.clone()), ("COBRE_SHM_RANK", rank), ("COBRE_SHM_SIZE", size)]
        } else {
            let coordinator = format!("127.0.0.1:{port}");
            [("COBRE_TCP_COORDINATOR", coordinator), ("COBRE_TCP_RANK", rank), ("COBRE_TCP_SIZE", size)]
        };
        let mut command = program(&[], &variables);
        describe(number, &mut command);
        Some(command.spawn().unwrap())
    };
    Ranks((0..size).map(rank).collect())
}

impl Ranks {
    /// Waits for all; exit codes (`None` for a rank that a signal killed), and what they printed.
    fn finish(mut self) -> Vec<(Option<i32>, String)> {
        self.await_all_but(None);
        self.outputs()
    }

    /// Waits for all but one, which is then killed; otherwise as `finish`.
    fn finish_but(mut self, left: usize) -> Vec<(Option<i32>, String)> {
        self.await_all_but(Some(left));
        self.signal(left, Signal::KILL);
        self.outputs()
    }

    fn await_all_but(&mut self, left: Option<usize>) {
        let until = Instant::now() + LIMIT;
        let mut others: Vec<&mut Child> = self
            .0
            .iter_mut()
            .enumerate()
            .filter(|(rank, _)| Some(*rank) != left)
            .filter_map(|(_, child)| child.as_mut())
            .collect();
        while others.iter_mut().any(|rank| rank.try_wait().unwrap().is_none()) {
            assert!(Instant::now() < until, "a rank does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn outputs(&mut self) -> Vec<(Option<i32>, String)> {
        let ranks = self.0.iter_mut().map(|rank| rank.take().unwrap().wait_with_output().unwrap());
        ranks.map(|output| (output.status.code(), said(&output))).collect()
    }

    fn signal(&self, rank: usize, signal: Signal) {
        let child = self.0[rank].as_ref().unwrap();
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn example(test: &str) -> Option<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/four_reservoirs");
    if directory.exists() {
        return Some(directory.to_str().unwrap().to_owned());
    }
    skip(test, "examples/four_reservoirs is not there");
    None
}

/// Every file that must not depend on ranks.
fn results(output: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["policy", "training", "simulation"] {
        for entry in std::fs::read_dir(output.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && !["timings.parquet", "checkpoint.bin"].contains(&name) {
                found.insert(path.strip_prefix(output).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn both_jobs(case: &str, output: &Path, mut run: impl FnMut(&[&str])) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = output.to_str().unwrap();
    let common = ["--output", folder, "--threads", "1", "--quiet", "--seed", "11"];
    run(&[["train", case].as_slice(), &common, &["--iterations", "4"]].concat());
    run(&[["simulate", case].as_slice(), &common, &["--scenarios", "40"]].concat());
    results(output)
}

#[test]
fn ranks_do_not_change_a_byte() {
    let Some(case) = example("ranks_do_not_change_a_byte") else { return };
    let folder = tempfile::tempdir().unwrap();
    let expected = both_jobs(&case, &folder.path().join("alone"), |arguments| {
        let output = alone(arguments);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), "", "--quiet");
    });
    assert!(expected.len() > 4);
    for (backend, size) in [("shm", 1), ("shm", 2), ("shm", 4), ("tcp", 2), ("tcp", 3)] {
        let output = folder.path().join(format!("{backend}{size}"));
        let found = both_jobs(&case, &output, |arguments| {
            for (code, text) in start(backend, size, arguments).finish() {
                assert_eq!((code, text.as_str()), (Some(0), ""), "{backend} {size}");
            }
        });
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (path, bytes) in &found {
            assert!(bytes == &expected[path], "{} differs for {size} ranks of {backend}", path.display());
        }
    }
}

#[test]
fn only_rank_0_needs_to_see_output_and_policy() {
    let Some(case) = example("only_rank_0_needs_to_see_output_and_policy") else { return };
    let case = std::fs::canonicalize(case).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at_home = |size: usize, backend: &str, home: &Path| {
        both_jobs(case.to_str().unwrap(), &home.join("rank-0/out"), |arguments| {
            let ended = start_each(backend, size, &|rank, command| {
                let home = home.join(format!("rank-{rank}"));
                std::fs::create_dir_all(&home).unwrap();
                let output = arguments.iter().position(|word| *word == "--output").unwrap() + 1;
                let mut relative = arguments.to_vec();
                relative[output] = "out";
                command.args(relative).current_dir(home);
            });
            for (code, text) in ended.finish() {
                assert_eq!((code, text.as_str()), (Some(0), ""), "{backend} {size}");
            }
        })
    };
    let expected = at_home(1, "shm", &folder.path().join("alone"));
    for backend in ["shm", "tcp"] {
        let home = folder.path().join(backend);
        assert!(at_home(3, backend, &home) == expected, "{backend}");
        for rank in 1..3 {
            let left = std::fs::read_dir(home.join(format!("rank-{rank}"))).unwrap().count();
            assert_eq!(left, 0, "rank {rank} of {backend} wrote something");
        }
    }
}

#[test]
fn a_policy_that_is_not_there_is_told_once() {
    let Some(case) = example("a_policy_that_is_not_there_is_told_once") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let ended = start("shm", 3, &["simulate", &case, "--output", output.to_str().unwrap()]).finish();
    assert!(ended.iter().all(|(code, _)| *code == Some(4)), "{ended:?}");
    assert!(ended[0].1.contains("policy.json") && ended[0].1.contains("OutputNotFound"), "{ended:?}");
    assert!(ended[1..].iter().all(|(_, text)| text.is_empty()), "{ended:?}");
}

/// A training that goes on until it is stopped, once its first checkpoint is there.
fn endless(backend: &str, size: usize, case: &str, output: &Path, variables: &[(&str, &str)]) -> Ranks {
    let folder = output.to_str().unwrap();
    let ranks = start_each(backend, size, &|_, command| {
        command.args(["train", case, "--output", folder, "--threads", "1", "--iterations", "1000000"]);
        command.args(["--checkpoint-every", "1"]).envs(variables.iter().copied());
    });
    let checkpoint = output.join("training/checkpoint.bin");
    let until = Instant::now() + LIMIT;
    while !checkpoint.exists() {
        assert!(Instant::now() < until, "no checkpoint appears");
        std::thread::sleep(Duration::from_millis(20));
    }
    ranks
}

#[test]
fn a_signal_to_one_rank_ends_all_and_keeps_the_policy() {
    let Some(case) = example("a_signal_to_one_rank_ends_all_and_keeps_the_policy") else { return };
    for (backend, signal, code) in [("shm", Signal::TERM, 143), ("tcp", Signal::INT, 130)] {
        let folder = tempfile::tempdir().unwrap();
        let ranks = endless(backend, 3, &case, folder.path(), &[]);
        ranks.signal(1, signal);
        let ended = ranks.finish();
        assert!(ended.iter().all(|(found, _)| *found == Some(code)), "{ended:?}");
        assert!(ended[0].1.contains("--resume"), "{}", ended[0].1);
        assert!(cobre::policy_files::load(&folder.path().join("policy")).unwrap().policy.iterations > 0);
    }
}

#[test]
fn a_killed_rank_is_named_by_the_others() {
    let Some(case) = example("a_killed_rank_is_named_by_the_others") else { return };
    for backend in ["shm", "tcp"] {
        let folder = tempfile::tempdir().unwrap();
        let ranks = endless(backend, 3, &case, folder.path(), &[]);
        ranks.signal(1, Signal::KILL);
        let ended = ranks.finish();
        assert_eq!(ended[1].0, None);
        for rank in [0, 2] {
            assert_eq!(ended[rank].0, Some(5), "{backend}: {ended:?}");
            assert!(ended[rank].1.contains("rank 1"), "{backend}: {ended:?}");
        }
    }
}

#[test]
fn a_silent_rank_ends_the_job_after_the_time_that_was_set() {
    let Some(case) = example("a_silent_rank_ends_the_job_after_the_time_that_was_set") else { return };
    for (backend, variable) in [("shm", "COBRE_SHM_TIMEOUT_SECS"), ("tcp", "COBRE_TCP_TIMEOUT_SECS")] {
        let folder = tempfile::tempdir().unwrap();
        let ranks = endless(backend, 3, &case, folder.path(), &[(variable, "2")]);
        ranks.signal(1, Signal::STOP);
        let ended = ranks.finish_but(1);
        for rank in [0, 2] {
            assert_eq!(ended[rank].0, Some(5), "{backend}: {ended:?}");
            let is_named = ended[rank].1.contains("rank 1") && ended[rank].1.contains("WorkerFailed");
            assert!(is_named, "{backend}: {ended:?}");
        }
    }
}

#[test]
fn ranks_of_different_commands_end_as_if_one_were_lost() {
    let Some(case) = example("ranks_of_different_commands_end_as_if_one_were_lost") else { return };
    for backend in ["shm", "tcp"] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().to_str().unwrap();
        let ended = start_each(backend, 2, &|rank, command| {
            if rank == 0 {
                command.args(["train", &case, "--output", output, "--threads", "1"]);
            } else {
                command.args(["validate", &case]);
            }
        });
        let ended = ended.finish();
        for (rank, (code, text)) in ended.iter().enumerate() {
            assert_eq!(*code, Some(5), "{backend}: {ended:?}");
            assert!(
                text.contains("WorkerFailed") && text.contains(&format!("rank {}", 1 - rank)),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn wrong_input_is_told_once_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("output");
    let arguments = ["train", "no/such/case", "--output", output.to_str().unwrap()];
    let ended = start("shm", 3, &arguments).finish();
    assert!(ended.iter().all(|(code, _)| *code == Some(2)), "{ended:?}");
    let speakers = ended.iter().filter(|(_, text)| !text.is_empty()).count();
    assert_eq!(speakers, 1, "{ended:?}");
    assert!(ended[0].1.contains("no/such/case") && ended[0].1.contains("MissingFile"), "{ended:?}");
    let usage = alone(&["train", "case", "--output", "o", "--sed", "1"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(said(&usage).contains("--seed"), "{}", said(&usage));
    assert_eq!(alone(&["validate", "no/such/case"]).status.code(), Some(2));
}

#[test]
fn all_problems_of_a_case_are_told_once() {
    let Some(case) = example("all_problems_of_a_case_are_told_once") else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("case");
    let copied = Command::new("cp").arg("-r").arg(&case).arg(&copy).status().unwrap();
    assert!(copied.success());
    std::fs::write(copy.join("config.json"), r#"{"training": {"forward_pases": 2, "seeed": 1}}"#).unwrap();
    for arguments in [
        vec!["validate", copy.to_str().unwrap()],
        vec!["train", copy.to_str().unwrap(), "--output", folder.path().to_str().unwrap()],
    ] {
        let ended = start("tcp", 2, &arguments).finish();
        let all: String = ended.iter().map(|(_, text)| text.as_str()).collect();
        assert!(ended.iter().all(|(code, _)| *code == Some(2)), "{ended:?}");
        for key in ["forward_pases", "seeed"] {
            assert_eq!(all.matches(key).count(), 1, "{all}");
        }
    }
    assert_eq!(alone(&["validate", &case]).status.code(), Some(0));
}

#[test]
fn a_backend_that_cannot_start_is_no_local_job() {
    let arguments = ["train", "no/such/case", "--output", "o"];
    for (variables, named) in [
        (vec![("COBRE_COMM_BACKEND", "gloo".to_owned())], "gloo"),
        (vec![("COBRE_TCP_RANK", "0".to_owned())], "COBRE_TCP_SIZE"),
        (vec![("COBRE_SHM_SIZE", "2".to_owned())], "COBRE_SHM_NAME"),
    ] {
        let output = program(&arguments, &variables).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains(named), "{}", said(&output));
    }
    if !cobre_comm::compiled_backends().contains(&"mpi") {
        let variables = [("PMI_RANK", "0".to_owned()), ("PMI_SIZE", "2".to_owned())];
        let output = program(&arguments, &variables).output().unwrap();
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("PMI_RANK asks for backend mpi"), "{}", said(&output));
        assert!(said(&output).contains("--features mpi"), "{}", said(&output));
    }
}

#[test]
fn ranks_with_different_seeds_are_refused() {
    let Some(case) = example("ranks_with_different_seeds_are_refused") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().to_str().unwrap();
    let ended = start_each("shm", 2, &|rank, command| {
        command.args(["train", &case, "--output", output, "--threads", "1"]);
        command.args(["--seed", &(rank + 1).to_string()]);
    });
    let ended = ended.finish();
    assert!(ended.iter().all(|(code, _)| *code == Some(2)), "{ended:?}");
    assert!(ended.iter().any(|(_, text)| text.contains("IncompatibleRuns")), "{ended:?}");
}

#[test]
fn the_version_tells_what_the_program_is_made_of() {
    let output = alone(&["version", "--features"]);
    let text = said(&output);
    assert!(output.status.success());
    assert!(text.starts_with(&format!("cobre {}\n", cobre::VERSION)), "{text}");
    assert!(text.contains("tcp shm local\n") && text.contains("HiGHS 1."), "{text}");
}
