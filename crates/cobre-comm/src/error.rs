//! What can go wrong between processes.

use cobre_core::{Error, ErrorKind};

use crate::BACKEND_VARIABLE;

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
        /// A rank whose call is another than that of this rank, where it is known.
        rank: Option<usize>,
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

    /// The rank that a consequence names: the one that was lost, called something else, or is the first of those that
    /// did not come.
    pub fn named_rank(&self) -> Option<usize> {
        match self {
            Self::PeerLost { rank, .. } => Some(*rank),
            Self::Timeout { missing, .. } => missing.first().copied(),
            Self::Mismatch { rank, .. } => *rank,
            _ => None,
        }
    }
}

/// The rank that a rank names whose call is not that of all: the `odd` one, or, where that is this rank itself, rank 0.
#[cfg(any(feature = "mpi", feature = "tcp"))]
pub(crate) fn other_rank(odd: usize, own: usize) -> Option<usize> {
    if odd == own { (own != 0).then_some(0) } else { Some(odd) }
}

fn ranks(missing: &[usize]) -> String {
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    format!("{} {}", if names.len() == 1 { "rank" } else { "ranks" }, names.join(", "))
}

/// A backend that could not be chosen or started.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A known backend that this build does not contain.
    #[error("{setting} asks for backend {requested}, which is not part of this build of {}", available.join(", "))]
    BackendNotAvailable {
        /// The variable that asks for it: [`BACKEND_VARIABLE`](crate::BACKEND_VARIABLE), one of the backend's own, or
        /// one that a launcher set.
        setting: &'static str,
        /// The word of the backend.
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
        if !error.is_consequence() {
            return Self::new(ErrorKind::BackendFailure, "communication between the processes failed")
                .caused_by(error);
        }
        let failed = Self::new(ErrorKind::WorkerFailed, error.to_string());
        match error.named_rank() {
            Some(rank) => failed.with("rank", rank),
            None => failed,
        }
    }
}

/// The error of a backend that this build cannot give.
fn refused(message: String, setting: &'static str, requested: &str, available: &[&'static str]) -> Error {
    let features: Vec<&str> = available.iter().copied().filter(|word| *word != "local").collect();
    Error::new(ErrorKind::IncompatibleSettings, message)
        .with("setting", setting)
        .with("requested_value", requested)
        .with("available_backends", available.join(" "))
        .with("build_features", if features.is_empty() { "none".to_owned() } else { features.join(" ") })
}

/// What to do about a backend that this build does not contain.
fn advice(setting: &str, requested: &str, available: &[&str]) -> String {
    let build = match requested {
        "mpi" => "build the program with `--features mpi` for your MPI (`make mpi`)".to_owned(),
        other => format!("build the program with `--features {other}`"),
    };
    let known = available.join(", ");
    if setting == BACKEND_VARIABLE {
        format!("{build}, or set {setting} to auto or one of {known}")
    } else {
        format!("{build}, unset {setting}, or set {BACKEND_VARIABLE} to one of {known}")
    }
}

impl From<BackendError> for Error {
    fn from(error: BackendError) -> Self {
        let message = error.to_string();
        match &error {
            BackendError::BackendNotAvailable { setting, requested, available } => {
                refused(message, setting, requested, available)
                    .suggesting(advice(setting, requested, available))
            }
            BackendError::InvalidBackend { requested, available } => {
                let known = available.join(", ");
                refused(message, BACKEND_VARIABLE, requested, available)
                    .suggesting(format!("set {BACKEND_VARIABLE} to auto or one of {known}"))
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

#[cfg(test)]
mod tests {
    use cobre_core::ContextValue;

    use super::*;

    #[test]
    fn what_follows_from_another_rank_names_it() {
        let operation = "barrier";
        let detail = "broadcast on rank 2".to_owned();
        for (error, rank) in [
            (CommError::PeerLost { rank: 1, how: "its process ended".into() }, Some(1)),
            (CommError::Timeout { operation, waited_ms: 2_000, missing: vec![3, 5] }, Some(3)),
            (CommError::Mismatch { operation, rank: Some(2), detail: detail.clone() }, Some(2)),
            (CommError::Mismatch { operation, rank: None, detail }, None),
            (CommError::Poisoned, None),
        ] {
            assert!(error.is_consequence());
            assert_eq!(error.named_rank(), rank);
            let text = error.to_string();
            let error = Error::from(error);
            assert_eq!((error.kind(), error.message()), (ErrorKind::WorkerFailed, text.as_str()));
            let expected = rank.map(ContextValue::from);
            assert_eq!(error.context().get("rank"), expected.as_ref(), "{error}");
        }
    }

    #[test]
    fn what_this_rank_did_is_a_failure_of_the_backend() {
        let operation = "barrier";
        for error in [
            CommError::CollectiveFailed { operation, mpi_error_code: 3, message: "no".into() },
            CommError::InvalidBufferSize { operation, expected: 2, actual: 1 },
            CommError::InvalidRoot { root: 4, size: 2 },
            CommError::InvalidCommunicator,
            CommError::AllocationFailed { requested_bytes: 1, message: "no".into() },
        ] {
            let text = error.to_string();
            let error = Error::from(error);
            assert_eq!(error.kind(), ErrorKind::BackendFailure);
            assert!(error.to_string().ends_with(&text) && error.context().is_empty(), "{error}");
        }
    }

    fn context(error: &Error) -> Vec<(&'static str, String)> {
        error.context().iter().map(|(name, value)| (*name, value.to_string())).collect()
    }

    #[test]
    fn a_backend_that_is_not_there_tells_who_asks_for_it() {
        for (setting, available, features) in [
            ("COBRE_COMM_BACKEND", vec!["tcp", "shm", "local"], "tcp shm"),
            ("PMIX_RANK", vec!["local"], "none"),
        ] {
            let words = available.join(" ");
            let missing = BackendError::BackendNotAvailable { setting, requested: "mpi".into(), available };
            let error = Error::from(missing);
            assert_eq!(error.kind(), ErrorKind::IncompatibleSettings);
            assert!(
                error.message().starts_with(setting) && error.message().contains("backend mpi"),
                "{error}"
            );
            let expected = [
                ("available_backends", words.as_str()),
                ("build_features", features),
                ("requested_value", "mpi"),
                ("setting", setting),
            ];
            assert_eq!(context(&error), expected.map(|(name, value)| (name, value.to_owned())));
            let suggestion = error.suggestion().unwrap();
            assert!(suggestion.contains("--features mpi") && suggestion.contains("COBRE_COMM_BACKEND"));
            assert_eq!(suggestion.contains("unset"), setting == "PMIX_RANK", "{suggestion}");
        }
    }

    #[test]
    fn a_word_that_no_backend_has_is_told_with_those_there_are() {
        let available = vec!["shm", "local"];
        let error = Error::from(BackendError::InvalidBackend { requested: "gloo".into(), available });
        let expected = [
            ("available_backends", "shm local"),
            ("build_features", "shm"),
            ("requested_value", "gloo"),
            ("setting", "COBRE_COMM_BACKEND"),
        ];
        assert_eq!(context(&error), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(error.suggestion(), Some("set COBRE_COMM_BACKEND to auto or one of shm, local"));
    }
}
