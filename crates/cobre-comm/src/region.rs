//! Memory that the processes of one machine share.

use std::ops::Range;

use crate::traits::zeroed;
use crate::{CommData, CommError};

/// A communicator among the processes of one machine; object safe, so that backends can hand out their own.
pub trait LocalCommunicator: Send + Sync {
    /// This process's number on the machine.
    fn rank(&self) -> usize;

    /// Number of processes on the machine.
    fn size(&self) -> usize;

    /// Returns when every process of the machine has called it.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`].
    fn barrier(&self) -> Result<(), CommError>;
}

/// Gives out memory that the processes of a machine share, or its stand-in.
pub trait SharedMemoryProvider {
    /// The region type.
    type Region<T: CommData>: SharedRegion<T> + 'static;

    /// Creates a zeroed region of `count` elements, its write epoch open. Collective on the machine.
    ///
    /// # Errors
    /// [`CommError::AllocationFailed`].
    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<Self::Region<T>, CommError>;

    /// The processes of this machine.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`].
    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError>;

    /// True on the process that fills regions. Where memory is not truly shared, every process fills its own.
    fn is_leader(&self) -> bool;
}

/// A region with alternating epochs: writing (from creation or a second `fence`), then reading (after `fence`).
/// The memory begins at a multiple of 64 bytes.
pub trait SharedRegion<T: CommData>: Send + Sync {
    /// The elements.
    ///
    /// # Panics
    /// While a write epoch is open.
    fn as_slice(&self) -> &[T];

    /// The elements for writing: all on the leader, none on followers.
    ///
    /// # Panics
    /// While a read epoch is open.
    fn as_mut_slice(&mut self) -> &mut [T];

    /// A part for writing, on any process; the caller sees to it that parts do not overlap.
    ///
    /// # Panics
    /// While a read epoch is open, or when the part lies outside the region.
    fn local_part_mut(&mut self, part: Range<usize>) -> &mut [T];

    /// Ends the epoch and begins the other kind. Collective on the machine.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`].
    fn fence(&mut self) -> Result<(), CommError>;
}

/// The region of backends without shared memory: each process has its own copy on the heap.
#[derive(Debug)]
pub struct HeapRegion<T> {
    storage: Vec<T>,
    first: usize,
    len: usize,
    is_writing: bool,
}

const ALIGNMENT: usize = 64;

impl<T: CommData> HeapRegion<T> {
    /// A zeroed region, its write epoch open.
    ///
    /// # Errors
    /// [`CommError::AllocationFailed`].
    pub fn new(len: usize) -> Result<Self, CommError> {
        let padding = ALIGNMENT / size_of::<T>();
        let total = len.checked_add(padding).ok_or_else(|| CommError::AllocationFailed {
            requested_bytes: usize::MAX,
            message: format!("{len} elements exceed the address space"),
        })?;
        let storage: Vec<T> = zeroed(total)?;
        // The element sizes divide the alignment, so the offset is a whole number of elements.
        let first = (ALIGNMENT - storage.as_ptr().addr() % ALIGNMENT) % ALIGNMENT / size_of::<T>();
        Ok(Self { storage, first, len, is_writing: true })
    }
}

impl<T: CommData> SharedRegion<T> for HeapRegion<T> {
    fn as_slice(&self) -> &[T] {
        assert!(!self.is_writing, "a region is read after its fence");
        &self.storage[self.first..self.first + self.len]
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        self.local_part_mut(0..self.len)
    }

    fn local_part_mut(&mut self, part: Range<usize>) -> &mut [T] {
        assert!(self.is_writing, "a region is written before its fence");
        &mut self.storage[self.first..self.first + self.len][part]
    }

    fn fence(&mut self) -> Result<(), CommError> {
        self.is_writing = !self.is_writing;
        Ok(())
    }
}
