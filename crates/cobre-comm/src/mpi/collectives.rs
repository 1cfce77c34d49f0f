//! The collective operations among the ranks of one communicator.

use super::message::{Call, Operation, RIDING_BYTES};
use super::ranks::{Contribution, Memory, Ranks};
use super::reduction::{Reduction, reduce_natively};
use crate::traits::{check_allgatherv, check_allreduce};
use crate::{CommData, CommError, Communicator, ReduceOp};

/// Performs `$call` with elements of an integer as large as `$element`: MPI moves bits, and its counts reach the
/// further the larger the elements are.
macro_rules! moved {
    ($element:ty, $integer:ident => $call:expr) => {
        match size_of::<$element>() {
            8 => {
                type $integer = u64;
                $call
            }
            4 => {
                type $integer = u32;
                $call
            }
            _ => {
                type $integer = u8;
                $call
            }
        }
    };
}

impl Communicator for Ranks {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        let mut memory = self.enter(Operation::Allgatherv)?;
        let outcome = check_allgatherv(send.len(), recv.len(), counts, displs, (self.rank, self.size));
        let riding = RIDING_BYTES / size_of::<T>();
        let is_riding = counts.iter().all(|&count| count <= riding);
        let ends = || counts.iter().zip(displs).map(|(&count, &start)| start.saturating_add(count));
        let contribution = Contribution {
            is_wide: outcome.is_ok() && ends().any(|end| end > self.limits.most_elements),
            data: if outcome.is_ok() && is_riding { bytemuck::cast_slice(send) } else { &[] },
            outcome,
        };
        self.meet(&mut memory, Call::allgatherv(T::TAG, counts), contribution)?;
        if is_riding {
            for (rank, (&count, &start)) in counts.iter().zip(displs).enumerate() {
                let data = bytemuck::cast_slice::<u64, T>(memory.message(rank).data());
                recv[start..start + count].copy_from_slice(&data[..count]);
            }
            return Ok(());
        }
        // MPICH 4.0 puts the part of a rank that is alone at the beginning, whatever its displacement.
        if self.size == 1 || memory.is_wide() {
            recv[displs[self.rank]..][..send.len()].copy_from_slice(send);
            for (root, (&count, &start)) in counts.iter().zip(displs).enumerate() {
                self.spread(&mut recv[start..start + count], root, Operation::Allgatherv)?;
            }
            return Ok(());
        }
        let Memory { counts: narrow_counts, displacements, .. } = &mut *memory;
        narrow_counts.clear();
        narrow_counts.extend(counts.iter().map(|&count| count as i32));
        displacements.clear();
        // A part of no elements may be said to begin anywhere.
        displacements.extend(
            counts.iter().zip(displs).map(|(&count, &start)| if count == 0 { 0 } else { start as i32 }),
        );
        self.gather(send, recv, narrow_counts, displacements, Operation::Allgatherv)
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        let mut memory = self.enter(Operation::Allreduce)?;
        let bytes = size_of_val(send);
        let is_riding = bytes <= RIDING_BYTES;
        let is_native = self.reduction == Reduction::Native;
        let is_gathered = bytes.saturating_mul(self.size) <= self.limits.gathered_bytes;
        let mut outcome = check_allreduce::<T>(send.len(), recv.len(), op);
        if outcome.is_ok() && !is_riding && !is_native && self.size > 1 {
            let elements =
                if is_gathered { self.size * send.len() } else { self.size * self.share::<T>(send.len()) };
            outcome = reserve(&mut memory.scratch, elements.saturating_mul(size_of::<T>()));
        }
        let contribution = Contribution {
            data: if outcome.is_ok() && is_riding { bytemuck::cast_slice(send) } else { &[] },
            is_wide: false,
            outcome,
        };
        self.meet(&mut memory, Call::allreduce(T::TAG, send.len(), op, is_native), contribution)?;
        if is_riding {
            for rank in 0..self.size {
                let data = bytemuck::cast_slice::<u64, T>(memory.message(rank).data());
                fold_next(rank, op, recv, &data[..send.len()]);
            }
            return Ok(());
        }
        if self.size == 1 {
            recv.copy_from_slice(send);
            return Ok(());
        }
        if is_native {
            for (part, result) in
                send.chunks(self.limits.most_elements).zip(recv.chunks_mut(self.limits.most_elements))
            {
                let reduced = reduce_natively(&self.comm, part, result, op);
                self.check(reduced, Operation::Allreduce, 0)?;
            }
            return Ok(());
        }
        if is_gathered {
            let all = &mut bytemuck::cast_slice_mut::<u64, T>(&mut memory.scratch)[..self.size * send.len()];
            let gathered = moved!(T, Integer => self
                .comm
                .allgather::<Integer>(bytemuck::cast_slice(send), bytemuck::cast_slice_mut(all)));
            self.check(gathered, Operation::Allreduce, 0)?;
            all.chunks(send.len()).enumerate().for_each(|(rank, values)| fold_next(rank, op, recv, values));
            return Ok(());
        }
        let block = self.block::<T>();
        for (part, result) in send.chunks(block).zip(recv.chunks_mut(block)) {
            self.reduce_block(&mut memory, part, result, op)?;
        }
        Ok(())
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        let mut memory = self.enter(Operation::Broadcast)?;
        let outcome =
            if root < self.size { Ok(()) } else { Err(CommError::InvalidRoot { root, size: self.size }) };
        let is_riding = size_of_val(buffer) <= RIDING_BYTES;
        let contribution = Contribution {
            outcome,
            is_wide: false,
            data: if is_riding && root == self.rank { bytemuck::cast_slice(buffer) } else { &[] },
        };
        self.meet(&mut memory, Call::broadcast(T::TAG, buffer.len(), root), contribution)?;
        if is_riding {
            let data = bytemuck::cast_slice::<u64, T>(memory.message(root).data());
            buffer.copy_from_slice(&data[..buffer.len()]);
            return Ok(());
        }
        self.spread(buffer, root, Operation::Broadcast)
    }

    fn barrier(&self) -> Result<(), CommError> {
        let mut memory = self.enter(Operation::Barrier)?;
        self.meet(&mut memory, Call::barrier(), Contribution { outcome: Ok(()), is_wide: false, data: &[] })
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn abort(&self, code: i32) -> ! {
        self.comm.abort(code)
    }
}

