//! Runs a job on a thread of its own while the caller's thread stays a Python thread: it delivers events and notices
//! signals.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cobre::{Job, LocalBackend};
use cobre_core::{CancelToken, Error, ErrorKind, Event, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{IntoPython, panicked};

/// The longest that a signal can go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// Runs `work` to its end. An exception of the callback, or one that a signal raises, cancels the job, is raised when
/// the job's thread has ended, and hides the job's own outcome.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    callback: Option<&Bound<'_, PyAny>>,
    work: impl FnOnce(&Job<'_, LocalBackend>) -> Result<T> + Send + 'static,
) -> PyResult<T> {
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let (sender, receiver) = mpsc::channel();
    let job = move || {
        // The receiver is dropped when Python gives up on the job: its events then interest nobody.
        let events = move |event: Event| drop(sender.send(event));
        work(&Job { comm: &LocalBackend, events: &events, cancel: &token })
    };
    let thread = thread::Builder::new().name("cobre-job".to_owned()).spawn(job).map_err(|error| {
        Error::new(ErrorKind::BackendFailure, "the job's thread could not be started").caused_by(error)
    });
    let thread = thread.into_python(py)?;
    let watched = watch(py, receiver, callback);
    if watched.is_err() {
        cancel.cancel();
    }
    let outcome = py.detach(|| thread.join());
    watched?;
    outcome.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))).into_python(py)
}

/// Delivers events, in order and without loss, until the job's thread drops its end of the channel.
fn watch(py: Python<'_>, mut receiver: Receiver<Event>, callback: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    loop {
        let (received, returned) = py.detach(move || (receiver.recv_timeout(PATIENCE), receiver));
        receiver = returned;
        py.check_signals()?;
        match received {
            Ok(event) => {
                for event in std::iter::once(event).chain(receiver.try_iter()) {
                    deliver(py, &event, callback)?;
                    py.check_signals()?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn deliver(py: Python<'_>, event: &Event, callback: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let Some(callback) = callback else { return Ok(()) };
    let metrics = PyDict::new(py);
    for (name, value) in &event.metrics {
        metrics.set_item(name, value)?;
    }
    let (system, phase) = (event.system.as_str(), event.phase.as_str());
    let (iteration, done, total) = (event.iteration, event.done, event.total);
    callback
        .call1((system, phase, iteration, done, total, metrics, event.elapsed_secs, event.worker_id))
        .map(drop)
}
