//! The collective operations.

use std::ops::{Deref, DerefMut};

use crate::{CommData, CommError, ReduceOp};

/// The collective operations of a job's processes.
///
/// Every rank calls the same operations in the same order with matching arguments; only one thread of a rank may
/// call at a time. Results have the same bits on every rank and every backend. After an error the contents of
/// receive buffers are unspecified.
pub trait Communicator: Send + Sync {
    /// Gathers every rank's slice on every rank: `recv[displs[r]..][..counts[r]]` becomes rank r's `send`.
    /// Gaps between the parts are left alone; a count of zero is legal.
    ///
    /// # Errors
    /// [`CommError::InvalidBufferSize`] when `counts` or `displs` do not have one value per rank, `send` does not
    /// have `counts[rank]` elements, or a part does not fit into `recv`; [`CommError::CollectiveFailed`] when parts
    /// overlap or the operation fails.
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError>;

    /// Combines the ranks' values element by element, in rank order; every rank gets the result.
    ///
    /// # Errors
    /// [`CommError::InvalidBufferSize`] for empty or unequal buffers, [`CommError::CollectiveFailed`] for an
    /// operation the type does not have.
    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError>;

    /// Copies the root's buffer to every rank.
    ///
    /// # Errors
    /// [`CommError::InvalidRoot`].
    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`].
    fn barrier(&self) -> Result<(), CommError>;

    /// This process's number, constant; callable from any thread.
    fn rank(&self) -> usize;

    /// Number of processes, constant; callable from any thread.
    fn size(&self) -> usize;

    /// Ends the whole job with an exit code.
    fn abort(&self, code: i32) -> !;

    /// A zeroed send buffer that the backend can read from directly. Collective: every rank calls it, lengths may
    /// differ. Backends without such memory give plain heap.
    ///
    /// # Errors
    /// [`CommError::AllocationFailed`].
    fn alloc_send<T: CommData>(&self, len: usize) -> Result<SendBuffer<T>, CommError> {
        SendBuffer::heap(len)
    }
}

/// A send buffer given out by [`Communicator::alloc_send`].
#[derive(Debug)]
pub struct SendBuffer<T>(SendMemory<T>);

#[derive(Debug)]
enum SendMemory<T> {
    Heap(Vec<T>),
    #[cfg(all(feature = "shm", not(loom)))]
    Mapped(crate::mapping::MappedPart<T>),
}

impl<T: CommData> SendBuffer<T> {
    /// A zeroed buffer on the heap.
    ///
    /// # Errors
    /// [`CommError::AllocationFailed`].
    pub fn heap(len: usize) -> Result<Self, CommError> {
        zeroed(len).map(|values| Self(SendMemory::Heap(values)))
    }

    /// A buffer that other processes map too.
    #[cfg(all(feature = "shm", not(loom)))]
    pub(crate) fn mapped(part: crate::mapping::MappedPart<T>) -> Self {
        Self(SendMemory::Mapped(part))
    }
}

impl<T: CommData> Deref for SendBuffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            SendMemory::Heap(values) => values,
            #[cfg(all(feature = "shm", not(loom)))]
            SendMemory::Mapped(part) => part.as_slice(),
        }
    }
}

impl<T: CommData> DerefMut for SendBuffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            SendMemory::Heap(values) => values,
            #[cfg(all(feature = "shm", not(loom)))]
            SendMemory::Mapped(part) => part.as_mut_slice(),
        }
    }
}

/// `len` zeros, or the error of a system that has not that much memory.
pub(crate) fn zeroed<T: CommData>(len: usize) -> Result<Vec<T>, CommError> {
    let mut values: Vec<T> = Vec::new();
    values.try_reserve_exact(len).map_err(|error| CommError::AllocationFailed {
        requested_bytes: len.saturating_mul(size_of::<T>()),
        message: error.to_string(),
    })?;
    values.resize(len, T::zeroed());
    Ok(values)
}

/// Checks the arguments of an allgatherv as every backend must, before any communication.
///
/// # Errors
/// As [`Communicator::allgatherv`].
pub fn check_allgatherv(
    send_len: usize,
    recv_len: usize,
    counts: &[usize],
    displs: &[usize],
    (rank, size): (usize, usize),
) -> Result<(), CommError> {
    let operation = "allgatherv";
    for given in [counts.len(), displs.len()] {
        if given != size {
            return Err(CommError::InvalidBufferSize { operation, expected: size, actual: given });
        }
    }
    if send_len != counts[rank] {
        return Err(CommError::InvalidBufferSize { operation, expected: counts[rank], actual: send_len });
    }
    let mut parts: Vec<(usize, usize)> = Vec::with_capacity(size);
    for (&count, &displacement) in counts.iter().zip(displs) {
        let end = displacement.saturating_add(count);
        if end > recv_len {
            return Err(CommError::InvalidBufferSize { operation, expected: end, actual: recv_len });
        }
        if count > 0 {
            parts.push((displacement, end));
        }
    }
    parts.sort_unstable();
    if parts.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        let message = "the parts of the receive buffer overlap".to_owned();
        return Err(CommError::CollectiveFailed { operation, mpi_error_code: 0, message });
    }
    Ok(())
}

/// Checks the arguments of an allreduce as every backend must, before any communication.
///
/// # Errors
/// As [`Communicator::allreduce`].
pub fn check_allreduce<T: CommData>(send_len: usize, recv_len: usize, op: ReduceOp) -> Result<(), CommError> {
    let operation = "allreduce";
    T::check(op)?;
    if send_len == 0 {
        return Err(CommError::InvalidBufferSize { operation, expected: 1, actual: 0 });
    }
    if recv_len != send_len {
        return Err(CommError::InvalidBufferSize { operation, expected: send_len, actual: recv_len });
    }
    Ok(())
}
