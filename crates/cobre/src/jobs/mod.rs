//! The jobs: training and simulation of a case, with the files they write.

mod simulation;
mod training;

use std::num::NonZero;
use std::path::PathBuf;

use cobre_comm::Communicator;
use cobre_core::{Error, ErrorKind, Result};
use cobre_sddp::{Problem, agree};
use serde_json::Value;

use crate::Case;
use crate::fingerprint::sha256;
use crate::output::OutputDirectory;

pub use simulation::{SimulateRequest, SimulationResult, simulate};
pub use training::{TrainRequest, TrainingResult, train};

/// The optimisation problem of a case.
///
/// # Errors
/// Those of the case's model: kinds of [`cobre_core::ErrorClass::Validation`].
pub fn problem(case: &Case) -> Result<Problem> {
    Ok(case.model()?.problem)
}

/// Number of threads that may run at once, by the affinity mask and the limits of the process.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Where a rank saves a stage problem without a solution: the output directory, where the rank sees it.
fn failure_directory(output: Option<&PathBuf>) -> Option<PathBuf> {
    output.filter(|path| path.is_dir()).cloned()
}

/// Runs something on rank 0 alone, and lets the other ranks know whether it went well: `None` for them.
fn on_rank_0<T, C: Communicator>(comm: &C, action: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
    agree(comm, if comm.rank() == 0 { action().map(Some) } else { Ok(None) })
}

/// Checks that all ranks have the same settings, the fingerprint of the problem among them.
fn compare_settings<C: Communicator>(comm: &C, settings: &[&Value]) -> Result<()> {
    let text: String = settings.iter().map(ToString::to_string).collect();
    let own = sha256(text.as_bytes()).into_bytes();
    let mut of_rank_0 = own.clone();
    comm.broadcast(&mut of_rank_0, 0)?;
    let compared = if own == of_rank_0 {
        Ok(())
    } else {
        let message = format!("rank {} has another case or other options than rank 0", comm.rank());
        Err(Error::new(ErrorKind::IncompatibleRuns, message)
            .with("rank", comm.rank())
            .suggesting("give all ranks the same case and the same options"))
    };
    agree(comm, compared)
}

fn record_failure(output: Option<&mut OutputDirectory>, error: &Error) {
    if let Some(output) = output {
        output.fail(error);
    }
}
