//! One collective call, as both ends see it.

use super::failure::Failure;
use super::frame::{NO_ELEMENT, Prefix, Tag};
use crate::ReduceOp;

/// Up to this many bytes, a rank's data travels with the announcement that it has entered the call. More is sent
/// when all ranks have entered: nothing then waits in a socket for a rank that computes, which the kernel could not
/// tell from one that is gone.
pub(super) const EAGER: usize = 64 << 10;

/// Who brings data into a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bringing {
    Nobody,
    Everybody,
    Only(usize),
}

impl Bringing {
    pub(super) fn includes(self, rank: usize) -> bool {
        match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::Only(root) => root == rank,
        }
    }
}

/// What all ranks of a call have to agree on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// From worker to coordinator, and back.
    pub(super) tags: (Tag, Tag),
    pub(super) elem: u8,
    pub(super) op: u8,
    pub(super) root: u16,
    pub(super) bringing: Bringing,
}

impl Call {
    pub(super) fn barrier() -> Self {
        Self {
            tags: (Tag::BarrierReady, Tag::BarrierGo),
            elem: NO_ELEMENT,
            op: 0,
            root: 0,
            bringing: Bringing::Nobody,
        }
    }

    pub(super) fn broadcast(elem: u8, root: usize) -> Self {
        Self {
            tags: (Tag::Broadcast, Tag::Broadcast),
            elem,
            op: 0,
            root: root as u16,
            bringing: Bringing::Only(root),
        }
    }

    pub(super) fn allreduce(elem: u8, op: ReduceOp) -> Self {
        let op = match op {
            ReduceOp::Sum => 1,
            ReduceOp::Min => 2,
            ReduceOp::Max => 3,
            ReduceOp::BitwiseOr => 4,
        };
        Self {
            tags: (Tag::AllreduceSend, Tag::AllreduceRecv),
            elem,
            op,
            root: 0,
            bringing: Bringing::Everybody,
        }
    }

    /// The counts of all ranks travel as a digest of 24 bits, so that ranks that disagree about a third one's part
    /// learn it before data moves.
    pub(super) fn allgatherv(elem: u8, counts: &[usize]) -> Self {
        let digest = digest(counts);
        Self {
            tags: (Tag::AllgathervSend, Tag::AllgathervRecv),
            elem,
            op: (digest >> 16) as u8,
            root: digest as u16,
            bringing: Bringing::Everybody,
        }
    }

    /// What a rank announces when it enters the call with `total` bytes.
    pub(super) fn entry(&self, seq: u32, total: usize) -> Prefix {
        Prefix { seq, elem: self.elem, op: self.op, root: self.root, offset: total as u64 }
    }

    /// Bytes of a lane that a worker gets, 0 for the mere word that the call is over; nothing of what it sent itself
    /// where others' data follows.
    pub(super) fn share(&self, rank: usize, lane: &Lane) -> Option<usize> {
        match self.bringing {
            _ if lane.origin != rank => Some(lane.len),
            Bringing::Everybody => None,
            _ => Some(0),
        }
    }

    /// Checks the announcement of another rank against `expected`, the one it has to make.
    ///
    /// # Errors
    /// [`Failure::Mismatch`], which says what differs.
    pub(super) fn compare(
        &self,
        rank: usize,
        expected: &Prefix,
        tag: Tag,
        prefix: &Prefix,
    ) -> Result<(), Failure> {
        if tag == self.tags.0 && prefix == expected {
            return Ok(());
        }
        let theirs = format!("rank {rank} called {}", describe(tag, prefix));
        let ours = format!("rank 0 called {}", describe(self.tags.0, expected));
        let hint = if tag == Tag::AllgathervSend && tag == self.tags.0 {
            ", or they differ in the counts of other ranks"
        } else if prefix.seq != expected.seq {
            ", or they differ in how many calls they have made"
        } else {
            ""
        };
        Err(Failure::Mismatch { culprit: rank, detail: format!("{theirs}, {ours}{hint}") })
    }
}

fn describe(tag: Tag, prefix: &Prefix) -> String {
    let elem = match prefix.elem {
        0 => "f32",
        1 => "f64",
        2 => "i32",
        3 => "i64",
        4 => "u8",
        5 => "u32",
        6 => "u64",
        _ => "no elements",
    };
    let data = format!("{} bytes of {elem}", prefix.offset);
    match tag {
        Tag::BarrierReady | Tag::BarrierGo => tag.operation().to_owned(),
        Tag::Broadcast => format!("broadcast of {data} from {}", prefix.root),
        Tag::AllreduceSend | Tag::AllreduceRecv => {
            let op = match prefix.op {
                1 => "sum",
                2 => "minimum",
                3 => "maximum",
                4 => "bitwise or",
                _ => "something unknown",
            };
            format!("allreduce of {data} by {op}")
        }
        _ => format!("{} of {data}", tag.operation()),
    }
}

/// Mixes the counts so that a difference in one of them changes half the bits (finaliser of `SplitMix64`).
fn digest(counts: &[usize]) -> u32 {
    let mut state = 0u64;
    for count in counts {
        state = state.wrapping_add(*count as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state as u32 & 0x00ff_ffff
}

/// Data that travels as a whole: bytes of a buffer, and how many of them are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    /// The rank whose data it is.
    pub(super) origin: usize,
    /// Where it begins in the buffer.
    pub(super) start: usize,
    /// Bytes.
    pub(super) len: usize,
    /// Bytes that are there, from the beginning.
    pub(super) ready: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_apart() {
        let lists: [&[usize]; 6] = [&[1, 2], &[2, 1], &[1, 2, 0], &[0, 1, 2], &[3, 0], &[]];
        for (index, list) in lists.iter().enumerate() {
            for other in &lists[index + 1..] {
                assert_ne!(digest(list), digest(other), "{list:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_difference_is_told_in_words() {
        let call = Call::allreduce(1, ReduceOp::Sum);
        let expected = call.entry(4, 16);
        assert_eq!(call.compare(1, &expected, Tag::AllreduceSend, &expected), Ok(()));
        let barrier = Call::barrier().entry(4, 0);
        let Err(Failure::Mismatch { culprit: 2, detail }) =
            call.compare(2, &expected, Tag::BarrierReady, &barrier)
        else {
            panic!("they differ")
        };
        assert_eq!(detail, "rank 2 called barrier, rank 0 called allreduce of 16 bytes of f64 by sum");
    }
}
