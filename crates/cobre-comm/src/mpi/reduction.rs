//! How values are reduced: by this crate in rank order, or by MPI.

use crate::{BackendError, CommData, ReduceOp};

/// The variable that leaves reductions to MPI.
const VARIABLE: &str = "COBRE_MPI_REDUCE";

/// Who reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reduction {
    /// This crate folds in rank order: the bits are those of every other backend.
    RankOrder,
    /// `MPI_Allreduce`, whose order and whose treatment of NaN and −0 are its own.
    Native,
}

impl Reduction {
    /// The choice of the environment.
    ///
    /// # Errors
    /// [`BackendError::InitializationFailed`] for a word that is none.
    pub(super) fn from_env() -> Result<Self, BackendError> {
        match std::env::var(VARIABLE) {
            Err(std::env::VarError::NotPresent) => Ok(Self::RankOrder),
            Ok(word) if word == "native" => Ok(Self::Native),
            Ok(word) if word.is_empty() || word == "rank-order" => Ok(Self::RankOrder),
            other => {
                let word = other.unwrap_or_else(|error| error.to_string());
                let message = format!("{VARIABLE} is {word}; it can be rank-order (the default) or native");
                Err(BackendError::InitializationFailed { backend: "mpi", source: message.into() })
            }
        }
    }
}

/// Reduces by `MPI_Allreduce`.
///
/// # Errors
/// Those of MPI.
pub(super) fn reduce_natively<T: CommData>(
    comm: &ferrompi::Communicator,
    send: &[T],
    recv: &mut [T],
    op: ReduceOp,
) -> ferrompi::Result<()> {
    let op = match op {
        ReduceOp::Sum => ferrompi::ReduceOp::Sum,
        ReduceOp::Min => ferrompi::ReduceOp::Min,
        ReduceOp::Max => ferrompi::ReduceOp::Max,
        ReduceOp::BitwiseOr => ferrompi::ReduceOp::BitwiseOr,
    };
    macro_rules! reduce_as {
        ($element:ty) => {
            comm.allreduce::<$element>(bytemuck::cast_slice(send), bytemuck::cast_slice_mut(recv), op)
        };
    }
    match T::TAG {
        f32::TAG => reduce_as!(f32),
        f64::TAG => reduce_as!(f64),
        i32::TAG => reduce_as!(i32),
        i64::TAG => reduce_as!(i64),
        u32::TAG => reduce_as!(u32),
        u64::TAG => reduce_as!(u64),
        _ => reduce_as!(u8),
    }
}
