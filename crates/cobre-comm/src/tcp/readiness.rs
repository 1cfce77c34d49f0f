//! Waiting for sockets.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// What to wait for on a socket, and what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) read: bool,
    pub(super) write: bool,
    /// The connection is over in both directions.
    pub(super) is_over: bool,
}

/// Waits until one of the sockets is ready as wished, at most for `limit`; then sets the wishes to what came.
///
/// # Errors
/// When the system cannot wait; a signal is no error.
pub(super) fn wait<S: AsFd>(
    sockets: &[S],
    wishes: &mut [Readiness],
    limit: Option<Duration>,
) -> std::io::Result<()> {
    let mut entries: Vec<PollFd<'_>> = sockets
        .iter()
        .zip(wishes.iter())
        .map(|(socket, wish)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wish.read);
            flags.set(PollFlags::OUT, wish.write);
            PollFd::new(socket, flags)
        })
        .collect();
    // A deadline that is beyond the clock is none.
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let outcome = rustix::event::poll(&mut entries, limit.as_ref());
    let has_failed = match outcome {
        Ok(_) => false,
        Err(rustix::io::Errno::INTR) => true,
        Err(error) => return Err(error.into()),
    };
    for (wish, entry) in wishes.iter_mut().zip(&entries) {
        let came = if has_failed { PollFlags::empty() } else { entry.revents() };
        let is_over = came.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        *wish = Readiness {
            read: came.contains(PollFlags::IN) || is_over,
            write: came.contains(PollFlags::OUT) || is_over,
            is_over,
        };
    }
    Ok(())
}
