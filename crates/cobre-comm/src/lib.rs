//! Communication between the processes of one job.
//!
//! [`Communicator`] is the collective operations the engine is written against, always by static dispatch;
//! [`SharedMemoryProvider`] is the memory that the processes of one machine share. The two are separate traits:
//! they live differently long, and functions ask only for what they use.
//!
//! The `local` backend is a job of one process. It checks its arguments as every backend does.

#![deny(unsafe_code)]

// The suites under tests/ know this crate by its name.
#[cfg(all(test, feature = "mpi"))]
extern crate self as cobre_comm;

#[cfg(all(any(feature = "mpi", feature = "shm", feature = "tcp"), not(loom)))]
mod backend;
mod data;
mod error;
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(feature = "shm", feature = "tcp"))]
mod lifeline;
mod local;
#[cfg(any(all(feature = "shm", not(loom)), feature = "mpi"))]
mod mapping;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(any(all(feature = "shm", not(loom)), feature = "mpi"))]
mod node_region;
mod region;
#[cfg(not(loom))]
mod select;
#[cfg(feature = "shm")]
mod shm;
#[cfg(any(feature = "shm", feature = "tcp"))]
mod stall;
#[cfg(feature = "tcp")]
mod tcp;
mod traits;

#[cfg(all(any(feature = "mpi", feature = "shm", feature = "tcp"), not(loom)))]
pub use backend::{BackendRegion, CommBackend};
pub use data::{CommData, ReduceOp};
pub use error::{BackendError, CommError};
#[cfg(any(feature = "shm", feature = "tcp"))]
pub use lifeline::{LIFELINE_EXIT_CODE, LIFELINE_VARIABLE, watch_lifeline, watch_lifeline_from_env};
pub use local::LocalBackend;
#[cfg(feature = "mpi")]
pub use mpi::{MpiBackend, MpiSession, mpi_library_version};
#[cfg(any(all(feature = "shm", not(loom)), feature = "mpi"))]
pub use node_region::NodeRegion;
pub use region::{HeapRegion, LocalCommunicator, SharedMemoryProvider, SharedRegion};
#[cfg(not(loom))]
pub use select::{BACKEND_VARIABLE, BackendKind, Session, compiled_backends};
#[cfg(all(feature = "shm", not(loom)))]
pub use shm::{MOST_RANKS, ShmBackend, ShmConfig, SpinLimit};
#[cfg(any(feature = "shm", feature = "tcp"))]
pub use stall::{STALL_NOTICE, Stall, StallObserver};
#[cfg(feature = "tcp")]
pub use tcp::{TcpBackend, TcpConfig, Token};
pub use traits::{Communicator, SendBuffer, check_allgatherv, check_allreduce};

/// The backend of a build without features: one process.
#[cfg(not(any(feature = "mpi", feature = "shm", feature = "tcp")))]
pub type CommBackend = LocalBackend;
