//! What can go wrong between processes.

use cobre_core::{Error, ErrorKind};

/// A failed collective. After one, the communicator is poisoned: later calls fail at once, on all ranks, with
/// [`Poisoned`](Self::Poisoned).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommError {
    /// The operation did not complete.
    #[error("{operation} failed: {message} (MPI error code {mpi_error_code})")]
    CollectiveFailed {
        /// The operation.
        operation: &'static str,
        /// MPI's code, 0 where MPI has no part in it.
        mpi_error_code: i32,
        /// What happened.
        message: String,
    },
    /// A buffer has the wrong number of elements.
    #[error("{operation}: buffer of {actual} elements where {expected} are needed")]
    InvalidBufferSize {
        /// The operation.
        operation: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        actual: usize,
    },
    /// A root that is no rank.
    #[error("root {root} in a job of {size} ranks")]
    InvalidRoot {
        /// The root given.
        root: usize,
        /// Number of ranks.
        size: usize,
    },
    /// The communicator was finalised.
    #[error("the communicator was finalised")]
    InvalidCommunicator,
    /// The system refused memory.
    #[error("{requested_bytes} bytes could not be allocated: {message}")]
    AllocationFailed {
        /// Bytes asked for.
        requested_bytes: usize,
        /// What the system said.
        message: String,
    },
    /// A rank is no longer there.
    #[error("rank {rank} was lost: {how}")]
    PeerLost {
        /// The rank that died or cannot be reached.
        rank: usize,
        /// What was seen of it.
        how: String,
    },
    /// Ranks did not come within the time that the user set.
    #[error("{operation} waited {waited_ms} ms for {}", ranks(missing))]
    Timeout {
        /// The operation.
        operation: &'static str,
        /// How long it waited, in ms.
        waited_ms: u64,
        /// The ranks that had not come.
        missing: Vec<usize>,
    },
    /// Ranks called different operations, or the same with arguments that do not fit.
    #[error("{operation} does not match what another rank called: {detail}")]
    Mismatch {
        /// The operation of this rank.
        operation: &'static str,
        /// The difference.
        detail: String,
    },
    /// An earlier collective failed, here or on another rank.
    #[error("the communicator is unusable since an earlier collective failed")]
    Poisoned,
}

impl CommError {
    /// Whether the error follows from what another rank did or did not do: the cause lies there.
    pub fn is_consequence(&self) -> bool {
        matches!(self, Self::PeerLost { .. } | Self::Timeout { .. } | Self::Mismatch { .. } | Self::Poisoned)
    }
}

fn ranks(missing: &[usize]) -> String {
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!("{} {}", if names.len() == 1 { "rank" } else { "ranks" }, names.join(", "))
}

/// A backend that could not be chosen or started.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A known backend that this build does not contain.
    #[error("backend {requested} is not part of this build, which has {}", available.join(", "))]
    BackendNotAvailable {
        /// The word asked for.
        requested: String,
        /// The words this build knows.
        available: Vec<&'static str>,
    },
    /// A word that no backend has.
    #[error("there is no backend {requested}; this build has {}", available.join(", "))]
    InvalidBackend {
        /// The word asked for.
        requested: String,
        /// The words this build knows.
        available: Vec<&'static str>,
    },
    /// The backend did not start.
    #[error("backend {backend} did not start: {source}")]
    InitializationFailed {
        /// The backend.
        backend: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Settings of the environment are missing.
    #[error("backend {backend} needs {}", missing_vars.join(", "))]
    MissingConfiguration {
        /// The backend.
        backend: &'static str,
        /// The variables that are not set.
        missing_vars: Vec<&'static str>,
    },
}

impl From<CommError> for Error {
    fn from(error: CommError) -> Self {
        match error {
            CommError::PeerLost { rank, ref how } => {
                let message = format!("rank {rank} was lost: {how}");
                Self::new(ErrorKind::WorkerFailed, message).with("rank", rank).caused_by(error)
            }
            error => {
                let failed =
                    Self::new(ErrorKind::BackendFailure, "communication between the processes failed");
                // The rank that did not come is where to look.
                let late = match &error {
                    CommError::Timeout { missing, .. } => missing.first().copied(),
                    _ => None,
                };
                let failed = match late {
                    Some(rank) => failed.with("rank", rank),
                    None => failed,
                };
                failed.caused_by(error)
            }
        }
    }
}

/// What to do about a backend that is not there.
fn advice(requested: &str, available: &[&str]) -> String {
    let known = format!("choose auto or one of {}", available.join(", "));
    if requested == "mpi" {
        format!("build the program with `--features mpi` for your MPI (`make mpi`), or {known}")
    } else {
        known
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        match &error {
            BackendError::BackendNotAvailable { requested, available }
            | BackendError::InvalidBackend { requested, available } => {
                Self::new(ErrorKind::IncompatibleSettings, message)
                    .with("setting", "COBRE_COMM_BACKEND")
                    .with("requested_value", requested.as_str())
                    .with("available_backends", available.join(" "))
                    .suggesting(advice(requested, available))
            }
            BackendError::MissingConfiguration { backend, missing_vars } => {
                Self::new(ErrorKind::IncompatibleSettings, message)
                    .with("setting", missing_vars.join(" "))
                    .with("backend", *backend)
                    .suggesting("set them for every rank, or leave every variable of the backend unset")
            }
            BackendError::InitializationFailed { backend, .. } => {
                Self::new(ErrorKind::BackendFailure, message).with("backend", *backend)
            }
        }
    }
}
