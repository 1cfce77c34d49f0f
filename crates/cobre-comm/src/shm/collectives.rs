//! The collective operations, step by step.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use super::backend::{Job, State};
use super::call;
use super::header::SLOT_BYTES;
use super::protocol::{Board, await_rank, peers};
use super::watch::Watch;
use crate::{CommData, CommError, ReduceOp};

/// One call of a rank, which holds the rank's state: nobody else may call meanwhile.
pub(super) struct Round<'a> {
    job: &'a Job,
    state: MutexGuard<'a, State>,
    operation: &'static str,
}

impl<'a> Round<'a> {
    pub(super) fn new(job: &'a Job, state: MutexGuard<'a, State>, operation: &'static str) -> Self {
        Self { job, state, operation }
    }

    fn rank(&self) -> usize {
        self.job.config.rank
    }

    fn size(&self) -> usize {
        self.job.config.size
    }

    /// The rank's state, apart from what waits need of it.
    fn parts(&mut self) -> (&mut super::protocol::Progress, Watch<'_>) {
        let State { progress, budget, .. } = &mut *self.state;
        let watch = Watch {
            job: &self.job.attached,
            config: &self.job.config,
            operation: self.operation,
            parity: progress.parity(),
            budget,
            asleep: None,
            yielding_since: None,
        };
        (progress, watch)
    }

    fn begin_call(&mut self, call: u64) {
        let rank = self.rank();
        self.state.progress.begin_call(&self.job.attached.segment, rank, call);
    }

    fn begin_step(&mut self) {
        let rank = self.rank();
        self.state.progress.begin_step(&self.job.attached.segment, rank);
    }

    /// Waits until a rank has begun this step.
    fn await_peer(&mut self, peer: usize) -> Result<(), CommError> {
        let segment = &self.job.attached.segment;
        let (progress, mut watch) = self.parts();
        await_rank(segment, peer, progress.step(), &mut watch)
    }

    /// Waits until a rank has begun this call, and compares what it calls.
    fn meet(&mut self, peer: usize, call: u64) -> Result<(), CommError> {
        self.await_peer(peer)?;
        let segment = &self.job.attached.segment;
        let (progress, mut watch) = self.parts();
        let other = segment.call(peer, progress.parity()).load(Ordering::Relaxed);
        if other == call { Ok(()) } else { Err(watch.mismatch(peer, call, other)) }
    }

    fn meet_all(&mut self, call: u64) -> Result<(), CommError> {
        for peer in peers(self.rank(), self.size()) {
            self.meet(peer, call)?;
        }
        self.state.progress.confirm();
        Ok(())
    }

    fn await_all(&mut self) -> Result<(), CommError> {
        let rank = self.rank();
        let segment = &self.job.attached.segment;
        let (progress, mut watch) = self.parts();
        progress.await_all(segment, rank, &mut watch)
    }

    /// Turns to the next buffer; when this rank writes it, waits until it is free.
    fn turn(&mut self, writes: bool) -> Result<usize, CommError> {
        let rank = self.rank();
        let segment = &self.job.attached.segment;
        let (progress, mut watch) = self.parts();
        let buffer = progress.turn();
        if writes {
            progress.await_free(segment, rank, buffer, &mut watch)?;
        }
        Ok(buffer)
    }

    fn end(mut self) {
        self.state.progress.end_call();
    }

    pub(super) fn barrier(mut self) -> Result<(), CommError> {
        self.begin_call(call::barrier());
        self.meet_all(call::barrier())?;
        self.end();
        Ok(())
    }

    pub(super) fn allreduce<T: CommData>(
        mut self,
        send: &[T],
        recv: &mut [T],
        op: ReduceOp,
    ) -> Result<(), CommError> {
        let call = call::allreduce(T::TAG, send.len(), op);
        if size_of_val(send) <= SLOT_BYTES {
            self.allreduce_small(send, recv, op, call)?;
        } else {
            let per_block = self.job.attached.segment.header().chunk / size_of::<T>();
            let blocks = send.chunks(per_block).zip(recv.chunks_mut(per_block));
            for (index, (send, recv)) in blocks.enumerate() {
                self.allreduce_block(send, recv, op, (index == 0).then_some(call))?;
            }
        }
        self.end();
        Ok(())
    }

    /// Everybody folds everybody's values. The slots of the next call are others, so nobody waits twice.
    fn allreduce_small<T: CommData>(
        &mut self,
        send: &[T],
        recv: &mut [T],
        op: ReduceOp,
        call: u64,
    ) -> Result<(), CommError> {
        let segment = &self.job.attached.segment;
        let parity = self.state.progress.parity();
        segment.write_slot(self.rank(), parity, send);
        self.begin_call(call);
        self.meet_all(call)?;
        recv.copy_from_slice(segment.slot(0, parity, send.len()));
        for rank in 1..self.size() {
            T::fold(op, recv, segment.slot(rank, parity, send.len()));
        }
        Ok(())
    }

