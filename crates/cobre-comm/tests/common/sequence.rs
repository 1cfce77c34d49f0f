//! Random collectives with random delays against an oracle: every rank knows what all ranks send.

use std::time::Duration;

use cobre_comm::{CommData, Communicator, ReduceOp};

/// A generator of which every rank has the same (Steele, Lea and Flood, 2014: `SplitMix64`).
#[derive(Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> usize {
        (self.next() % limit) as usize
    }

    /// Mostly short, sometimes none, seldom long.
    fn length(&mut self) -> usize {
        match self.below(20) {
            0 => 0,
            1 => 1,
            2..=15 => self.below(60),
            16..=18 => self.below(3_000),
            _ => self.below(70_000),
        }
    }
}

/// Performs `steps` operations that `seed` determines. `longest_delay` is that of a rank before an operation.
pub fn run(comm: &impl Communicator, seed: u64, steps: usize, longest_delay: Duration) {
    let mut shared = Numbers(seed);
    let mut own = Numbers(seed ^ (comm.rank() as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
    for step in 0..steps {
        if own.below(4) == 0 {
            std::thread::sleep(longest_delay.mul_f64(own.below(1_000) as f64 / 1_000.0));
        }
        let label = format!("step {step} of seed {seed} on rank {} of {}", comm.rank(), comm.size());
        match shared.below(7) {
            0 => operation::<f64>(comm, &mut shared, &label),
            1 => operation::<f32>(comm, &mut shared, &label),
            2 => operation::<i32>(comm, &mut shared, &label),
            3 => operation::<i64>(comm, &mut shared, &label),
            4 => operation::<u8>(comm, &mut shared, &label),
            5 => operation::<u32>(comm, &mut shared, &label),
            _ => operation::<u64>(comm, &mut shared, &label),
        }
    }
}

/// Any bits of the type, NaN of all kinds among them.
fn data<T: CommData>(numbers: &mut Numbers, len: usize) -> Vec<T> {
    let mut values = vec![T::zeroed(); len];
    for byte in bytemuck::cast_slice_mut::<T, u8>(&mut values).chunks_mut(8) {
        let bits = match numbers.below(8) {
            0 => 0,
            1 => 1 << 63,
            2 => f64::NAN.to_bits(),
            3 => 1,
            _ => numbers.next(),
        };
        byte.copy_from_slice(&bits.to_le_bytes()[..byte.len()]);
    }
    values
}

fn bytes<T: CommData>(values: &[T]) -> &[u8] {
    bytemuck::cast_slice(values)
}

fn operation<T: CommData>(comm: &impl Communicator, numbers: &mut Numbers, label: &str) {
    let (rank, size) = (comm.rank(), comm.size());
    match numbers.below(8) {
        0 => comm.barrier().unwrap_or_else(|error| panic!("{label}: {error}")),
        1 | 2 => {
            let root = numbers.below(size as u64);
            let len = numbers.length();
            let sent = data::<T>(numbers, len);
            let mut buffer = if rank == root { sent.clone() } else { vec![T::zeroed(); len] };
            comm.broadcast(&mut buffer, root).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert!(bytes(&buffer) == bytes(&sent), "{label}: broadcast of {len} from {root}");
        }
        3 | 4 => {
            let len = numbers.length().max(1);
            let ops = [ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max, ReduceOp::BitwiseOr];
            let op = ops[numbers.below(4)];
            let op = if T::check(op).is_ok() { op } else { ReduceOp::Sum };
            let all: Vec<Vec<T>> = (0..size).map(|_| data(numbers, len)).collect();
            let mut expected = all[0].clone();
            all[1..].iter().for_each(|values| T::fold(op, &mut expected, values));
            let mut recv = vec![T::zeroed(); len];
            comm.allreduce(&all[rank], &mut recv, op).unwrap_or_else(|error| panic!("{label}: {error}"));
            assert!(bytes(&recv) == bytes(&expected), "{label}: allreduce of {len} by {op:?}");
        }
        kind => {
            let all: Vec<Vec<T>> = (0..size)
                .map(|_| {
                    let len = numbers.length();
                    data(numbers, len)
                })
                .collect();
            let counts: Vec<usize> = all.iter().map(Vec::len).collect();
            let mut displs = Vec::new();
            let mut total = 0;
            for count in &counts {
                total += numbers.below(3);
                displs.push(total);
                total += count;
            }
            let mut expected = vec![T::zeroed(); total];
            for (values, &start) in all.iter().zip(&displs) {
                expected[start..start + values.len()].copy_from_slice(values);
            }
            let mut recv = vec![T::zeroed(); total];
            let outcome = if kind == 7 {
                let mut send = comm.alloc_send::<T>(counts[rank]).unwrap();
                send.copy_from_slice(&all[rank]);
                comm.allgatherv(&send, &mut recv, &counts, &displs)
            } else {
                comm.allgatherv(&all[rank], &mut recv, &counts, &displs)
            };
            outcome.unwrap_or_else(|error| panic!("{label}: {error}"));
            assert!(bytes(&recv) == bytes(&expected), "{label}: allgatherv of {counts:?}");
        }
    }
}
