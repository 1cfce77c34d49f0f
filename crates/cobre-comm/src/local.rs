//! A job of one process.

use crate::traits::{check_allgatherv, check_allreduce};
use crate::{
    CommData, CommError, Communicator, HeapRegion, LocalCommunicator, ReduceOp, SharedMemoryProvider,
};

/// Rank 0 of one. Collectives copy or do nothing; their arguments are checked all the same.
///
/// ```
/// use cobre_comm::{Communicator, LocalBackend, ReduceOp};
/// let mut sum = [0.0];
/// LocalBackend.allreduce(&[2.5], &mut sum, ReduceOp::Sum)?;
/// assert_eq!(sum, [2.5]);
/// # Ok::<(), cobre_comm::CommError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalBackend;

impl Communicator for LocalBackend {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        check_allgatherv(send.len(), recv.len(), counts, displs, (0, 1))?;
        recv[displs[0]..displs[0] + counts[0]].copy_from_slice(send);
        Ok(())
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        check_allreduce::<T>(send.len(), recv.len(), op)?;
        recv.copy_from_slice(send);
        Ok(())
    }

    fn broadcast<T: CommData>(&self, _: &mut [T], root: usize) -> Result<(), CommError> {
        if root == 0 { Ok(()) } else { Err(CommError::InvalidRoot { root, size: 1 }) }
    }

    fn barrier(&self) -> Result<(), CommError> {
        Ok(())
    }

    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}

impl LocalCommunicator for LocalBackend {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn barrier(&self) -> Result<(), CommError> {
        Ok(())
    }
}

impl SharedMemoryProvider for LocalBackend {
    type Region<T: CommData> = HeapRegion<T>;

    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<HeapRegion<T>, CommError> {
        HeapRegion::new(count)
    }

    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError> {
        Ok(Box::new(Self))
    }

    fn is_leader(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SharedRegion;

    #[test]
    fn collectives_are_identities() {
        let comm = LocalBackend;
        let mut gathered = [9.0; 4];
        comm.allgatherv(&[1.0, 2.0], &mut gathered, &[2], &[1]).unwrap();
        assert_eq!(gathered, [9.0, 1.0, 2.0, 9.0], "gaps are left alone");
        let mut buffer = [1u32, 2];
        comm.broadcast(&mut buffer, 0).unwrap();
        Communicator::barrier(&comm).unwrap();
        assert_eq!((buffer, Communicator::rank(&comm), Communicator::size(&comm)), ([1, 2], 0, 1));
        let mut send = comm.alloc_send::<u8>(3).unwrap();
        send[1] = 7;
        assert_eq!(&*send, [0, 7, 0]);
    }

    #[test]
    fn arguments_are_checked() {
        let comm = LocalBackend;
        let mut recv = [0.0; 2];
        let size =
            |expected, actual| CommError::InvalidBufferSize { operation: "allgatherv", expected, actual };
        assert_eq!(comm.allgatherv(&[1.0], &mut recv, &[2], &[0]), Err(size(2, 1)));
        assert_eq!(comm.allgatherv(&[1.0], &mut recv, &[1, 1], &[0]), Err(size(1, 2)));
        assert_eq!(comm.allgatherv(&[1.0], &mut recv, &[1], &[2]), Err(size(3, 2)));
        assert_eq!(comm.allgatherv(&[1.0], &mut recv, &[1], &[usize::MAX]), Err(size(usize::MAX, 2)));
        assert!(check_allgatherv(1, 4, &[1, 2], &[1, 0], (0, 2)).is_err(), "parts overlap");
        assert!(comm.allreduce::<f64>(&[], &mut [], ReduceOp::Sum).is_err());
        assert!(comm.allreduce(&[1.0], &mut recv, ReduceOp::Sum).is_err());
        assert!(comm.allreduce(&[1.0], &mut [0.0], ReduceOp::BitwiseOr).is_err());
        assert_eq!(comm.broadcast(&mut recv, 1), Err(CommError::InvalidRoot { root: 1, size: 1 }));
    }

    #[test]
    fn regions_alternate_between_writing_and_reading() {
        let mut region = LocalBackend.create_shared_region::<f64>(5).unwrap();
        assert_eq!(region.as_mut_slice().as_ptr().addr() % 64, 0);
        region.as_mut_slice()[0] = 1.0;
        region.local_part_mut(3..5).fill(2.0);
        region.fence().unwrap();
        assert_eq!(region.as_slice(), [1.0, 0.0, 0.0, 2.0, 2.0]);
        region.fence().unwrap();
        assert!(std::panic::catch_unwind(|| region.as_slice().len()).is_err());
        assert!(matches!(
            LocalBackend.create_shared_region::<u64>(usize::MAX / 2),
            Err(CommError::AllocationFailed { .. })
        ));
    }
}
