//! The ranks of one MPI communicator: how a call begins, and how it fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread::ThreadId;

use super::failure::translate;
use super::message::{Call, MESSAGE_WORDS, Message, Operation, RIDING_BYTES, Status, agree};
use super::reduction::Reduction;
use crate::CommError;

/// Sizes that decide how data travels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Elements that one call of MPI takes; its counts and displacements are 32 bits.
    pub(super) most_elements: usize,
    /// Bytes of all ranks together up to which a reduction gathers everything everywhere.
    pub(super) gathered_bytes: usize,
    /// Bytes of a longer reduction that are on their way at a time.
    pub(super) block_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { most_elements: i32::MAX as usize, gathered_bytes: 256 << 10, block_bytes: 32 << 20 }
    }
}

/// Which failures end a communicator's use.
#[derive(Debug, Default)]
pub(super) struct Poison {
    /// A collective of this communicator failed.
    pub(super) own: Arc<AtomicBool>,
    /// The job's communicator failed, and all ranks know it.
    pub(super) of_job: Option<Arc<AtomicBool>>,
    /// The communicator of this machine's processes failed, which the other machines do not know.
    pub(super) of_node: Option<Arc<AtomicBool>>,
    /// A call of MPI failed on this rank, which its peers may not know: they may wait for it.
    pub(super) is_broken: Arc<AtomicBool>,
}

fn is_set(flag: Option<&Arc<AtomicBool>>) -> bool {
    flag.is_some_and(|flag| flag.load(Ordering::Acquire))
}

/// The ranks of one communicator of MPI.
pub(super) struct Ranks {
    pub(super) comm: Arc<ferrompi::Communicator>,
    pub(super) rank: usize,
    pub(super) size: usize,
    pub(super) reduction: Reduction,
    pub(super) limits: Limits,
    poison: Poison,
    thread: ThreadId,
    memory: Mutex<Memory>,
}

/// What calls write to, kept from one to the next.
#[derive(Debug)]
pub(super) struct Memory {
    sequence: u64,
    messages: Vec<u64>,
    pub(super) counts: Vec<i32>,
    pub(super) displacements: Vec<i32>,
    pub(super) scratch: Vec<u64>,
}

impl Memory {
    /// The message of a rank in the call that was begun last.
    pub(super) fn message(&self, rank: usize) -> Message<'_> {
        Message(&self.messages[rank * MESSAGE_WORDS..(rank + 1) * MESSAGE_WORDS])
    }

    /// Whether displacements of any rank are too large for MPI.
    pub(super) fn is_wide(&self) -> bool {
        self.messages.chunks(MESSAGE_WORDS).any(|message| Message(message).is_wide())
    }
}

/// What a rank brings to a call besides the arguments that must agree.
pub(super) struct Contribution<'a> {
    /// Why this rank cannot perform it, if so.
    pub(super) outcome: Result<(), CommError>,
    /// Its displacements are too large for MPI.
    pub(super) is_wide: bool,
    /// Bytes that ride in the message.
    pub(super) data: &'a [u8],
}

impl Ranks {
    /// The ranks of a communicator that was made on the calling thread, which makes all calls.
    pub(super) fn new(comm: Arc<ferrompi::Communicator>, reduction: Reduction, poison: Poison) -> Self {
        let (rank, size) = (comm.rank() as usize, comm.size() as usize);
        let memory = Memory {
            sequence: 0,
            messages: vec![0; size * MESSAGE_WORDS],
            counts: Vec::with_capacity(size),
            displacements: Vec::with_capacity(size),
            scratch: Vec::new(),
        };
        Self {
            comm,
            rank,
            size,
            reduction,
            limits: Limits::default(),
            poison,
            thread: std::thread::current().id(),
            memory: Mutex::new(memory),
        }
    }

    /// Begins a call, which lasts as long as its memory is held.
    ///
    /// # Errors
    /// [`CommError::Poisoned`] after a failure; [`CommError::CollectiveFailed`] on another thread than MPI's, or
    /// during another call. No rank is told of these.
    pub(super) fn enter(&self, operation: Operation) -> Result<MutexGuard<'_, Memory>, CommError> {
        let refused = |message: &str| CommError::CollectiveFailed {
            operation: operation.name(),
            mpi_error_code: 0,
            message: message.to_owned(),
        };
        if std::thread::current().id() != self.thread {
            return Err(refused("MPI is called on another thread than the one that started it"));
        }
        if self.poison.own.load(Ordering::Acquire) || is_set(self.poison.of_job.as_ref()) {
            return Err(CommError::Poisoned);
        }
        match self.memory.try_lock() {
            Ok(memory) => Ok(memory),
            Err(TryLockError::WouldBlock) => Err(refused("another call is under way")),
            Err(TryLockError::Poisoned(_)) => Err(CommError::Poisoned),
        }
    }

    /// Meets all ranks: nobody leaves before all have come with the same call.
    ///
    /// # Errors
    /// The rank's own, or [`CommError::Mismatch`]; then the communicator is poisoned, on all ranks.
    pub(super) fn meet(
        &self,
        memory: &mut Memory,
        call: Call,
        contribution: Contribution<'_>,
    ) -> Result<(), CommError> {
        let mut outcome = contribution.outcome;
        let mut status = if outcome.is_ok() { Status::Ready } else { Status::Refused };
        if is_set(self.poison.of_node.as_ref()) {
            (status, outcome) = (Status::Poisoned, Err(CommError::Poisoned));
        }
        memory.sequence += 1;
        let mut message = [0; MESSAGE_WORDS];
        let header = call.header(memory.sequence, status, contribution.is_wide);
        message[..header.len()].copy_from_slice(&header);
        debug_assert!(contribution.data.len() <= RIDING_BYTES);
        let data = bytemuck::cast_slice_mut::<u64, u8>(&mut message[header.len()..]);
        data[..contribution.data.len()].copy_from_slice(contribution.data);
        let gathered = self.comm.allgather(&message, &mut memory.messages);
        self.check(gathered, call.operation(), 0)?;
        let agreed = outcome.and_then(|()| agree(&memory.messages, call.operation(), self.rank));
        // A rank's own error makes its peers fail, and theirs makes this one.
        if agreed.is_err() {
            self.poison.own.store(true, Ordering::Release);
        }
        agreed
    }

    /// The outcome of a call of MPI in the words of this crate.
    ///
    /// # Errors
    /// As [`translate`]; the communicator is poisoned on this rank.
    pub(super) fn check(
        &self,
        outcome: ferrompi::Result<()>,
        operation: Operation,
        root: usize,
    ) -> Result<(), CommError> {
        outcome.map_err(|error| {
            let error = translate(error, operation, root, self.size);
            // After the end of MPI that is what every call says.
            if error != CommError::InvalidCommunicator {
                self.poison.is_broken.store(true, Ordering::Release);
                self.poison.own.store(true, Ordering::Release);
            }
            error
        })
    }
}
