//! What the ranks tell each other at the beginning of a call.

use crate::error::other_rank;
use crate::{CommError, ReduceOp};

/// Words of a message: all calls gather messages of one length, so that those which differ meet all the same.
pub(super) const MESSAGE_WORDS: usize = 16;
const HEADER_WORDS: usize = 4;
/// Bytes of data that ride in a message.
pub(super) const RIDING_BYTES: usize = (MESSAGE_WORDS - HEADER_WORDS) * 8;

/// The operations of a communicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Barrier = 1,
    Allgatherv = 2,
    Allreduce = 3,
    Broadcast = 4,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Allgatherv => "allgatherv",
            Self::Allreduce => "allreduce",
            Self::Broadcast => "broadcast",
        }
    }
}

/// How a rank comes to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ready = 0,
    /// Its arguments are wrong, or it does not have the memory.
    Refused = 1,
    /// A collective among the processes of its machine failed before.
    Poisoned = 2,
}

/// The arguments of a call that must be the same on all ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    operation: Operation,
    element: u8,
    /// The operation of a reduction, and whether MPI performs it.
    reduction: u8,
    root: u32,
    /// Length in elements, of an allgatherv that of all parts together.
    len: u64,
    /// Of an allgatherv: a digest of the counts.
    digest: u64,
}

const NATIVE: u8 = 0x10;

impl Call {
    pub(super) fn barrier() -> Self {
        Self { operation: Operation::Barrier, element: 0, reduction: 0, root: 0, len: 0, digest: 0 }
    }

    pub(super) fn broadcast(element: u8, len: usize, root: usize) -> Self {
        let root = u32::try_from(root).unwrap_or(u32::MAX);
        Self { operation: Operation::Broadcast, element, root, len: len as u64, ..Self::barrier() }
    }

    pub(super) fn allreduce(element: u8, len: usize, op: ReduceOp, is_native: bool) -> Self {
        let number = match op {
            ReduceOp::Sum => 0,
            ReduceOp::Min => 1,
            ReduceOp::Max => 2,
            ReduceOp::BitwiseOr => 3,
        };
        let reduction = number | if is_native { NATIVE } else { 0 };
        Self { operation: Operation::Allreduce, element, reduction, len: len as u64, ..Self::barrier() }
    }

    pub(super) fn allgatherv(element: u8, counts: &[usize]) -> Self {
        let len = counts.iter().fold(0u64, |sum, &count| sum.wrapping_add(count as u64));
        // Every step is a bijection of the digest, so lists that differ in one count never agree.
        let digest = counts.iter().fold(counts.len() as u64, |digest, &count| {
            let mixed = (digest.rotate_left(23) ^ count as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ mixed >> 31
        });
        Self { operation: Operation::Allgatherv, element, len, digest, ..Self::barrier() }
    }

    pub(super) fn operation(self) -> Operation {
        self.operation
    }

    /// The call as the first words of a message. `is_wide` says that the rank's displacements are too large for MPI.
    pub(super) fn header(self, sequence: u64, status: Status, is_wide: bool) -> [u64; HEADER_WORDS] {
        let bytes = [self.operation as u8, self.element, self.reduction, 0];
        let first = u64::from(u32::from_le_bytes(bytes)) | u64::from(self.root) << 32;
        // Sequence numbers are compared, so a cut one serves.
        let state = sequence << 16 | (status as u64) << 8 | u64::from(is_wide);
        [first, state, self.len, self.digest]
    }
}

/// One rank's message.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(pub(super) &'a [u64]);

impl<'a> Message<'a> {
    pub(super) fn is_wide(self) -> bool {
        self.0[1] & 0xff != 0
    }

    /// The bytes that ride.
    pub(super) fn data(self) -> &'a [u64] {
        &self.0[HEADER_WORDS..]
    }

    fn status(self) -> u8 {
        (self.0[1] >> 8) as u8
    }

    fn is_same_call(self, other: Message<'_>) -> bool {
        let state = |message: Message<'_>| message.0[1] >> 16;
        self.0[0] == other.0[0] && state(self) == state(other) && self.0[2..4] == other.0[2..4]
    }

