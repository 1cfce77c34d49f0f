//! A region that the processes of one machine map together.
#![allow(
    unsafe_code,
    reason = "the memory is shared with other processes; epochs keep readers and writers apart"
)]

use std::io::Error;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

use crate::mapping::{Mapping, anonymous_file, file_identity, open_of_process};
use crate::{CommData, CommError, Communicator, HeapRegion, LocalCommunicator, ReduceOp, SharedRegion};

/// One copy of a region in memory that all processes of the machine map, or a copy of each process where they cannot
/// reach each other's files (separate process namespaces, no `/proc`).
///
/// On followers of a shared copy [`as_mut_slice`](SharedRegion::as_mut_slice) is empty. Whoever gets elements from it
/// fills them: then both kinds hold the same after the fence.
pub struct NodeRegion<T: CommData>(Kind<T>);

enum Kind<T: CommData> {
    Shared(MappedRegion<T>),
    Copied(HeapRegion<T>),
}

struct MappedRegion<T> {
    mapping: Mapping,
    node: Box<dyn LocalCommunicator>,
    len: usize,
    is_writing: bool,
    element: PhantomData<T>,
}

impl<T: CommData> NodeRegion<T> {
    /// Whether the processes share one copy.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Kind::Shared(_))
    }
}

impl<T: CommData> std::fmt::Debug for NodeRegion<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_shared() { "shared" } else { "copied" };
        formatter.debug_struct("NodeRegion").field("kind", &kind).finish_non_exhaustive()
    }
}

impl<T: CommData> MappedRegion<T> {
    fn part_mut(&mut self, part: Range<usize>) -> &mut [T] {
        assert!(self.is_writing, "a region is written before its fence");
        assert!(part.start <= part.end && part.end <= self.len, "a part outside of the region");
        // SAFETY: in a write epoch nobody reads, as `as_slice` refuses; writers have parts that do not overlap: the
        // leader alone uses `as_mut_slice`, and callers of `local_part_mut` answer for their parts.
        unsafe { self.mapping.slice_mut(part.start * size_of::<T>(), part.len()) }
    }
}

impl<T: CommData> SharedRegion<T> for NodeRegion<T> {
    fn as_slice(&self) -> &[T] {
        match &self.0 {
            Kind::Shared(region) => {
                assert!(!region.is_writing, "a region is read after its fence");
                // SAFETY: in a read epoch nobody writes: the fence that opened it was collective, and so is the one
                // that ends it, for which this process must give up its slice.
                unsafe { region.mapping.slice(0, region.len) }
            }
            Kind::Copied(region) => region.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        match &mut self.0 {
            Kind::Shared(region) => {
                let len = if region.node.rank() == 0 { region.len } else { 0 };
                region.part_mut(0..len)
            }
            Kind::Copied(region) => region.as_mut_slice(),
        }
    }

    fn local_part_mut(&mut self, part: Range<usize>) -> &mut [T] {
        match &mut self.0 {
            Kind::Shared(region) => region.part_mut(part),
            Kind::Copied(region) => region.local_part_mut(part),
        }
    }

    fn fence(&mut self) -> Result<(), CommError> {
        match &mut self.0 {
            Kind::Shared(region) => {
                fence(Ordering::SeqCst);
                region.node.barrier()?;
                fence(Ordering::SeqCst);
                region.is_writing = !region.is_writing;
                Ok(())
            }
            Kind::Copied(region) => region.fence(),
        }
    }
}

/// What the leader tells about the file it made: an error code of the system, or where the file is.
#[derive(Clone, Copy)]
struct Offer {
    error: u64,
    pid: u64,
    descriptor: u64,
    identity: [u64; 2],
    count: u64,
}

impl Offer {
    fn words(self) -> [u64; 6] {
        [self.error, self.pid, self.descriptor, self.identity[0], self.identity[1], self.count]
    }

    fn from_words([error, pid, descriptor, device, inode, count]: [u64; 6]) -> Self {
        Self { error, pid, descriptor, identity: [device, inode], count }
    }

