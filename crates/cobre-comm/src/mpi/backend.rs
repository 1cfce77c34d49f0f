//! The communicator of a job that an MPI started.

use std::sync::Arc;

use super::ranks::Ranks;
use crate::node_region::create_node_region;
use crate::{
    CommData, CommError, Communicator, LocalCommunicator, NodeRegion, ReduceOp, SharedMemoryProvider,
};

/// A rank of a job that an MPI started; made by [`MpiSession::backend`](crate::MpiSession::backend).
///
/// Collectives are called on the session's thread only: elsewhere they are [`CommError::CollectiveFailed`] without
/// any communication. After the session's end they are [`CommError::InvalidCommunicator`].
///
/// Results have the bits of every other backend, unless `COBRE_MPI_REDUCE=native` leaves reductions that are longer
/// than 96 bytes to the MPI library.
#[derive(Clone)]
pub struct MpiBackend {
    pub(super) job: Arc<Ranks>,
    node: Arc<Ranks>,
}

impl MpiBackend {
    /// The ranks of the job, and those of them on this machine.
    pub(super) fn new(job: Ranks, node: Ranks) -> Self {
        Self { job: Arc::new(job), node: Arc::new(node) }
    }
}

impl std::fmt::Debug for MpiBackend {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("MpiBackend")
            .field("rank", &self.job.rank)
            .field("size", &self.job.size)
            .field("reduction", &self.job.reduction)
            .finish_non_exhaustive()
    }
}

impl Communicator for MpiBackend {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        self.job.allgatherv(send, recv, counts, displs)
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        self.job.allreduce(send, recv, op)
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        self.job.broadcast(buffer, root)
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.job.barrier()
    }

    fn rank(&self) -> usize {
        self.job.rank
    }

    fn size(&self) -> usize {
        self.job.size
    }

    /// Ends all ranks; the launcher ends with the code. On another thread than the session's this process ends by
    /// `SIGABRT`, upon which the launcher ends the others.
    fn abort(&self, code: i32) -> ! {
        self.job.abort(code)
    }
}

/// The ranks of this machine, for fences and for callers.
struct NodeRanks(Arc<Ranks>);

impl LocalCommunicator for NodeRanks {
    fn rank(&self) -> usize {
        self.0.rank
    }

    fn size(&self) -> usize {
        self.0.size
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.0.barrier()
    }
}

impl SharedMemoryProvider for MpiBackend {
    type Region<T: CommData> = NodeRegion<T>;

    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<NodeRegion<T>, CommError> {
        create_node_region(&*self.node, self.split_local()?, count)
    }

    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError> {
        Ok(Box::new(NodeRanks(Arc::clone(&self.node))))
    }

    fn is_leader(&self) -> bool {
        self.node.rank == 0
    }
}
