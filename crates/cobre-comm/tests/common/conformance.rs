//! What every backend must do. Each rank calls [`run`] with its communicator; a difference panics.

use cobre_comm::{CommData, CommError, Communicator, ReduceOp, SharedMemoryProvider, SharedRegion};

/// Runs every case on a fresh communicator, which is usable afterwards.
pub fn run<C: Communicator + SharedMemoryProvider>(comm: &C) {
    ranks_are_numbered(comm);
    gathers(comm);
    gathers_from_registered_memory(comm);
    reduces(comm);
    broadcasts(comm);
    barriers_hold_everybody(comm);
    nothing_is_stale(comm);
    regions(comm);
    comm.barrier().unwrap();
}

/// `count` values of rank `rank` that no other rank, position or `salt` has.
fn values(rank: usize, count: usize, salt: usize) -> Vec<f64> {
    (0..count).map(|index| (salt * 1_000_003 + rank * 1_009 + index) as f64 + 0.25).collect()
}

/// Gathers `counts[rank]` values with a gap of `gap` before each part, and checks parts and gaps.
fn gather(comm: &impl Communicator, counts: &[usize], gap: usize, salt: usize) {
    let mut displs = Vec::new();
    let mut total = 0;
    for count in counts {
        displs.push(total + gap);
        total += gap + count;
    }
    let mut expected = vec![-7.0; total + gap];
    for (rank, (&count, &start)) in counts.iter().zip(&displs).enumerate() {
        expected[start..start + count].copy_from_slice(&values(rank, count, salt));
    }
    let mut recv = vec![-7.0; total + gap];
    let rank = comm.rank();
    comm.allgatherv(&values(rank, counts[rank], salt), &mut recv, counts, &displs).unwrap();
    assert!(recv == expected, "allgatherv of {counts:?} with gaps of {gap}");
}

fn ranks_are_numbered(comm: &impl Communicator) {
    let size = comm.size();
    let mut seen = vec![0u64; size];
    let displs: Vec<usize> = (0..size).collect();
    comm.allgatherv(&[comm.rank() as u64], &mut seen, &vec![1; size], &displs).unwrap();
    assert_eq!(seen, (0..size as u64).collect::<Vec<_>>());
}

fn gathers(comm: &impl Communicator) {
    let size = comm.size();
    gather(comm, &(0..size).map(|rank| 3 * rank + 1).collect::<Vec<_>>(), 0, 1);
    gather(comm, &(0..size).map(|rank| (rank + 1) % size * 5).collect::<Vec<_>>(), 2, 2);
    gather(comm, &vec![0; size], 3, 3);
    gather(comm, &vec![1; size], 0, 4);
    gather(comm, &vec![100_000; size], 1, 5);
    let mut lopsided = vec![0; size];
    lopsided[size - 1] = 300_000;
    gather(comm, &lopsided, 0, 6);
    // Parts may lie in another order than the ranks.
    let counts = vec![2usize; size];
    let displs: Vec<usize> = (0..size).rev().map(|place| 2 * place).collect();
    let mut recv = vec![0u8; 2 * size];
    comm.allgatherv(&[comm.rank() as u8, 9], &mut recv, &counts, &displs).unwrap();
    let expected: Vec<u8> = (0..size as u8).rev().flat_map(|rank| [rank, 9]).collect();
    assert_eq!(recv, expected);
}

