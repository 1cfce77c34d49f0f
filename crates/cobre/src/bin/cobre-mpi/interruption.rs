//! Signals that stop a job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use cobre_core::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What an exit code of Ctrl-C is.
const INTERRUPTED: u8 = 130;
/// What an exit code of SIGTERM is; a closed terminal counts as one.
const TERMINATED: u8 = 143;

/// The stop that a signal asks for: the first one ends the job with what it has earned, the second one at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interruption {
    cancel: CancelToken,
    code: Arc<AtomicU8>,
    has_begun: Arc<AtomicBool>,
}

impl Interruption {
    /// Watches for signals, those that this process was started to ignore apart.
    pub(crate) fn watch() -> std::io::Result<Self> {
        let interruption = Self::default();
        let ignored = ignored_signals();
        let watched = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
        let mut signals = Signals::new(watched)?;
        let own = interruption.clone();
        std::thread::Builder::new().name("cobre-signals".into()).spawn(move || {
            for signal in signals.forever() {
                own.take(if signal == SIGINT { INTERRUPTED } else { TERMINATED });
            }
        })?;
        Ok(interruption)
    }

    fn take(&self, code: u8) {
        // Before the job there is nothing to keep, and nobody who looks at the token.
        if self.cancel.is_cancelled() || !self.has_begun.load(Ordering::Acquire) {
            signal_hook::low_level::exit(i32::from(code));
        }
        self.code.store(code, Ordering::Release);
        self.cancel.cancel();
    }

    /// From now on the job ends itself.
    pub(crate) fn begin(&self) {
        self.has_begun.store(true, Ordering::Release);
    }

    /// What the job looks at.
    pub(crate) fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// The exit code of the signal that this process got, 0 when it got none.
    pub(crate) fn code(&self) -> u8 {
        self.code.load(Ordering::Acquire)
    }
}

/// One bit per signal that this process was started to ignore, as by `nohup`; none where the system does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