    /// Each rank owns a slice: it gets the others' values of it, folds them and gives the result back. Two barriers.
    fn allreduce_block<T: CommData>(
        &mut self,
        send: &[T],
        recv: &mut [T],
        op: ReduceOp,
        call: Option<u64>,
    ) -> Result<(), CommError> {
        let segment = &self.job.attached.segment;
        let (rank, size) = (self.rank(), self.size());
        let bounds =
            |of: usize| slice_bound::<T>(send.len(), of, size)..slice_bound::<T>(send.len(), of + 1, size);
        let own = bounds(rank);
        let buffer = self.turn(true)?;
        segment.write_buffer(rank, buffer, 0, &send[..own.start]);
        segment.write_buffer(rank, buffer, own.end, &send[own.end..]);
        if let Some(call) = call {
            self.begin_call(call);
            self.meet_all(call)?;
        } else {
            self.begin_step();
            self.await_all()?;
        }
        let folded = &mut recv[own.clone()];
        for peer in 0..size {
            let values = if peer == rank {
                &send[own.clone()]
            } else {
                segment.buffer(peer, buffer, own.start, own.len())
            };
            if peer == 0 {
                folded.copy_from_slice(values);
            } else {
                T::fold(op, folded, values);
            }
        }
        segment.write_buffer(rank, buffer, own.start, folded);
        self.begin_step();
        for peer in peers(rank, size) {
            self.await_peer(peer)?;
            let part = bounds(peer);
            recv[part.clone()].copy_from_slice(segment.buffer(peer, buffer, part.start, part.len()));
        }
        self.state.progress.confirm();
        self.state.progress.note_use(buffer);
        Ok(())
    }

    pub(super) fn broadcast<T: CommData>(mut self, values: &mut [T], root: usize) -> Result<(), CommError> {
        let segment = &self.job.attached.segment;
        let rank = self.rank();
        let call = call::broadcast(T::TAG, values.len(), root);
        let piece = self.job.piece::<T>(values.len());
        // An empty broadcast has one step too.
        for index in 0..values.len().div_ceil(piece).max(1) {
            let start = index * piece;
            let part = &mut values[start..];
            let len = part.len().min(piece);
            let part = &mut part[..len];
            let buffer = self.turn(rank == root)?;
            if rank == root {
                segment.write_buffer(rank, buffer, 0, part);
            }
            // The first step shows whether all call the same; after that, ranks wait for the root alone.
            if index == 0 {
                self.begin_call(call);
                self.meet_all(call)?;
            } else {
                self.begin_step();
            }
            if rank == root {
                self.state.progress.note_use(buffer);
            } else {
                self.await_peer(root)?;
                part.copy_from_slice(segment.buffer(root, buffer, 0, len));
            }
        }
        self.end();
        Ok(())
    }

    pub(super) fn allgatherv<T: CommData>(
        mut self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        let segment = &self.job.attached.segment;
        let (rank, size) = (self.rank(), self.size());
        let call = call::allgatherv(T::TAG, counts);
        let piece = segment.header().chunk / size_of::<T>();
        let parity = self.state.progress.parity();
        let place = self.state.sends.place_of(send);
        segment.place(rank, parity).store(place, Ordering::Relaxed);
        let is_copied = place == 0;
        let mut rounds = if is_copied { send.len().div_ceil(piece) } else { 0 };
        let mut is_any_in_place = !is_copied;
        let buffer = self.turn(is_copied)?;
        if is_copied {
            segment.write_buffer(rank, buffer, 0, &send[..send.len().min(piece)]);
        }
        self.begin_call(call);
        if is_copied {
            self.state.progress.note_use(buffer);
        }
        recv[displs[rank]..][..counts[rank]].copy_from_slice(send);
        let mut copied = vec![false; size];
        for peer in peers(rank, size) {
            self.meet(peer, call)?;
            let part = &mut recv[displs[peer]..][..counts[peer]];
            match segment.place(peer, parity).load(Ordering::Relaxed) {
                0 => {
                    let len = part.len().min(piece);
                    part[..len].copy_from_slice(segment.buffer(peer, buffer, 0, len));
                    copied[peer] = true;
                    rounds = rounds.max(part.len().div_ceil(piece));
                }
                place => {
                    self.state.sends.read(peer, place, part)?;
                    is_any_in_place = true;
                }
            }
        }
        self.state.progress.confirm();
        for round in 1..rounds {
            let start = round * piece;
            let rest = if is_copied { send.get(start..).unwrap_or_default() } else { &[] };
            let buffer = self.turn(!rest.is_empty())?;
            segment.write_buffer(rank, buffer, 0, &rest[..rest.len().min(piece)]);
            self.begin_step();
            if !rest.is_empty() {
                self.state.progress.note_use(buffer);
            }
            for peer in peers(rank, size).filter(|&peer| copied[peer] && counts[peer] > start) {
                self.await_peer(peer)?;
                let part = &mut recv[displs[peer] + start..][..(counts[peer] - start).min(piece)];
                part.copy_from_slice(segment.buffer(peer, buffer, 0, part.len()));
            }
        }
        if is_any_in_place {
            // Owners of what was read in place may write there again when all have read.
            self.begin_step();
            self.await_all()?;
        }
        self.end();
        Ok(())
    }
}

/// Where the slice of a rank begins: at a multiple of a cache line, so that no two ranks write the same line.
fn slice_bound<T>(len: usize, rank: usize, size: usize) -> usize {
    let line = 64 / size_of::<T>();
    if rank == size { len } else { (len * rank / size).next_multiple_of(line).min(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_everything_in_order() {
        for len in [1, 7, 8, 9, 100, 65_537] {
            for size in 1..9 {
                let bounds: Vec<usize> = (0..=size).map(|rank| slice_bound::<f64>(len, rank, size)).collect();
                assert_eq!((bounds[0], bounds[size]), (0, len));
                assert!(bounds.is_sorted());
            }
        }
    }
}
