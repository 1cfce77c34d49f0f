//! The backend of builds that contain several: chosen when the program runs, called without a table of functions.

use std::fmt;
use std::ops::Range;

#[cfg(feature = "mpi")]
use crate::MpiBackend;
#[cfg(any(feature = "shm", feature = "mpi"))]
use crate::NodeRegion;
#[cfg(feature = "shm")]
use crate::ShmBackend;
#[cfg(feature = "tcp")]
use crate::TcpBackend;
use crate::{
    CommData, CommError, Communicator, HeapRegion, LocalBackend, LocalCommunicator, ReduceOp, SendBuffer,
    SharedMemoryProvider, SharedRegion,
};

/// One of the backends that this build contains.
pub enum CommBackend {
    /// The ranks that an MPI started.
    #[cfg(feature = "mpi")]
    Mpi(MpiBackend),
    /// Ranks over TCP.
    #[cfg(feature = "tcp")]
    Tcp(TcpBackend),
    /// Ranks of one machine over shared memory.
    #[cfg(feature = "shm")]
    Shm(ShmBackend),
    /// One process.
    Local(LocalBackend),
}

/// A region of whichever backend.
#[derive(Debug)]
pub enum BackendRegion<T: CommData> {
    /// Memory that the processes of the machine share.
    #[cfg(any(feature = "shm", feature = "mpi"))]
    Node(NodeRegion<T>),
    /// A copy of this process's own.
    Heap(HeapRegion<T>),
}

/// Calls the same thing on the backend, whichever it is.
macro_rules! on_backend {
    ($this:expr, $backend:ident => $call:expr) => {
        match $this {
            #[cfg(feature = "mpi")]
            CommBackend::Mpi($backend) => $call,
            #[cfg(feature = "tcp")]
            CommBackend::Tcp($backend) => $call,
            #[cfg(feature = "shm")]
            CommBackend::Shm($backend) => $call,
            CommBackend::Local($backend) => $call,
        }
    };
}

macro_rules! on_region {
    ($this:expr, $region:ident => $call:expr) => {
        match $this {
            #[cfg(any(feature = "shm", feature = "mpi"))]
            BackendRegion::Node($region) => $call,
            BackendRegion::Heap($region) => $call,
        }
    };
}

impl CommBackend {
    /// The word by which the backend is chosen: `mpi`, `tcp`, `shm` or `local`.
    pub fn name(&self) -> &'static str {
        match self {
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => "mpi",
            #[cfg(feature = "tcp")]
            Self::Tcp(_) => "tcp",
            #[cfg(feature = "shm")]
            Self::Shm(_) => "shm",
            Self::Local(_) => "local",
        }
    }
}

impl fmt::Debug for CommBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rank {} of {}", self.name(), self.rank(), self.size())
    }
}

impl Communicator for CommBackend {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        on_backend!(self, backend => backend.allgatherv(send, recv, counts, displs))
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        on_backend!(self, backend => backend.allreduce(send, recv, op))
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        on_backend!(self, backend => backend.broadcast(buffer, root))
    }

    fn barrier(&self) -> Result<(), CommError> {
        on_backend!(self, backend => Communicator::barrier(backend))
    }

    fn rank(&self) -> usize {
        on_backend!(self, backend => Communicator::rank(backend))
    }

    fn size(&self) -> usize {
        on_backend!(self, backend => Communicator::size(backend))
    }

    fn abort(&self, code: i32) -> ! {
        on_backend!(self, backend => backend.abort(code))
    }

    fn alloc_send<T: CommData>(&self, len: usize) -> Result<SendBuffer<T>, CommError> {
        on_backend!(self, backend => backend.alloc_send(len))
    }
}

impl SharedMemoryProvider for CommBackend {
    type Region<T: CommData> = BackendRegion<T>;

    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<BackendRegion<T>, CommError> {
        match self {
            #[cfg(feature = "mpi")]
            Self::Mpi(backend) => backend.create_shared_region(count).map(BackendRegion::Node),
            #[cfg(feature = "tcp")]
            Self::Tcp(backend) => backend.create_shared_region(count).map(BackendRegion::Heap),
            #[cfg(feature = "shm")]
            Self::Shm(backend) => backend.create_shared_region(count).map(BackendRegion::Node),
            Self::Local(backend) => backend.create_shared_region(count).map(BackendRegion::Heap),
        }
    }

    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError> {
        on_backend!(self, backend => backend.split_local())
    }

    fn is_leader(&self) -> bool {
        on_backend!(self, backend => backend.is_leader())
    }
}

impl<T: CommData> SharedRegion<T> for BackendRegion<T> {
    fn as_slice(&self) -> &[T] {
        on_region!(self, region => region.as_slice())
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        on_region!(self, region => region.as_mut_slice())
    }

    fn local_part_mut(&mut self, part: Range<usize>) -> &mut [T] {
        on_region!(self, region => region.local_part_mut(part))
    }

    fn fence(&mut self) -> Result<(), CommError> {
        on_region!(self, region => region.fence())
    }
}
