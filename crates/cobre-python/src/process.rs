//! What a process that works for another one needs: a way to be stopped, and to end with its parent.

use cobre::jobs;
use cobre_core::{CancelToken, Error, ErrorKind};
use pyo3::prelude::*;

use crate::error::IntoPython;

/// Stops jobs from any thread.
#[pyclass(name = "CancelToken", module = "cobre._core", frozen)]
pub(crate) struct PyCancelToken(pub(crate) CancelToken);

#[pymethods]
impl PyCancelToken {
    #[new]
    fn new() -> Self {
        Self(CancelToken::new())
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }

    fn __repr__(&self) -> &'static str {
        if self.0.is_cancelled() { "CancelToken(cancelled)" } else { "CancelToken()" }
    }
}

/// Ends this process when the last writing end of an inherited pipe is closed.
#[pyfunction]
pub(crate) fn watch_lifeline(py: Python<'_>, descriptor: u32) -> PyResult<()> {
    let watched = py.detach(|| cobre::watch_lifeline(descriptor));
    let failed = |error| {
        Error::new(ErrorKind::BackendFailure, "the lifeline cannot be watched")
            .with("descriptor", u64::from(descriptor))
            .caused_by(error)
    };
    watched.map_err(failed).into_python(py)
}

/// Threads that may run at once.
#[pyfunction]
pub(crate) fn available_threads() -> usize {
    jobs::available_threads()
}
