//! The communicator.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::attach::{Attached, attach};
use super::collectives::Round;
use super::config::ShmConfig;
use super::fault::Cause;
use super::protocol::{Board, Patience, Progress, poison};
use super::segment::Standing;
use super::sends::{Sends, lay_out};
use super::watch::{SpinBudget, Watch};
use crate::node_region::{create_node_region, map_together};
use crate::traits::{check_allgatherv, check_allreduce};
use crate::{
    BackendError, CommData, CommError, Communicator, LocalCommunicator, NodeRegion, ReduceOp, SendBuffer,
    SharedMemoryProvider, watch_lifeline_from_env,
};

/// A rank of a job over shared memory. Clones are the same rank.
#[derive(Clone, Debug)]
pub struct ShmBackend(Arc<Job>);

/// What a rank has of the job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) config: ShmConfig,
    pub(super) attached: Attached,
    state: Mutex<State>,
    /// Whether this rank has returned the cause of the job's failure.
    has_failed: AtomicBool,
}

/// What only the thread touches that calls.
#[derive(Debug)]
pub(super) struct State {
    pub(super) progress: Progress,
    pub(super) budget: SpinBudget,
    pub(super) sends: Sends,
}

impl ShmBackend {
    /// Meets the other ranks of the job. Also watches the lifeline, if the environment names one.
    ///
    /// # Errors
    /// [`BackendError::InitializationFailed`] when a rank does not come in time or dies, when the name is that of
    /// another user or of a job that runs, and when the system refuses memory.
    pub fn connect(config: &ShmConfig) -> Result<Self, BackendError> {
        config.check()?;
        watch_lifeline_from_env("shm")?;
        let attached = attach(config)?;
        let state =
            State { progress: Progress::default(), budget: SpinBudget::new(config), sends: Sends::default() };
        Ok(Self(Arc::new(Job {
            config: config.clone(),
            attached,
            state: Mutex::new(state),
            has_failed: AtomicBool::new(false),
        })))
    }

    /// Makes the call of `operation`, whose arguments were found to be as `checked` says.
    fn call(
        &self,
        operation: &'static str,
        checked: Result<(), CommError>,
        run: impl FnOnce(Round<'_>) -> Result<(), CommError>,
    ) -> Result<(), CommError> {
        let job = &*self.0;
        if job.has_failed.load(Ordering::Acquire) {
            return Err(CommError::Poisoned);
        }
        let mut state = job.state(operation)?;
        let outcome = match checked {
            Err(error) => Err(error),
            Ok(()) => match job.attached.segment.poison().load(Ordering::Acquire) {
                0 => run(Round::new(job, state, operation)),
                word => Err(job.watch(operation, &mut state).poisoned(word)),
            },
        };
        // Alone, a rank fails for its own arguments only, and nobody is confused by that.
        if outcome.is_err() && job.config.size > 1 {
            // Of an error that this rank alone sees, the others learn here; an earlier cause stays.
            poison(&job.attached.segment, Cause::Refused { rank: job.config.rank }.encode());
            job.has_failed.store(true, Ordering::Release);
        }
        outcome
    }
}

impl Job {
    /// The state, if no other thread calls.
    fn state(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, CommError> {
        self.state.try_lock().map_err(|error| match error {
            TryLockError::Poisoned(_) => CommError::Poisoned,
            TryLockError::WouldBlock => {
                let message = "another thread of this rank is in a collective".into();
                CommError::CollectiveFailed { operation, mpi_error_code: 0, message }
            }
        })
    }

    fn watch<'a>(&'a self, operation: &'static str, state: &'a mut State) -> Watch<'a> {
        Watch {
            job: &self.attached,
            config: &self.config,
            operation,
            parity: state.progress.parity(),
            budget: &mut state.budget,
            asleep: None,
            yielding_since: None,
        }
    }

