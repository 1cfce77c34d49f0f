//! Runs a job on a thread of its own while the caller's thread stays a Python thread: it delivers what the job tells
//! and sees signals.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cobre::{BackendKind, CommBackend, Communicator, Job, Session, Stall};
use cobre_core::{CancelToken, Error, ErrorKind, Event, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::backend::PyBackend;
use crate::error::{IntoPython, panicked};
use crate::options::Options;
use crate::process::PyCancelToken;

/// The longest that a signal can go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// What a job's caller gives besides its work.
pub(crate) struct Surroundings<'py> {
    callback: Option<Bound<'py, PyAny>>,
    on_stall: Option<Bound<'py, PyAny>>,
    backend: Option<Bound<'py, PyBackend>>,
    cancel: CancelToken,
}

impl<'py> Surroundings<'py> {
    /// The options `callback`, `on_stall`, `backend` and `cancel`.
    pub(crate) fn take(options: &mut Options<'py>) -> PyResult<Self> {
        let cancel: Option<Bound<'py, PyCancelToken>> = options.take("cancel")?;
        Ok(Self {
            callback: options.take("callback")?,
            on_stall: options.take("on_stall")?,
            backend: options.take("backend")?,
            cancel: cancel.map(|token| token.get().0.clone()).unwrap_or_default(),
        })
    }
}

/// A job's outcome and this process's place in it.
pub(crate) struct Ran<T> {
    pub(crate) outcome: T,
    /// The backend's word, when the job was given one.
    pub(crate) backend: Option<&'static str>,
    pub(crate) rank: usize,
}

/// What a job tells while it runs.
enum Notice {
    Event(Event),
    Stall(Stall),
}

/// Runs `work` to its end. An exception of a callback, or one that a signal raises, cancels the job, is raised when
/// the job's thread has ended, and hides the job's own outcome.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    surroundings: &Surroundings<'_>,
    work: impl FnOnce(&Job<'_, CommBackend>) -> Result<T> + Send + 'static,
) -> PyResult<Ran<T>> {
    let given =
        surroundings.backend.as_ref().map(|backend| backend.get().take()).transpose().into_python(py)?;
    let token = surroundings.cancel.clone();
    let (sender, receiver) = mpsc::channel();
    let job = move || {
        // The receiver is dropped when Python gives up on the job: its notices then interest nobody.
        let stalls = sender.clone();
        let on_stall = Arc::new(move |stall: &Stall| drop(stalls.send(Notice::Stall(stall.clone()))));
        let events = move |event: Event| drop(sender.send(Notice::Event(event)));
        let is_given = given.is_some();
        let session = Session::start(given.unwrap_or(BackendKind::Local).observing_stalls(on_stall))?;
        let outcome = work(&Job { comm: session.comm(), events: &events, cancel: &token })?;
        let (backend, rank) = (is_given.then(|| session.backend_name()), session.comm().rank());
        Ok(Ran { outcome, backend, rank })
    };
    let thread = thread::Builder::new().name("cobre-job".to_owned()).spawn(job).map_err(|error| {
        Error::new(ErrorKind::BackendFailure, "the job's thread could not be started").caused_by(error)
    });
    let thread = thread.into_python(py)?;
    let watched = watch(py, receiver, surroundings);
    if watched.is_err() {
        surroundings.cancel.cancel();
    }
    let outcome = py.detach(|| thread.join());
    watched?;
    outcome.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))).into_python(py)
}

/// Delivers notices, in order and without loss, until the job's thread drops its ends of the channel.
fn watch(py: Python<'_>, mut receiver: Receiver<Notice>, surroundings: &Surroundings<'_>) -> PyResult<()> {
    loop {
        let (received, returned) = py.detach(move || (receiver.recv_timeout(PATIENCE), receiver));
        receiver = returned;
        py.check_signals()?;
        match received {
            Ok(notice) => {
                for notice in std::iter::once(notice).chain(receiver.try_iter()) {
                    match (notice, &surroundings.callback, &surroundings.on_stall) {
                        (Notice::Event(event), Some(callback), _) => deliver(py, &event, callback)?,
                        (Notice::Stall(stall), _, Some(on_stall)) => {
                            let waited_secs = stall.waited.as_secs_f64();
                            on_stall.call1((stall.operation, waited_secs, stall.missing))?;
                        }
                        _ => {}
                    }
                    py.check_signals()?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

fn deliver(py: Python<'_>, event: &Event, callback: &Bound<'_, PyAny>) -> PyResult<()> {
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
