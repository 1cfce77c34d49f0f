//! Ranks of one machine over a segment of shared memory.
//!
//! The segment holds a header page, the words of each rank and two buffers of each rank. Ranks advance counters of
//! their own and watch those of the others ([`protocol`]); data goes through the buffers piece by piece, so that its
//! amount is not limited. A rank that dies gives up the lock of its byte in the segment's file, which the kernel
//! cannot forget to tell. The segment loses its name as soon as all ranks have it.

#[cfg(not(loom))]
mod attach;
#[cfg(not(loom))]
mod backend;
#[cfg(not(loom))]
mod call;
#[cfg(not(loom))]
mod collectives;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod fault;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod locks;
#[cfg(all(test, loom))]
mod model;
#[cfg_attr(loom, allow(dead_code, reason = "the models call what they check"))]
mod protocol;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod sends;
#[cfg(not(loom))]
mod watch;

#[cfg(not(loom))]
pub use backend::ShmBackend;
#[cfg(not(loom))]
pub use config::{ShmConfig, SpinLimit};
#[cfg(not(loom))]
pub(crate) use header::Header;
#[cfg(not(loom))]
pub use header::MOST_RANKS;
