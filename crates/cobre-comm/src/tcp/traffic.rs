//! Where the coordinator puts the data of a call, and what it sends from.

use super::call::Lane;
use crate::{CommData, ReduceOp};

/// The data of one call at the coordinator.
pub(super) trait Traffic {
    /// The buffer that the lanes lie in.
    fn bytes(&self) -> &[u8];

    /// What goes to the workers.
    fn lanes(&self) -> &[Lane];

    /// Where the next bytes of a rank go; empty when there is no room for now.
    fn room(&mut self, rank: usize) -> &mut [u8];

    /// The first `count` bytes of the room of a rank have come.
    fn fill(&mut self, rank: usize, count: usize);
}

/// Data that goes where it belongs as it comes: one lane for each rank, or one in all.
pub(super) struct Placing<'a> {
    pub(super) buffer: &'a mut [u8],
    pub(super) lanes: Vec<Lane>,
}

impl Traffic for Placing<'_> {
    fn bytes(&self) -> &[u8] {
        self.buffer
    }

    fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    fn room(&mut self, rank: usize) -> &mut [u8] {
        match self.lanes.iter().find(|lane| lane.origin == rank) {
            Some(lane) => &mut self.buffer[lane.start + lane.ready..lane.start + lane.len],
            None => &mut [],
        }
    }

    fn fill(&mut self, rank: usize, count: usize) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.origin == rank) {
            lane.ready += count;
        }
    }
}

/// Bytes of a block, in which data is reduced.
const BLOCK: usize = 128 << 10;

/// What one worker has sent of the block it is at.
struct Desk<T> {
    block: Vec<T>,
    /// Bytes of the block that are there.
    filled: usize,
    /// Elements that are folded.
    folded: usize,
}

/// Data that is folded in the order of the ranks, block by block, whoever comes first: a rank's block waits until
/// those of all lower ranks are in.
pub(super) struct Reducing<'a, T: CommData> {
    send: &'a [T],
    recv: &'a mut [T],
    op: ReduceOp,
    /// Elements of a block.
    block: usize,
    /// That of rank `index + 1`.
    desks: Vec<Desk<T>>,
    lane: [Lane; 1],
}

impl<'a, T: CommData> Reducing<'a, T> {
    /// A reduction among `size` ranks.
    pub(super) fn new(send: &'a [T], recv: &'a mut [T], op: ReduceOp, size: usize) -> Self {
        let block = (BLOCK / size_of::<T>()).min(send.len());
        let desks =
            (1..size).map(|_| Desk { block: vec![T::zeroed(); block], filled: 0, folded: 0 }).collect();
        let lane = [Lane { origin: 0, start: 0, len: size_of_val(send), ready: 0 }];
        Self { send, recv, op, block, desks, lane }
    }

    /// Elements of the block that begins at `start`.
    fn block_at(&self, start: usize) -> usize {
        self.block.min(self.send.len() - start)
    }

    /// Folds what can be folded now.
    fn fold(&mut self) {
        for index in 0..self.desks.len() {
            let start = self.desks[index].folded;
            let len = self.block_at(start);
            let is_next = index == 0 || self.desks[index - 1].folded > start;
            if len == 0 || !is_next || self.desks[index].filled < len * size_of::<T>() {
                continue;
            }
            let into = &mut self.recv[start..start + len];
            if index == 0 {
                into.copy_from_slice(&self.send[start..start + len]);
            }
            let desk = &mut self.desks[index];
            T::fold(self.op, into, &desk.block[..len]);
            desk.folded += len;
            desk.filled = 0;
        }
        self.lane[0].ready = self.desks.last().map_or(0, |desk| desk.folded) * size_of::<T>();
    }
}

impl<T: CommData> Traffic for Reducing<'_, T> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.recv)
    }

    fn lanes(&self) -> &[Lane] {
        &self.lane
    }

    fn room(&mut self, rank: usize) -> &mut [u8] {
        let len = self.block_at(self.desks[rank - 1].folded);
        let desk = &mut self.desks[rank - 1];
        &mut bytemuck::cast_slice_mut(&mut desk.block[..len])[desk.filled..]
    }

    fn fill(&mut self, rank: usize, count: usize) {
        self.desks[rank - 1].filled += count;
        self.fold();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever order the pieces come in, the fold is that of the ranks' order.
        #[test]
        fn the_order_of_arrival_changes_no_bit(
            size in 2usize..6,
            len in 1usize..40_000,
            turns in proptest::collection::vec((0usize..8, 1usize..200_000), 1..60),
        ) {
            let of = |rank: usize| -> Vec<f64> {
                (0..len).map(|index| 1.0 / (1 + (rank * 7_919 + index * 104_729) % 1_009) as f64).collect()
            };
            let mut expected = of(0);
            for rank in 1..size {
                f64::fold(ReduceOp::Sum, &mut expected, &of(rank));
            }
            let send = of(0);
            let mut recv = vec![0.0; len];
            let mut reducing = Reducing::new(&send, &mut recv, ReduceOp::Sum, size);
            let sources: Vec<Vec<f64>> = (0..size).map(of).collect();
            let mut sent = vec![0usize; size];
            let last_turns = (0..).map(|turn| (turn, usize::MAX));
            for (turn, bytes) in turns.into_iter().chain(last_turns) {
                let rank = 1 + turn % (size - 1);
                let source: &[u8] = bytemuck::cast_slice(&sources[rank]);
                let room = reducing.room(rank);
                let count = bytes.min(room.len());
                room[..count].copy_from_slice(&source[sent[rank]..sent[rank] + count]);
                sent[rank] += count;
                reducing.fill(rank, count);
                if reducing.lanes()[0].ready == len * 8 {
                    break;
                }
            }
            prop_assert!(sent[1..].iter().all(|bytes| *bytes == len * 8));
            prop_assert!(recv.iter().zip(&expected).all(|(left, right)| left.to_bits() == right.to_bits()));
        }
    }
}
