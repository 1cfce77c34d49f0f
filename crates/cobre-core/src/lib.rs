//! What every part of Cobre shares: one error, one event, one way to cancel, one source of random numbers.
//!
//! Nothing here knows what a job computes. The four rooms:
//!
//! * [`error`]: the workspace's only error type, with the closed list of kinds that Python sees as classes;
//! * [`event`]: progress as data, for every front end;
//! * [`cancel`]: a flag that long work polls;
//! * [`stream`]: random streams addressed by counters, so that a number depends on *what* it is for and never
//!   on who drew before.

#![forbid(unsafe_code)]

pub mod cancel;
pub mod error;
pub mod event;
pub mod stream;

pub use cancel::CancelToken;
pub use error::{ContextValue, Error, ErrorClass, ErrorKind, Problem, Result, suggest};
pub use event::{Event, EventSink, Phase, System};
pub use stream::{Purpose, Stream, StreamKey};
