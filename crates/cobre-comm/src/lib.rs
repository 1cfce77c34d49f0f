//! Communication between the processes of one job.
//!
//! [`Communicator`] is the collective operations the engine is written against, always by static dispatch;
//! [`SharedMemoryProvider`] is the memory that the processes of one machine share. The two are separate traits:
//! they live differently long, and functions ask only for what they use.
//!
//! The `local` backend is a job of one process. It checks its arguments as every backend does.

#![forbid(unsafe_code)]

mod data;
mod error;
mod local;
mod region;
mod traits;

pub use data::{CommData, ReduceOp};
pub use error::{BackendError, CommError};
pub use local::LocalBackend;
pub use region::{HeapRegion, LocalCommunicator, SharedMemoryProvider, SharedRegion};
pub use traits::{Communicator, SendBuffer, check_allgatherv, check_allreduce};
