//! Trains and simulates by the ranks of a job: under an MPI launcher, over TCP or over shared memory.
//!
//! Exit codes: 0 done, 1 a defect, 2 bad input or usage, 3 solver, 4 files or the start of a backend, 5 a rank was
//! lost or did something else than the others, 130 and 143 interrupted. All ranks of a job end with the same.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod conclusion;
mod interruption;
mod processors;
mod report;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use cobre::Communicator;
use cobre_comm::{BackendError, BackendKind, Session};

use crate::arguments::{Arguments, Command};
use crate::interruption::Interruption;

const USAGE_CODE: u8 = 2;
const BACKEND_CODE: u8 = 4;

fn main() -> ExitCode {
    let command = match Arguments::try_parse() {
        Ok(arguments) => arguments.command,
        Err(error) if error.use_stderr() => {
            // All ranks have the same command line: one of them says what is wrong with it.
            if is_first_rank() {
                drop(error.print());
            }
            return ExitCode::from(USAGE_CODE);
        }
        Err(help) => {
            drop(help.print());
            return ExitCode::SUCCESS;
        }
    };
    if let Command::Version { features } = command {
        commands::version(features);
        return ExitCode::SUCCESS;
    }
    ExitCode::from(run_job(&command))
}

fn run_job(command: &Command) -> u8 {
    let started = Interruption::watch()
        .map_err(|error| BackendError::InitializationFailed { backend: "auto", source: error.into() })
        .and_then(|interruption| start_backend().map(|session| (interruption, session)));
    let (interruption, session) = match started {
        Ok(started) => started,
        Err(error) => {
            report::failure(&error.into(), 0, 1);
            return BACKEND_CODE;
        }
    };
    interruption.begin();
    let comm = session.comm();
    let outcome = commands::run(command, comm, &interruption);
    let conclusion = conclusion::conclude(comm, outcome, &interruption);
    if !conclusion.is_settled && session.backend_name() == "mpi" {
        // MPI would wait for ranks that are in another call.
        comm.abort(i32::from(conclusion.code));
    }
    conclusion.code
}

fn start_backend() -> Result<Session, BackendError> {
    let stall = |stall: &cobre_comm::Stall| report::complain(&format!("warning: {stall}"));
    Session::start(BackendKind::from_env()?.observing_stalls(Arc::new(stall)))
}

/// Whether this is rank 0, as far as the environment of a process tells before ranks know each other.
fn is_first_rank() -> bool {
    let ranks = ["COBRE_TCP_RANK", "COBRE_SHM_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK"];
    let is_other =
        |name: &str| std::env::var(name).is_ok_and(|rank| rank.parse::<u64>().is_ok_and(|rank| rank > 0));
    !ranks.into_iter().any(is_other)
}
