//! What ends a job, as one rank tells another and as a rank tells its caller.

use super::frame::{Reason, Shutdown};
use crate::CommError;
use crate::error::other_rank;

/// A collective that cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A rank is gone.
    Lost { rank: usize, how: String },
    /// A rank called something else.
    Mismatch { culprit: usize, detail: String },
    /// Ranks did not come in time.
    Timeout { waited_ms: u64, missing: Vec<usize> },
    /// Anything else.
    Failed { culprit: usize, message: String },
}

impl Failure {
    /// The last frame to the other ranks.
    pub(super) fn shutdown(&self) -> Shutdown {
        let (reason, culprit, text) = match self {
            Self::Lost { rank, how } => (Reason::Lost, *rank, how.clone()),
            Self::Mismatch { culprit, detail } => (Reason::Mismatch, *culprit, detail.clone()),
            Self::Timeout { missing, .. } => {
                (Reason::Timeout, missing.first().copied().unwrap_or(0), String::new())
            }
            Self::Failed { culprit, message } => (Reason::Failed, *culprit, message.clone()),
        };
        let (number, ranks) = match self {
            Self::Timeout { waited_ms, missing } => (*waited_ms, missing.clone()),
            _ => (0, Vec::new()),
        };
        Shutdown { reason, culprit, number, text, ranks }
    }

    /// What the last frame of another rank means.
    pub(super) fn from_shutdown(shutdown: Shutdown) -> Self {
        let Shutdown { reason, culprit, number, text, ranks } = shutdown;
        match reason {
            Reason::Left => Self::Lost { rank: culprit, how: "it left the job".to_owned() },
            Reason::Lost => Self::Lost { rank: culprit, how: text },
            Reason::Aborted => {
                Self::Lost { rank: culprit, how: format!("it aborted the job with code {}", number as i32) }
            }
            Reason::Mismatch => Self::Mismatch { culprit, detail: text },
            Reason::Timeout => Self::Timeout { waited_ms: number, missing: ranks },
            Reason::Failed => Self::Failed { culprit, message: text },
        }
    }

    /// What the caller of `operation` on rank `own` gets.
    pub(super) fn into_error(self, operation: &'static str, own: usize) -> CommError {
        match self {
            Self::Lost { rank, how } => CommError::PeerLost { rank, how },
            Self::Mismatch { culprit, detail } => {
                CommError::Mismatch { operation, rank: other_rank(culprit, own), detail }
            }
            Self::Timeout { waited_ms, missing } => CommError::Timeout { operation, waited_ms, missing },
            Self::Failed { message, .. } => {
                CommError::CollectiveFailed { operation, mpi_error_code: 0, message }
            }
        }
    }
}
