//! The pipe whose breaking tells a rank that its parent is gone.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;

use rustix::fs::{FileType, Mode, OFlags};

use crate::BackendError;

/// The variable that names the descriptor of an inherited pipe: when its last writing end is closed, the rank ends.
pub const LIFELINE_VARIABLE: &str = "COBRE_COMM_LIFELINE";

/// The exit code of a rank whose lifeline broke.
pub const LIFELINE_EXIT_CODE: i32 = 5;

/// Whether the thread is there: one process needs one, however many communicators it has.
static IS_WATCHED: Mutex<bool> = Mutex::new(false);

/// As [`watch_lifeline`], on the descriptor that [`LIFELINE_VARIABLE`] names; without the variable it does nothing.
///
/// # Errors
/// [`BackendError::InitializationFailed`] when the variable names no pipe open for reading.
pub fn watch_lifeline_from_env(backend: &'static str) -> Result<(), BackendError> {
    let Some(value) = std::env::var_os(LIFELINE_VARIABLE) else { return Ok(()) };
    let failed = |message: String| BackendError::InitializationFailed { backend, source: message.into() };
    let Some(descriptor) = value.to_str().and_then(|text| text.parse::<u32>().ok()) else {
        return Err(failed(format!("{LIFELINE_VARIABLE}={} is no descriptor", value.to_string_lossy())));
    };
    watch_lifeline(descriptor).map_err(|error| failed(format!("{LIFELINE_VARIABLE}={descriptor}: {error}")))
}

/// Starts a thread that ends this process with [`LIFELINE_EXIT_CODE`] when the last writing end of a pipe is closed,
/// at once when it is closed already. When such a thread is there, whatever pipe it watches, this does nothing.
///
/// `descriptor` is the pipe's reading end and stays the caller's: the pipe is opened anew. The process must not hold
/// a writing end itself.
///
/// # Errors
/// When the descriptor is no pipe open for reading, or the thread cannot be started.
pub fn watch_lifeline(descriptor: u32) -> io::Result<()> {
    let mut is_watched = IS_WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *is_watched {
        return Ok(());
    }
    let mut pipe = open_pipe(descriptor)?;
    let watch = move || {
        let mut byte = [0];
        loop {
            match pipe.read(&mut byte) {
                Ok(0) => end_this_process(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => end_this_process(),
            }
        }
    };
    std::thread::Builder::new().name("cobre-lifeline".into()).spawn(watch)?;
    *is_watched = true;
    Ok(())
}

/// The reading end of a pipe, opened anew: the descriptor itself belongs to whoever inherited it.
fn open_pipe(descriptor: u32) -> io::Result<File> {
    // A pipe that lost its writers is opened without waiting for another one.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(format!("/proc/self/fd/{descriptor}"), flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&pipe)?.st_mode) != FileType::Fifo {
        return Err(io::Error::other("this is no pipe"));
    }
    rustix::fs::fcntl_setfl(&pipe, OFlags::empty())?;
    Ok(File::from(pipe))
}

/// At once and without the handlers of `exit`, which may wait for threads that compute. The kernel then gives up the
/// rank's locks and sockets: that is how the other ranks learn it.
fn end_this_process() -> ! {
    #![allow(unsafe_code, reason = "std has no exit without handlers")]
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(LIFELINE_EXIT_CODE) }
}
