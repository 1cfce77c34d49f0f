//! Rank 0 watches the other ranks while it computes: those that wait in a collective learn at once that it will not
//! be completed.

use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

use super::State;

/// The thread that watches; dropping this ends it.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    /// Closing it wakes the thread.
    stop: Option<UnixStream>,
}

impl Watch {
    /// Watches the links of `state`.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor.
    pub(super) fn start(state: &Arc<Mutex<State>>) -> io::Result<Self> {
        let (stop, stopped) = UnixStream::pair()?;
        let streams = lock(state).streams()?;
        let state = Arc::clone(state);
        let watch = move || watch(&state, streams, stopped);
        let thread = std::thread::Builder::new().name("cobre-tcp-watch".into()).spawn(watch)?;
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, the others still learn from the closed connections.
            drop(thread.join());
        }
    }
}

/// Waits for connections that end. During a collective its thread has the lock and sees to it itself.
fn watch(state: &Mutex<State>, streams: Vec<TcpStream>, mut stopped: UnixStream) {
    let mut streams: Vec<(usize, TcpStream)> = streams.into_iter().enumerate().collect();
    while !streams.is_empty() {
        let flags = [PollFlags::IN].into_iter().chain(streams.iter().map(|_| closing()));
        let sockets = [stopped.as_fd()].into_iter().chain(streams.iter().map(|(_, stream)| stream.as_fd()));
        let mut entries: Vec<PollFd<'_>> = sockets
            .zip(flags)
            .map(|(socket, flags): (BorrowedFd<'_>, _)| PollFd::from_borrowed_fd(socket, flags))
            .collect();
        match poll(&mut entries, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let came: Vec<bool> = entries.iter().map(|entry| !entry.revents().is_empty()).collect();
        if came[0] {
            // Nothing is ever written: the other end was closed.
            drop(stopped.read(&mut [0]));
            return;
        }
        let mut over = came[1..].iter();
        streams.retain(|(index, _)| {
            let is_over = over.next().is_some_and(|is_over| *is_over);
            if is_over {
                lock(state).mourn(*index);
            }
            !is_over
        });
        if lock(state).has_parted {
            return;
        }
    }
}

#[cfg(target_os = "linux")]
fn closing() -> PollFlags {
    PollFlags::RDHUP
}

/// Where the end of one direction cannot be waited for, that of both is.
#[cfg(not(target_os = "linux"))]
fn closing() -> PollFlags {
    PollFlags::empty()
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
