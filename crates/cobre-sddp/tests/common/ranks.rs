//! Ranks that are threads of the test's process: collectives over shared memory of the plainest kind.

use std::any::Any;
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use cobre_comm::{CommData, CommError, Communicator, ReduceOp, check_allgatherv, check_allreduce};

/// One rank of a group of threads.
pub struct ThreadRank {
    rank: usize,
    group: Arc<Group>,
}

struct Group {
    barrier: Barrier,
    slots: Vec<Mutex<Box<dyn Any + Send>>>,
}

/// No group of these tests works for as long as this: one that does has ranks that wait for each other for ever.
const WATCHDOG: Duration = Duration::from_mins(3);

/// Runs `work` on every rank of a group and returns the results in rank order. Ranks that never return end the test.
pub fn on_ranks<T: Send>(size: usize, work: impl Fn(&ThreadRank) -> T + Sync) -> Vec<T> {
    let slots = (0..size).map(|_| Mutex::new(Box::new(()) as Box<dyn Any + Send>)).collect();
    let group = Arc::new(Group { barrier: Barrier::new(size), slots });
    let (done, waiting) = channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout) {
            writeln!(std::io::stderr(), "the ranks wait for each other").expect("standard error is open");
            std::process::abort();
        }
    });
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                let (group, work) = (Arc::clone(&group), &work);
                scope.spawn(move || work(&ThreadRank { rank, group }))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank panicked")).collect()
    });
    drop(done);
    results
}

impl ThreadRank {
    /// Every rank's slice on every rank.
    fn exchange<T: CommData>(&self, send: &[T]) -> Vec<Vec<T>> {
        *self.group.slots[self.rank].lock().unwrap() = Box::new(send.to_vec());
        self.group.barrier.wait();
        let read = |slot: &Mutex<Box<dyn Any + Send>>| {
            slot.lock().unwrap().downcast_ref::<Vec<T>>().expect("all ranks call the same operation").clone()
        };
        let all = self.group.slots.iter().map(read).collect();
        self.group.barrier.wait();
        all
    }
}

impl Communicator for ThreadRank {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        check_allgatherv(send.len(), recv.len(), counts, displs, (self.rank, self.size()))?;
        for (rank, part) in self.exchange(send).into_iter().enumerate() {
            assert_eq!(part.len(), counts[rank], "ranks agree on the counts");
            recv[displs[rank]..displs[rank] + counts[rank]].copy_from_slice(&part);
        }
        Ok(())
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        check_allreduce::<T>(send.len(), recv.len(), op)?;
        let parts = self.exchange(send);
        recv.copy_from_slice(&parts[0]);
        for part in &parts[1..] {
            T::fold(op, recv, part);
        }
        Ok(())
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        let parts = self.exchange(buffer);
        buffer.copy_from_slice(&parts[root]);
        Ok(())
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.group.barrier.wait();
        Ok(())
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.slots.len()
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}