    /// Elements of a broadcast that go at once: several pieces, so that the root writes one while the others read
    /// the one before.
    pub(super) fn piece<T>(&self, len: usize) -> usize {
        const SHORTEST: usize = 32 << 10;
        let chunk = self.attached.segment.header().chunk;
        let bytes = (len * size_of::<T>() / 4).clamp(SHORTEST.min(chunk), chunk);
        bytes.next_multiple_of(4_096).min(chunk) / size_of::<T>()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let segment = &self.attached.segment;
        segment.set_standing(self.config.rank, Standing::Left);
        // Whoever still waits for this rank looks at once.
        segment.wake(self.config.rank);
    }
}

impl Communicator for ShmBackend {
    fn allgatherv<T: CommData>(
        &self,
        send: &[T],
        recv: &mut [T],
        counts: &[usize],
        displs: &[usize],
    ) -> Result<(), CommError> {
        let place = (self.0.config.rank, self.0.config.size);
        let checked = check_allgatherv(send.len(), recv.len(), counts, displs, place);
        self.call("allgatherv", checked, |round| round.allgatherv(send, recv, counts, displs))
    }

    fn allreduce<T: CommData>(&self, send: &[T], recv: &mut [T], op: ReduceOp) -> Result<(), CommError> {
        let checked = check_allreduce::<T>(send.len(), recv.len(), op);
        self.call("allreduce", checked, |round| round.allreduce(send, recv, op))
    }

    fn broadcast<T: CommData>(&self, buffer: &mut [T], root: usize) -> Result<(), CommError> {
        let size = self.0.config.size;
        let checked = if root < size { Ok(()) } else { Err(CommError::InvalidRoot { root, size }) };
        self.call("broadcast", checked, |round| round.broadcast(buffer, root))
    }

    fn barrier(&self) -> Result<(), CommError> {
        #[allow(clippy::redundant_closure_for_method_calls, reason = "the method is of one lifetime only")]
        self.call("barrier", Ok(()), |round| round.barrier())
    }

    fn rank(&self) -> usize {
        self.0.config.rank
    }

    fn size(&self) -> usize {
        self.0.config.size
    }

    /// Ends this process; the others learn it in the collective they are in or call next.
    fn abort(&self, code: i32) -> ! {
        let cause = Cause::Aborted { rank: self.0.config.rank, code };
        poison(&self.0.attached.segment, cause.encode());
        std::process::exit(code)
    }

    fn alloc_send<T: CommData>(&self, len: usize) -> Result<SendBuffer<T>, CommError> {
        let (rank, size) = (self.0.config.rank, self.0.config.size);
        if size == 1 {
            return SendBuffer::heap(len);
        }
        let own = len.saturating_mul(size_of::<T>());
        let mut all = vec![0; size];
        let displs: Vec<usize> = (0..size).collect();
        self.allgatherv(&[own as u64], &mut all, &vec![1; size], &displs)?;
        let bytes: Vec<usize> = all.into_iter().map(|bytes| bytes as usize).collect();
        let mapping = match lay_out(&bytes) {
            Some((parts, total)) => match map_together(self, total, total) {
                Ok(mapping) => mapping.map(|mapping| (mapping, parts)),
                // Each rank may still have heap for its own part.
                Err(CommError::AllocationFailed { .. }) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        match mapping {
            None => SendBuffer::heap(len),
            Some((mapping, parts)) => {
                let mut state = self.0.state("alloc_send")?;
                Ok(SendBuffer::mapped(state.sends.add(mapping, parts, rank)))
            }
        }
    }
}

impl LocalCommunicator for ShmBackend {
    fn rank(&self) -> usize {
        self.0.config.rank
    }

    fn size(&self) -> usize {
        self.0.config.size
    }

    fn barrier(&self) -> Result<(), CommError> {
        Communicator::barrier(self)
    }
}

impl SharedMemoryProvider for ShmBackend {
    type Region<T: CommData> = NodeRegion<T>;

    fn create_shared_region<T: CommData>(&self, count: usize) -> Result<NodeRegion<T>, CommError> {
        create_node_region(self, Box::new(self.clone()), count)
    }

    fn split_local(&self) -> Result<Box<dyn LocalCommunicator>, CommError> {
        Ok(Box::new(self.clone()))
    }

    fn is_leader(&self) -> bool {
        self.0.config.rank == 0
    }
}