    /// The call in words.
    fn describe(self) -> String {
        const TYPES: [&str; 7] = ["f32", "f64", "i32", "i64", "u8", "u32", "u64"];
        const REDUCTIONS: [&str; 4] = ["sum", "minimum", "maximum", "bitwise or"];
        let [operation, element, reduction, ..] = self.0[0].to_le_bytes();
        let (root, len) = (self.0[0] >> 32, self.0[2]);
        let element = TYPES.get(element as usize).copied().unwrap_or("unknown type");
        match operation {
            1 => "barrier".to_owned(),
            2 => format!("allgatherv of {len} {element} in all, counts {:016x}", self.0[3]),
            3 => {
                let name = REDUCTIONS.get((reduction & 0xf) as usize).copied();
                let how = if reduction & NATIVE == 0 { "" } else { " by MPI" };
                format!("allreduce ({}{how}) of {len} {element}", name.unwrap_or("unknown reduction"))
            }
            4 => format!("broadcast of {len} {element} from rank {root}"),
            _ => "nothing known".to_owned(),
        }
    }
}

/// Whether the ranks, of which these are the messages, are about to do the same; every rank comes to the same answer,
/// in which it names another than itself, `own`.
///
/// # Errors
/// [`CommError::Mismatch`].
pub(super) fn agree(messages: &[u64], operation: Operation, own: usize) -> Result<(), CommError> {
    let of = |rank: usize| Message(&messages[rank * MESSAGE_WORDS..(rank + 1) * MESSAGE_WORDS]);
    let size = messages.len() / MESSAGE_WORDS;
    let first = of(0);
    let is_ready = |rank: &usize| of(*rank).status() == Status::Ready as u8;
    let (rank, detail) = if let Some(rank) = (0..size).find(|rank| !is_ready(rank)) {
        let detail = if of(rank).status() == Status::Refused as u8 {
            format!("rank {rank} cannot perform its {}", of(rank).describe())
        } else {
            format!("rank {rank} failed in a collective of its machine's processes before")
        };
        (rank, detail)
    } else if let Some(rank) = (1..size).find(|&rank| !of(rank).is_same_call(first)) {
        (rank, format!("rank 0 called {}, rank {rank} called {}", first.describe(), of(rank).describe()))
    } else {
        return Ok(());
    };
    Err(CommError::Mismatch { operation: operation.name(), rank: other_rank(rank, own), detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(call: Call, sequence: u64, status: Status) -> Vec<u64> {
        let mut words = call.header(sequence, status, false).to_vec();
        words.resize(MESSAGE_WORDS, 7);
        words
    }

    #[test]
    fn calls_that_differ_do_not_agree() {
        let calls = [
            Call::barrier(),
            Call::allreduce(1, 2, ReduceOp::Sum, false),
            Call::allreduce(1, 2, ReduceOp::Sum, true),
            Call::allreduce(1, 3, ReduceOp::Sum, false),
            Call::allreduce(0, 2, ReduceOp::Sum, false),
            Call::allreduce(1, 2, ReduceOp::Min, false),
            Call::broadcast(1, 2, 0),
            Call::broadcast(1, 2, 1),
            Call::allgatherv(1, &[1, 2]),
            Call::allgatherv(1, &[2, 1]),
            Call::allgatherv(1, &[3, 0]),
            Call::allgatherv(1, &[1, 3]),
        ];
        for (index, first) in calls.iter().enumerate() {
            for (other, second) in calls.iter().enumerate() {
                let both = [message(*first, 5, Status::Ready), message(*second, 5, Status::Ready)].concat();
                assert_eq!(
                    agree(&both, first.operation(), 1).is_ok(),
                    index == other,
                    "{first:?} {second:?}"
                );
            }
        }
    }

    #[test]
    fn the_answer_names_the_rank() {
        let call = Call::allreduce(1, 2, ReduceOp::Min, false);
        let ready = message(call, 5, Status::Ready);
        let text = |other: Vec<u64>| {
            let messages = [ready.clone(), ready.clone(), other].concat();
            let seen_by = |own| agree(&messages, Operation::Allreduce, own).unwrap_err();
            assert_eq!([0, 1, 2].map(|own| seen_by(own).named_rank()), [Some(2), Some(2), Some(0)]);
            seen_by(0).to_string()
        };
        let broadcast = text(message(Call::broadcast(4, 9, 1), 5, Status::Ready));
        assert!(
            broadcast.contains("rank 0 called allreduce (minimum) of 2 f64, rank 2 called broadcast of 9 u8")
        );
        assert!(text(message(call, 5, Status::Refused)).contains("rank 2 cannot perform its allreduce"));
        assert!(text(message(call, 5, Status::Poisoned)).contains("rank 2 failed in a collective"));
        assert!(text(message(call, 6, Status::Ready)).contains("rank 2 called"));
    }
}
