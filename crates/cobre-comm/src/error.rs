//! What can go wrong between processes.

use cobre_core::{Error, ErrorKind};

/// A failed collective. After one, the communicator is poisoned: later calls fail at once on all ranks.
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
        Self::new(ErrorKind::BackendFailure, "communication between the processes failed").caused_by(error)
    }
}