fn gathers_from_registered_memory(comm: &impl Communicator) {
    let size = comm.size();
    for base in [5usize, 2_000, 60_000] {
        let capacity = base * (comm.rank() + 1);
        let mut send = comm.alloc_send::<f64>(capacity).unwrap();
        assert!(send.len() == capacity && send.iter().all(|value| *value == 0.0));
        for round in 0..3 {
            // Also a part of the buffer, and one that does not begin where the buffer does.
            let start = round;
            let counts: Vec<usize> = (0..size).map(|rank| base * (rank + 1) - round - start).collect();
            let displs: Vec<usize> = (0..size).map(|rank| counts[..rank].iter().sum()).collect();
            let own = values(comm.rank(), counts[comm.rank()], 10 + round);
            send[start..start + own.len()].copy_from_slice(&own);
            let mut recv = vec![0.0; counts.iter().sum()];
            comm.allgatherv(&send[start..start + own.len()], &mut recv, &counts, &displs).unwrap();
            let expected: Vec<f64> =
                (0..size).flat_map(|rank| values(rank, counts[rank], 10 + round)).collect();
            assert!(recv == expected, "allgatherv from a registered buffer of {capacity}, round {round}");
        }
    }
}

/// Reduces the values that `value(rank, index)` gives and compares every bit with the fold in rank order.
fn reduce<T: CommData>(
    comm: &impl Communicator,
    len: usize,
    op: ReduceOp,
    value: impl Fn(usize, usize) -> T,
) {
    let of = |rank: usize| (0..len).map(|index| value(rank, index)).collect::<Vec<T>>();
    let mut expected = of(0);
    for rank in 1..comm.size() {
        T::fold(op, &mut expected, &of(rank));
    }
    let mut recv = vec![T::zeroed(); len];
    comm.allreduce(&of(comm.rank()), &mut recv, op).unwrap();
    let bytes = |values: &[T]| bytemuck::cast_slice::<T, u8>(values).to_vec();
    if comm.size() > 1 {
        assert!(bytes(&recv) == bytes(&expected), "allreduce of {len} values of type {} by {op:?}", T::TAG);
    } else {
        assert!(bytes(&recv) == bytes(&of(0)), "the reduction of one rank is its own values");
    }
}

fn reduces(comm: &impl Communicator) {
    const EDGES: [f64; 10] = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE / 8.0,
        -f64::MIN_POSITIVE / 8.0,
        f64::MAX,
        0.1,
        -1e300,
    ];
    use ReduceOp::{BitwiseOr, Max, Min, Sum};
    let mix = |rank: usize, index: usize| (rank * 2_654_435_761 + index * 40_503) ^ (index << 7);
    for len in [1, 4, 15, 16, 17, 100, 1_000, 65_537] {
        for op in [Sum, Min, Max] {
            reduce(comm, len, op, |rank, index| EDGES[mix(rank, index) % 10]);
            reduce(comm, len, op, |rank, index| EDGES[mix(rank, index) % 10] as f32);
            reduce(comm, len, op, |rank, index| 1.0 / (1 + mix(rank, index) % 997) as f64);
        }
    }
    for len in [1, 32, 33, 5_000] {
        for op in [Sum, Min, Max, BitwiseOr] {
            reduce(comm, len, op, |rank, index| i32::MAX - mix(rank, index) as i32 % 5);
            reduce(comm, len, op, |rank, index| i64::MIN + mix(rank, index) as i64 % 5);
            reduce(comm, len, op, |rank, index| mix(rank, index) as u8);
            reduce(comm, len, op, |rank, index| u32::MAX - mix(rank, index) as u32 % 7);
            reduce(comm, len, op, |rank, index| u64::MAX / 3 * (mix(rank, index) as u64 % 7));
        }
    }
}

fn broadcasts(comm: &impl Communicator) {
    for root in 0..comm.size() {
        for len in [0, 1, 8, 10_000, 300_001] {
            let sent = values(root, len, 20);
            let mut buffer = if comm.rank() == root { sent.clone() } else { vec![0.0; len] };
            comm.broadcast(&mut buffer, root).unwrap();
            assert!(buffer == sent, "broadcast of {len} values from {root}");
        }
        let mut byte = [if comm.rank() == root { 42u8 } else { 0 }];
        comm.broadcast(&mut byte, root).unwrap();
        assert_eq!(byte, [42]);
    }
}

