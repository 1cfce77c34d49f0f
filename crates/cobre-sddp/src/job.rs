//! What surrounds a computation: who takes part, who watches, who may stop it.

use cobre_comm::Communicator;
use cobre_core::{CancelToken, EventSink};

/// The surroundings of one training or simulation.
pub struct Job<'a, C: Communicator> {
    /// The processes that share the work; every rank passes its own.
    pub comm: &'a C,
    /// Receives progress; on ranks other than 0 too.
    pub events: &'a dyn EventSink,
    /// Polled between linear programs.
    pub cancel: &'a CancelToken,
}