impl Ranks {
    /// Copies the root's buffer to every rank, in pieces that MPI takes.
    fn spread<T: CommData>(
        &self,
        buffer: &mut [T],
        root: usize,
        operation: Operation,
    ) -> Result<(), CommError> {
        if self.size == 1 {
            return Ok(());
        }
        for piece in buffer.chunks_mut(self.limits.most_elements) {
            let sent = moved!(T, Integer => self
                .comm
                .broadcast::<Integer>(bytemuck::cast_slice_mut(piece), root as i32));
            self.check(sent, operation, root)?;
        }
        Ok(())
    }

    fn gather<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[i32],
        displacements: &[i32],
        operation: Operation,
    ) -> Result<(), CommError> {
        let gathered = moved!(T, Integer => self.comm.allgatherv::<Integer>(
            bytemuck::cast_slice(send),
            bytemuck::cast_slice_mut(recv),
            counts,
            displacements,
        ));
        self.check(gathered, operation, 0)
    }

    /// Elements of a block of a long reduction.
    fn block<T>(&self) -> usize {
        (self.limits.block_bytes / size_of::<T>()).clamp(1, self.limits.most_elements)
    }

    /// Elements of a block that one rank reduces, at most.
    fn share<T>(&self, len: usize) -> usize {
        len.min(self.block::<T>()).div_ceil(self.size)
    }

    /// Reduces a block: each rank gets all values of its share, folds them in rank order and gives the result away.
    fn reduce_block<T: CommData>(
        &self,
        memory: &mut Memory,
        send: &[T],
        recv: &mut [T],
        op: ReduceOp,
    ) -> Result<(), CommError> {
        let share = send.len().div_ceil(self.size);
        let start = |rank: usize| (rank * share).min(send.len());
        let own = start(self.rank + 1) - start(self.rank);
        let Memory { counts, displacements, scratch, .. } = memory;
        counts.clear();
        counts.extend((0..self.size).map(|rank| (start(rank + 1) - start(rank)) as i32));
        displacements.clear();
        displacements.extend((0..self.size).map(|rank| start(rank) as i32));
        let own_counts = vec![own as i32; self.size];
        let own_displacements: Vec<i32> = (0..self.size).map(|rank| (rank * own) as i32).collect();
        let all = &mut bytemuck::cast_slice_mut::<u64, T>(scratch)[..self.size * own];
        let exchanged = moved!(T, Integer => self.comm.alltoallv::<Integer>(
            bytemuck::cast_slice(send),
            counts,
            displacements,
            bytemuck::cast_slice_mut(all),
            &own_counts,
            &own_displacements,
        ));
        self.check(exchanged, Operation::Allreduce, 0)?;
        let (result, others) = all.split_at_mut(own);
        others.chunks(own.max(1)).for_each(|values| T::fold(op, result, values));
        self.gather(result, recv, counts, displacements, Operation::Allreduce)
    }
}

/// Folds the values of a rank into those of the ranks before it.
fn fold_next<T: CommData>(rank: usize, op: ReduceOp, into: &mut [T], values: &[T]) {
    if rank == 0 {
        into.copy_from_slice(values);
    } else {
        T::fold(op, into, values);
    }
}

/// Sees to it that the scratch memory has so many bytes.
fn reserve(scratch: &mut Vec<u64>, bytes: usize) -> Result<(), CommError> {
    let words = bytes.div_ceil(size_of::<u64>());
    let missing = words.saturating_sub(scratch.len());
    scratch.try_reserve_exact(missing).map_err(|error| CommError::AllocationFailed {
        requested_bytes: bytes,
        message: error.to_string(),
    })?;
    scratch.resize(words.max(scratch.len()), 0);
    Ok(())
}