/// Nanoseconds of a clock that all processes of the machine share.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn barriers_hold_everybody(comm: &impl Communicator) {
    let size = comm.size();
    for round in 0..8 {
        if round % size == comm.rank() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let entered = now();
        comm.barrier().unwrap();
        let left = now();
        let displs: Vec<usize> = (0..size).map(|rank| 2 * rank).collect();
        let mut all = vec![0; 2 * size];
        comm.allgatherv(&[entered, left], &mut all, &vec![2; size], &displs).unwrap();
        let last_in = all.iter().step_by(2).max().unwrap();
        let first_out = all.iter().skip(1).step_by(2).min().unwrap();
        assert!(last_in <= first_out, "a rank left a barrier before all had entered");
    }
}

/// Calls of all kinds in a row, of different sizes: nothing of an earlier one may show in a later one.
fn nothing_is_stale(comm: &impl Communicator) {
    let size = comm.size();
    for round in 0..40 {
        gather(comm, &vec![1 + round % 3; size], 0, 30 + round);
        reduce(comm, 1 + round % 20, ReduceOp::Sum, |rank, index| (rank + index + round) as f64);
        if round % 4 == 0 {
            comm.barrier().unwrap();
        }
        let mut buffer = [if comm.rank() == round % size { round as i64 } else { -1 }];
        comm.broadcast(&mut buffer, round % size).unwrap();
        assert_eq!(buffer, [round as i64]);
    }
}

fn regions<C: Communicator + SharedMemoryProvider>(comm: &C) {
    let local = comm.split_local().unwrap();
    assert!(local.rank() < local.size() && local.size() <= comm.size());
    local.barrier().unwrap();
    let len = 1_000 * local.size();
    let mut region = comm.create_shared_region::<f64>(len).unwrap();
    let own = region.as_mut_slice();
    let is_shared = own.is_empty();
    assert!(comm.is_leader() || is_shared || own.len() == len);
    if comm.is_leader() {
        assert_eq!(own.as_ptr().addr() % 64, 0);
        assert!(own.len() == len && own.iter().all(|value| *value == 0.0));
        own.iter_mut().enumerate().for_each(|(index, value)| *value = index as f64);
    } else if !is_shared {
        own.iter_mut().enumerate().for_each(|(index, value)| *value = index as f64);
    }
    region.fence().unwrap();
    assert_eq!(region.as_slice().as_ptr().addr() % 64, 0);
    assert!(region.as_slice().iter().enumerate().all(|(index, value)| *value == index as f64));
    // A second epoch, in which every process fills its part.
    region.fence().unwrap();
    let reads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| region.as_slice().len()));
    assert!(reads.is_err(), "an open epoch is not read");
    let part = local.rank() * 1_000..(local.rank() + 1) * 1_000;
    region.local_part_mut(part.clone()).fill(1.5 + local.rank() as f64);
    region.fence().unwrap();
    let seen = region.as_slice();
    assert!(seen[part].iter().all(|value| *value == 1.5 + local.rank() as f64));
    let shares_memory =
        local.size() > 1 && (0..local.size()).all(|rank| seen[rank * 1_000] == 1.5 + rank as f64);
    let all_share = [u8::from(shares_memory)];
    let mut agreed = [0];
    comm.allreduce(&all_share, &mut agreed, ReduceOp::Min).unwrap();
    let mut any = [0];
    comm.allreduce(&all_share, &mut any, ReduceOp::Max).unwrap();
    if local.size() == comm.size() {
        assert_eq!(agreed, any, "either all processes share the memory or none");
    }
    drop(region);
    let refused = comm.create_shared_region::<f64>(usize::MAX / 2);
    assert!(matches!(refused.err(), Some(CommError::AllocationFailed { .. })));
    let mut empty = comm.create_shared_region::<u8>(0).unwrap();
    empty.fence().unwrap();
    assert!(empty.as_slice().is_empty());
}