    /// The offer of a file, or of the reason why there is none.
    fn of(file: Result<&OwnedFd, &Error>, count: usize) -> Self {
        let refused = |error: &Error| {
            let code = error.raw_os_error().unwrap_or(rustix::io::Errno::NOMEM.raw_os_error());
            Self { error: code as u64, pid: 0, descriptor: 0, identity: [0; 2], count: count as u64 }
        };
        match file.map(|file| (file, file_identity(file))) {
            Ok((file, Ok(identity))) => Self {
                error: 0,
                pid: u64::from(std::process::id()),
                descriptor: file.as_raw_fd() as u64,
                identity,
                count: count as u64,
            },
            Ok((_, Err(error))) => refused(&error),
            Err(error) => refused(error),
        }
    }
}

/// How far a rank came with the leader's file; the ranks agree on the lowest.
const OTHER_COUNT: u8 = 0;
const UNREACHABLE: u8 = 1;
const MAPPED: u8 = 2;

/// Creates a zeroed region of `count` elements among the ranks of `node`, all of one machine, its write epoch open;
/// `local` is the barrier of its fences, among the same ranks. Collective.
///
/// # Errors
/// [`CommError::AllocationFailed`] on every rank when the leader does not get the memory,
/// [`CommError::Mismatch`] when the ranks ask for different counts, and those of the collectives.
pub(crate) fn create_node_region<T: CommData, C: Communicator>(
    node: &C,
    local: Box<dyn LocalCommunicator>,
    count: usize,
) -> Result<NodeRegion<T>, CommError> {
    if node.size() == 1 {
        return HeapRegion::new(count).map(|region| NodeRegion(Kind::Copied(region)));
    }
    let bytes = count.saturating_mul(size_of::<T>());
    match map_together(node, bytes, count)? {
        Some(mapping) => Ok(NodeRegion(Kind::Shared(MappedRegion {
            mapping,
            node: local,
            len: count,
            is_writing: true,
            element: PhantomData,
        }))),
        None => copy_for_each(node, count),
    }
}

/// A zeroed mapping of `bytes` bytes that all ranks share, or none where a rank cannot reach the leader's file. The
/// ranks must agree on `count`. Collective.
///
/// # Errors
/// As [`create_node_region`].
pub(crate) fn map_together<C: Communicator>(
    node: &C,
    bytes: usize,
    count: usize,
) -> Result<Option<Mapping>, CommError> {
    // An empty file cannot be mapped.
    let mapped_bytes = bytes.max(1);
    let own_file = (node.rank() == 0).then(|| anonymous_file(mapped_bytes));
    let mut words = [0; 6];
    if let Some(file) = &own_file {
        words = Offer::of(file.as_ref(), count).words();
    }
    node.broadcast(&mut words, 0)?;
    let offer = Offer::from_words(words);
    if offer.error != 0 {
        let message = Error::from_raw_os_error(offer.error as i32).to_string();
        return Err(CommError::AllocationFailed { requested_bytes: bytes, message });
    }
    let mapping = match &own_file {
        Some(Ok(file)) => Mapping::of(file, mapped_bytes),
        _ => open_of_process(offer.pid, offer.descriptor, offer.identity)
            .and_then(|file| Mapping::of(file, mapped_bytes)),
    };
    let reached = match &mapping {
        _ if offer.count != count as u64 => OTHER_COUNT,
        Ok(_) => MAPPED,
        Err(_) => UNREACHABLE,
    };
    // The leader keeps its file open until here: the reduction is the barrier.
    match (least(node, reached)?, mapping) {
        (MAPPED, Ok(mapping)) => Ok(Some(mapping)),
        (OTHER_COUNT, _) => Err(CommError::Mismatch {
            operation: "create_shared_region",
            rank: None,
            detail: format!("regions of different sizes, on rank {} of {count} elements", node.rank()),
        }),
        _ => Ok(None),
    }
}

fn copy_for_each<T: CommData, C: Communicator>(node: &C, count: usize) -> Result<NodeRegion<T>, CommError> {
    let region = HeapRegion::new(count);
    let all_have_memory = least(node, u8::from(region.is_ok()))? == 1;
    match region {
        Ok(region) if all_have_memory => Ok(NodeRegion(Kind::Copied(region))),
        Ok(_) => Err(CommError::AllocationFailed {
            requested_bytes: count.saturating_mul(size_of::<T>()),
            message: "another rank does not have the memory".into(),
        }),
        Err(error) => Err(error),
    }
}

fn least<C: Communicator>(node: &C, own: u8) -> Result<u8, CommError> {
    let mut all = [0];
    node.allreduce(&[own], &mut all, ReduceOp::Min)?;
    Ok(all[0])
}
