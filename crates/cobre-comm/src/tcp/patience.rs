//! How long a collective waits for ranks that live.

use std::time::{Duration, Instant};

use super::failure::Failure;
use crate::{Stall, StallObserver};

/// What a communicator does about ranks that do not come.
#[derive(Clone)]
pub(super) struct Limits {
    /// When waiting becomes an error.
    pub(super) timeout: Option<Duration>,
    /// When, and how often, the observer is told.
    pub(super) notice: Duration,
    pub(super) observer: Option<StallObserver>,
}

/// The clock of one collective: it starts anew whenever data moves.
pub(super) struct Patience<'a> {
    limits: &'a Limits,
    operation: &'static str,
    since: Instant,
    notices: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(limits: &'a Limits, operation: &'static str) -> Self {
        Self { limits, operation, since: Instant::now(), notices: 0 }
    }

    /// Data has moved.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
        self.notices = 0;
    }

    /// How long to sleep at most before [`check`](Self::check); nothing when there is nothing to check.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let next_notice = self.limits.observer.as_ref().map(|_| self.next_notice());
        let at = match (self.limits.timeout, next_notice) {
            (Some(timeout), Some(notice)) => timeout.min(notice),
            (timeout, notice) => timeout.or(notice)?,
        };
        Some(at.saturating_sub(self.since.elapsed()))
    }

    /// Tells the observer what is due.
    ///
    /// # Errors
    /// [`Failure::Timeout`] when the time that the user set is over.
    pub(super) fn check(&mut self, missing: impl Fn() -> Vec<usize>) -> Result<(), Failure> {
        let waited = self.since.elapsed();
        if self.limits.timeout.is_some_and(|timeout| waited >= timeout) {
            return Err(Failure::Timeout { waited_ms: waited.as_millis() as u64, missing: missing() });
        }
        if let Some(observer) = &self.limits.observer
            && waited >= self.next_notice()
        {
            self.notices += 1;
            observer(&Stall { operation: self.operation, waited, missing: missing() });
        }
        Ok(())
    }

    fn next_notice(&self) -> Duration {
        self.limits.notice.saturating_mul(self.notices + 1)
    }
}
