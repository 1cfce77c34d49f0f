//! Cooperative cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, ErrorKind, Result};

/// A flag shared by the one who may stop a job and those who do its work.
///
/// Clones share the flag. Workers poll it between two linear programs, so that a job ends within
/// milliseconds of [`cancel`](Self::cancel); nothing is interrupted in the middle.
///
/// ```
/// let token = cobre_core::CancelToken::new();
/// let seen_by_worker = token.clone();
/// token.cancel();
/// assert!(seen_by_worker.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone who holds a clone to stop; never undone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// True once any clone was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Errors with [`ErrorKind::Cancelled`] once any clone was cancelled: for use with `?` in loops.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"))
        } else {
            Ok(())
        }
    }
}
