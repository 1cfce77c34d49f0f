//! What a rank is calling, in one word, so that ranks which do not call the same find out.

use crate::ReduceOp;

/// The operations of a communicator. The numbers are part of the segment's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Operation {
    Barrier = 1,
    Allgatherv = 2,
    Allreduce = 3,
    Broadcast = 4,
}

impl Operation {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Barrier, Self::Allgatherv, Self::Allreduce, Self::Broadcast]
            .into_iter()
            .find(|operation| *operation as u64 == number)
    }
}

/// The bits of a call: operation, element type, reduction, root, and length in elements or, for an allgatherv, a
/// digest of the counts. Longer lengths than the field holds are cut.
const TYPE_SHIFT: u32 = 4;
const REDUCTION_SHIFT: u32 = 8;
const ROOT_SHIFT: u32 = 12;
const LENGTH_SHIFT: u32 = 24;

pub(super) fn barrier() -> u64 {
    Operation::Barrier as u64
}

pub(super) fn allreduce(tag: u8, len: usize, op: ReduceOp) -> u64 {
    let reduction = match op {
        ReduceOp::Sum => 0,
        ReduceOp::Min => 1,
        ReduceOp::Max => 2,
        ReduceOp::BitwiseOr => 3,
    };
    Operation::Allreduce as u64
        | u64::from(tag) << TYPE_SHIFT
        | reduction << REDUCTION_SHIFT
        | (len as u64) << LENGTH_SHIFT
}

pub(super) fn broadcast(tag: u8, len: usize, root: usize) -> u64 {
    Operation::Broadcast as u64
        | u64::from(tag) << TYPE_SHIFT
        | (root as u64 & 0xfff) << ROOT_SHIFT
        | (len as u64) << LENGTH_SHIFT
}

pub(super) fn allgatherv(tag: u8, counts: &[usize]) -> u64 {
    // Of two lists that differ in one count, the digests differ: each step is a bijection (Fowler, Noll and Vo's
    // multiplication), and the fold at the end keeps the high bits.
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for &count in counts {
        digest = (digest ^ count as u64).wrapping_mul(0x0100_0000_01b3);
        digest ^= digest >> 29;
    }
    Operation::Allgatherv as u64 | u64::from(tag) << TYPE_SHIFT | (digest ^ digest >> 40) << LENGTH_SHIFT
}

/// A call in words.
pub(super) fn describe(call: u64) -> String {
    const TYPES: [&str; 7] = ["f32", "f64", "i32", "i64", "u8", "u32", "u64"];
    const REDUCTIONS: [&str; 4] = ["sum", "minimum", "maximum", "bitwise or"];
    let element = TYPES.get((call >> TYPE_SHIFT & 0xf) as usize).copied().unwrap_or("unknown type");
    let len = call >> LENGTH_SHIFT;
    match Operation::from_number(call & 0xf) {
        Some(Operation::Barrier) => "barrier".to_owned(),
        Some(Operation::Allreduce) => {
            let reduction = REDUCTIONS.get((call >> REDUCTION_SHIFT & 0xf) as usize).copied();
            format!("allreduce ({}) of {len} {element}", reduction.unwrap_or("unknown reduction"))
        }
        Some(Operation::Broadcast) => {
            format!("broadcast of {len} {element} from rank {}", call >> ROOT_SHIFT & 0xfff)
        }
        Some(Operation::Allgatherv) => format!("allgatherv of {element} with counts {len:010x}"),
        None => "nothing known".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_differ_have_different_words() {
        let calls = [
            barrier(),
            allreduce(1, 2, ReduceOp::Sum),
            allreduce(1, 3, ReduceOp::Sum),
            allreduce(0, 2, ReduceOp::Sum),
            allreduce(1, 2, ReduceOp::Min),
            broadcast(1, 2, 0),
            broadcast(1, 2, 1),
            allgatherv(1, &[1, 2]),
            allgatherv(1, &[2, 1]),
            allgatherv(1, &[1, 3]),
        ];
        for (index, call) in calls.iter().enumerate() {
            assert!(!calls[..index].contains(call), "{}", describe(*call));
        }
        assert_eq!(describe(calls[4]), "allreduce (minimum) of 2 f64");
        assert_eq!(describe(calls[6]), "broadcast of 2 f64 from rank 1");
        assert_eq!(describe(0), "nothing known");
    }
}
