//! The commands. Every rank runs them; rank 0 prints.

use std::path::{Path, PathBuf};

use cobre::{
    Case, Communicator, Job, SimulateRequest, Stopping, StoppingMode, StoppingRule, StoredPolicy,
    TrainRequest, jobs, policy_files,
};
use cobre_comm::SharedMemoryProvider;
use cobre_core::{Error, Event, Result};
use cobre_sddp::{Termination, agree, share_policy, tell};

use crate::arguments::{Command, Running, Simulate, Train};
use crate::conclusion::Ending;
use crate::interruption::Interruption;
use crate::{processors, report};

/// Runs a command of a job.
pub(crate) fn run<C: Communicator + SharedMemoryProvider>(
    command: &Command,
    comm: &C,
    interruption: &Interruption,
) -> Result<Ending> {
    match command {
        Command::Train(train) => run_training(train, comm, interruption),
        Command::Simulate(simulate) => run_simulation(simulate, comm, interruption),
        Command::Validate { case } => validate(case, comm),
        Command::Version { features } => {
            if comm.rank() == 0 {
                version(*features);
            }
            Ok(Ending::Complete)
        }
    }
}

fn run_training<C: Communicator + SharedMemoryProvider>(
    arguments: &Train,
    comm: &C,
    interruption: &Interruption,
) -> Result<Ending> {
    let case = agree(comm, Case::load(&arguments.case, None))?;
    let is_speaking = comm.rank() == 0 && !arguments.running.quiet;
    let request = TrainRequest {
        seed: arguments.running.seed,
        threads: Some(threads(&arguments.running, comm)?),
        stopping: stopping(arguments),
        output_dir: Some(arguments.output.clone()),
        checkpoint_every: arguments.checkpoint_every,
        resume: arguments.resume,
        ..TrainRequest::default()
    };
    let events = |event: Event| {
        if is_speaking {
            report::progress(&event);
        }
    };
    if is_speaking {
        announce(&case, comm, request.threads);
    }
    let job = Job { comm, events: &events, cancel: interruption.cancel() };
    let result = cobre::train(&case, &request, &job)?;
    let is_interrupted = result.termination == Termination::Interrupted;
    if is_speaking {
        report::training(&result);
    }
    if comm.rank() == 0 && is_interrupted {
        report::complain(&match result.policy.policy.iterations {
            0 => "interrupted before the first iteration was complete: there is no policy".to_owned(),
            count => format!(
                "interrupted: the policy of {count} complete iterations is in {}\n\
                 to go on: the same command with --resume",
                policy_folder(&case, &arguments.output).display()
            ),
        });
    }
    Ok(if is_interrupted { Ending::Interrupted } else { Ending::Complete })
}

fn run_simulation<C: Communicator + SharedMemoryProvider>(
    arguments: &Simulate,
    comm: &C,
    interruption: &Interruption,
) -> Result<Ending> {
    let case = agree(comm, Case::load(&arguments.case, None))?;
    let folder = arguments.policy.clone().unwrap_or_else(|| policy_folder(&case, &arguments.output));
    let policy = read_policy(&folder, comm)?;
    let is_speaking = comm.rank() == 0 && !arguments.running.quiet;
    let request = SimulateRequest {
        scenarios: arguments.scenarios,
        seed: arguments.running.seed,
        threads: Some(threads(&arguments.running, comm)?),
        output_dir: Some(arguments.output.clone()),
    };
    let events = |event: Event| {
        if is_speaking {
            report::progress(&event);
        }
    };
    if is_speaking {
        announce(&case, comm, request.threads);
    }
    let job = Job { comm, events: &events, cancel: interruption.cancel() };
    let result = cobre::simulate(&case, &policy.policy, &request, &job)?;
    if is_speaking {
        report::simulation(&result);
    }
    Ok(Ending::Complete)
}

/// The policy of a folder that only rank 0 needs to see: it tells the others, and the ranks of a machine hold it once.
/// Collective.
fn read_policy<C: Communicator + SharedMemoryProvider>(folder: &Path, comm: &C) -> Result<StoredPolicy> {
    let read = || policy_files::load(folder).and_then(|policy| policy_files::to_bytes(&policy));
    let bytes = agree(comm, if comm.rank() == 0 { read() } else { Ok(Vec::new()) })?;
    let mut stored = agree(comm, policy_files::from_bytes(&tell(comm, bytes, 0)?))?;
    stored.policy = share_policy(comm, stored.policy)?;
    Ok(stored)
}

fn validate<C: Communicator>(directory: &Path, comm: &C) -> Result<Ending> {
    let loaded =
        Case::load(directory, None).and_then(|case| jobs::problem(&case).map(|problem| (case, problem)));
    match loaded {
        Ok((case, problem)) => {
            agree(comm, Ok(()))?;
            if comm.rank() == 0 {
                let stages = problem.nodes.iter().map(|node| node.stage + 1).max().unwrap_or(0);
                report::say(&format!("{}: valid\n", case.name()));
                report::facts(&[
                    ("stages", stages.to_string()),
                    ("states", problem.states.len().to_string()),
                    (
                        "openings",
                        problem.nodes.iter().map(|node| node.openings.len()).sum::<usize>().to_string(),
                    ),
                ]);
            }
            Ok(Ending::Complete)
        }
        Err(error) if error.problems().is_empty() => agree(comm, Err(error)),
        Err(error) => {
            if comm.rank() == 0 {
                list_problems(directory, &error);
            }
            agree(comm, Ok(Ending::Invalid))
        }
    }
}

fn list_problems(directory: &Path, error: &Error) {
    for problem in error.problems() {
        report::say(&problem.to_string());
    }
    let count = error.problems().len();
    let noun = if count == 1 { "problem" } else { "problems" };
    report::say(&format!("{}: {count} {noun}", directory.display()));
}

/// Prints the version, and what the program is made of.
pub(crate) fn version(with_features: bool) {
    report::say(&format!("cobre {}", cobre::VERSION));
    if with_features {
        report::say(&format!("backends: {}", cobre_comm::compiled_backends().join(" ")));
        report::say(&format!("HiGHS {}", cobre_lp::highs::version()));
        #[cfg(feature = "mpi")]
        report::say(cobre_comm::mpi_library_version().lines().next().unwrap_or_default());
    }
}

/// Prints what is about to be done, and by whom.
fn announce<C: Communicator>(case: &Case, comm: &C, threads: Option<usize>) {
    let (ranks, threads) = (comm.size(), threads.unwrap_or(1));
    report::say(&format!("{}: ranks {ranks}, threads of each {threads}\n", case.name()));
}

fn threads<C: Communicator>(running: &Running, comm: &C) -> Result<usize> {
    match running.threads {
        Some(threads) => Ok(threads),
        None => processors::fair_share(comm),
    }
}

fn stopping(arguments: &Train) -> Option<Stopping> {
    let rules: Vec<StoppingRule> = arguments
        .iterations
        .map(StoppingRule::IterationLimit)
        .into_iter()
        .chain(arguments.seconds.map(StoppingRule::TimeLimit))
        .collect();
    (!rules.is_empty()).then_some(Stopping { rules, mode: StoppingMode::Any })
}

/// Where a training of the case puts its policy; "./policy" without its dot.
fn policy_folder(case: &Case, output: &Path) -> PathBuf {
    output.join(case.policy_path()).components().collect()
}
