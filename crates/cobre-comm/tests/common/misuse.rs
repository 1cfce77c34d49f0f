//! What every backend must answer when ranks do not call the same thing: an error on all ranks, never a hang.

use cobre_comm::{CommError, Communicator, ReduceOp};

/// How the last rank differs from the others.
#[derive(Clone, Copy, Debug)]
pub enum Misuse {
    Operation,
    Length,
    LargeLength,
    Counts,
    Type,
    Reduction,
    Root,
    Argument,
}

impl Misuse {
    pub const ALL: [Self; 8] = [
        Self::Operation,
        Self::Length,
        Self::LargeLength,
        Self::Counts,
        Self::Type,
        Self::Reduction,
        Self::Root,
        Self::Argument,
    ];

    /// Commits the misuse on a fresh communicator of two or more ranks, which is unusable afterwards.
    pub fn commit(self, comm: &impl Communicator) {
        comm.barrier().unwrap();
        let is_odd = comm.rank() + 1 == comm.size();
        let outcome = match self {
            Self::Operation if is_odd => comm.barrier(),
            Self::Operation => comm.allreduce(&[1.0], &mut [0.0], ReduceOp::Sum),
            Self::Length => {
                let len = if is_odd { 3 } else { 2 };
                comm.allreduce(&vec![1.0; len], &mut vec![0.0; len], ReduceOp::Sum)
            }
            Self::LargeLength => {
                let len = if is_odd { 100_000 } else { 200_000 };
                comm.broadcast(&mut vec![0.0f64; len], 0)
            }
            Self::Counts => {
                // Each rank's own part is as its counts say; they disagree about the first rank's part.
                let mut counts = vec![1usize; comm.size()];
                counts[0] = if is_odd { 5 } else { 4 };
                let displs: Vec<usize> = (0..comm.size()).map(|rank| 5 * rank).collect();
                let send = vec![0u32; counts[comm.rank()]];
                comm.allgatherv(&send, &mut vec![0; 5 * comm.size()], &counts, &displs)
            }
            Self::Type if is_odd => comm.allreduce(&[1u64], &mut [0], ReduceOp::Sum),
            Self::Type => comm.allreduce(&[1i64], &mut [0], ReduceOp::Sum),
            Self::Reduction => {
                let op = if is_odd { ReduceOp::Min } else { ReduceOp::Max };
                comm.allreduce(&[1.0], &mut [0.0], op)
            }
            Self::Root => comm.broadcast(&mut [1u8], usize::from(is_odd)),
            Self::Argument => {
                let mut recv = vec![0.0; if is_odd { 3 } else { 2 }];
                comm.allreduce(&[1.0, 2.0], &mut recv, ReduceOp::Sum)
            }
        };
        let error = outcome.expect_err("the ranks do not agree");
        let is_own = matches!(self, Self::Argument) && is_odd;
        if is_own {
            assert!(matches!(error, CommError::InvalidBufferSize { .. }), "{self:?}: {error:?}");
        } else {
            assert!(matches!(error, CommError::Mismatch { .. }), "{self:?}: {error:?}");
            // All ranks but the last called the same: whom one of them names is the last, never itself.
            let last = comm.size() - 1;
            let is_other = |named: usize| if is_odd { named < last } else { named == last };
            assert!(error.named_rank().is_none_or(is_other), "{self:?}: {error:?}");
        }
        assert_eq!(comm.barrier(), Err(CommError::Poisoned), "{self:?}");
    }
}
