//! Errors of MPI in the words of this crate.

use ferrompi::{Error, MpiErrorClass};

use super::message::Operation;
use crate::CommError;

/// What a failed call of MPI means. `root` and `size` are those of the call.
pub(super) fn translate(error: Error, operation: Operation, root: usize, size: usize) -> CommError {
    let operation = operation.name();
    match error {
        Error::BufferSize { required, actual, .. } => {
            CommError::InvalidBufferSize { operation, expected: required, actual }
        }
        Error::Finalized | Error::InvalidState { .. } | Error::Mpi { class: MpiErrorClass::Comm, .. } => {
            CommError::InvalidCommunicator
        }
        Error::Mpi { class: MpiErrorClass::Root, .. } => CommError::InvalidRoot { root, size },
        Error::Mpi { code, message, .. } => {
            CommError::CollectiveFailed { operation, mpi_error_code: code, message }
        }
        other => CommError::CollectiveFailed { operation, mpi_error_code: 0, message: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_ferrompi_have_names_here() {
        let of = |error| translate(error, Operation::Broadcast, 7, 4);
        assert_eq!(of(Error::Finalized), CommError::InvalidCommunicator);
        let other = of(Error::NotSupported("this".into()));
        assert!(matches!(
            other,
            CommError::CollectiveFailed { operation: "broadcast", mpi_error_code: 0, .. }
        ));
        assert!(other.to_string().contains("this"));
    }
}
