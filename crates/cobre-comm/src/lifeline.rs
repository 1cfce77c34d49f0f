//! The pipe whose breaking tells a rank that its parent is gone.

use std::io::Read;
use std::sync::Mutex;

use rustix::fs::FileType;

use crate::BackendError;

/// The variable that names the descriptor of an inherited pipe: when its last writing end is closed, the rank ends.
pub const LIFELINE_VARIABLE: &str = "COBRE_COMM_LIFELINE";

/// The exit code of a rank whose lifeline broke.
pub const LIFELINE_EXIT_CODE: i32 = 5;

/// Whether the thread is there: one process needs one, however many communicators it has.
static IS_WATCHED: Mutex<bool> = Mutex::new(false);

/// Starts a thread that ends this process with [`LIFELINE_EXIT_CODE`] when the pipe that [`LIFELINE_VARIABLE`] names
/// breaks. Without the variable, or when the thread is there already, it does nothing.
///
/// # Errors
/// [`BackendError::InitializationFailed`] when the variable names no pipe open for reading.
pub fn watch_lifeline_from_env(backend: &'static str) -> Result<(), BackendError> {
    let Some(value) = std::env::var_os(LIFELINE_VARIABLE) else { return Ok(()) };
    let failed = |message: String| BackendError::InitializationFailed { backend, source: message.into() };
    let Some(descriptor) = value.to_str().and_then(|text| text.parse::<u32>().ok()) else {
        return Err(failed(format!("{LIFELINE_VARIABLE}={} is no descriptor", value.to_string_lossy())));
    };
    let mut is_watched = IS_WATCHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *is_watched {
        return Ok(());
    }
    // Opened anew: the descriptor itself belongs to whoever inherited it.
    let mut pipe = std::fs::File::open(format!("/proc/self/fd/{descriptor}"))
        .map_err(|error| failed(format!("{LIFELINE_VARIABLE}={descriptor}: {error}")))?;
    let status = rustix::fs::fstat(&pipe).map_err(|error| failed(error.to_string()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Fifo {
        return Err(failed(format!("{LIFELINE_VARIABLE}={descriptor} is no pipe")));
    }
    let watch = move || {
        let mut byte = [0];
        loop {
            match pipe.read(&mut byte) {
                Ok(0) => end_this_process(),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => end_this_process(),
            }
        }
    };
    std::thread::Builder::new()
        .name("cobre-lifeline".into())
        .spawn(watch)
        .map_err(|error| failed(error.to_string()))?;
    *is_watched = true;
    Ok(())
}

/// At once and without the handlers of `exit`, which may wait for threads that compute. The kernel then gives up the
/// rank's locks and sockets: that is how the other ranks learn it.
fn end_this_process() -> ! {
    #![allow(unsafe_code, reason = "std has no exit without handlers")]
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(LIFELINE_EXIT_CODE) }
}
