//! The lifetime of MPI in this process.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferrompi::{Mpi, ThreadLevel};

use super::backend::MpiBackend;
use super::launcher::strangers;
use super::ranks::{Poison, Ranks};
use super::reduction::Reduction;
use crate::BackendError;

/// MPI, from its start to its end: a process has it once. It stays on the thread that started it, where all
/// collectives are called, and is dropped last.
///
/// Dropping it finalises MPI, for which MPI waits until all ranks do. A rank that panics would wait for ever, and its
/// peers for it: when the session is dropped by a panic, it ends the whole job, with exit code 101. So it does after a
/// call of MPI itself failed on this rank, with exit code 4.
///
/// ```no_run
/// use cobre_comm::{Communicator, MpiSession};
/// let session = MpiSession::start()?;
/// let comm = session.backend()?;
/// comm.barrier()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MpiSession {
    // Dropped before the communicators, which then make no call: one that a backend on another thread is the last to
    // hold must not be freed there.
    mpi: Mpi,
    communicators: RefCell<Vec<Arc<ferrompi::Communicator>>>,
    reduction: Reduction,
    is_broken: Arc<AtomicBool>,
}

const PANIC_CODE: i32 = 101;
const BROKEN_CODE: i32 = 4;

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BackendError {
    BackendError::InitializationFailed { backend: "mpi", source: source.into() }
}

impl MpiSession {
    /// Initialises MPI.
    ///
    /// # Errors
    /// [`BackendError::InitializationFailed`] when MPI cannot be initialised (again), gives less than
    /// `MPI_THREAD_FUNNELED`, or finds itself alone although a launcher started several ranks, and for a value of
    /// `COBRE_MPI_REDUCE` that means nothing. Most libraries end the process rather than return from a failed start.
    pub fn start() -> Result<Self, BackendError> {
        let reduction = Reduction::from_env()?;
        let mpi = Mpi::init_thread(ThreadLevel::Funneled).map_err(failed)?;
        if mpi.thread_level() < ThreadLevel::Funneled {
            return Err(failed(format!(
                "the MPI library allows no other threads beside MPI's (level {:?}, {:?} is needed)",
                mpi.thread_level(),
                ThreadLevel::Funneled
            )));
        }
        let world_size = mpi.world().size() as usize;
        if let Some(text) = strangers(world_size, &mpi_library_version(), |name| std::env::var(name).ok()) {
            return Err(failed(text));
        }
        Ok(Self { mpi, communicators: RefCell::default(), reduction, is_broken: Arc::default() })
    }

    /// The communicator of all ranks of the job, apart from `MPI_COMM_WORLD`. Collective.
    ///
    /// # Errors
    /// [`BackendError::InitializationFailed`] when MPI fails.
    pub fn backend(&self) -> Result<MpiBackend, BackendError> {
        let job = self.keep(self.mpi.world().duplicate())?;
        let node = self.keep(job.split_shared())?;
        let (job_poison, node_poison) = (Arc::default(), Arc::default());
        let of_job = Poison {
            own: Arc::clone(&job_poison),
            of_node: Some(Arc::clone(&node_poison)),
            is_broken: Arc::clone(&self.is_broken),
            ..Poison::default()
        };
        let of_node = Poison {
            own: node_poison,
            of_job: Some(job_poison),
            is_broken: Arc::clone(&self.is_broken),
            ..Poison::default()
        };
        let job = Ranks::new(job, self.reduction, of_job);
        Ok(MpiBackend::new(job, Ranks::new(node, self.reduction, of_node)))
    }

    /// What the MPI library calls itself; see [`mpi_library_version`].
    #[allow(clippy::unused_self, reason = "a session is the proof that the library works")]
    pub fn library_version(&self) -> String {
        mpi_library_version()
    }

    /// Communicators live as long as the session: freeing them is a call of MPI, whoever drops the last reference.
    fn keep(
        &self,
        comm: ferrompi::Result<ferrompi::Communicator>,
    ) -> Result<Arc<ferrompi::Communicator>, BackendError> {
        let comm = Arc::new(comm.map_err(failed)?);
        self.communicators.borrow_mut().push(Arc::clone(&comm));
        Ok(comm)
    }
}

impl std::fmt::Debug for MpiSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MpiSession").field("reduction", &self.reduction).finish_non_exhaustive()
    }
}

impl Drop for MpiSession {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.mpi.world().abort(PANIC_CODE);
        }
        if self.is_broken.load(Ordering::Acquire) {
            self.mpi.world().abort(BROKEN_CODE);
        }
    }
}

/// What the MPI library that this program is linked with calls itself, over one or more lines: `Open MPI v4.1.4, …` or
/// `MPICH Version: 4.0.2 …`. It needs no session.
pub fn mpi_library_version() -> String {
    Mpi::library_version().unwrap_or_else(|error| format!("unknown ({error})"))
}
