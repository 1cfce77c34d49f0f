//! How one of several processes that share a job finds the others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cobre::{BackendKind, ShmConfig, TcpConfig, Token};
use cobre_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::IntoPython;
use crate::options::Options;

/// One rank's way to the others, for one job.
#[pyclass(name = "Backend", module = "cobre._core", frozen)]
pub(crate) struct PyBackend {
    shown: String,
    /// Gone once a job has begun.
    kind: Mutex<Option<BackendKind>>,
}

#[pymethods]
impl PyBackend {
    #[staticmethod]
    #[pyo3(
        signature = (descriptor, rank, size, **options),
        text_signature = "(descriptor, rank, size, *, timeout_secs=None, stall_notice_secs=None, \
                          connect_timeout_secs=None)"
    )]
    fn shm(
        py: Python<'_>,
        descriptor: u32,
        rank: usize,
        size: usize,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut options = Options::new(options)?;
        let mut config = ShmConfig::new("", rank, size);
        config.descriptor = Some(descriptor);
        config.timeout = duration(py, &mut options, "timeout_secs")?;
        let notice = duration(py, &mut options, "stall_notice_secs")?;
        config.stall_notice = notice.unwrap_or(config.stall_notice);
        let connect = duration(py, &mut options, "connect_timeout_secs")?;
        config.connect_timeout = connect.unwrap_or(config.connect_timeout);
        options.refuse_rest()?;
        Ok(Self::new("shm", (rank, size), BackendKind::Shm(config)))
    }

    #[staticmethod]
    #[pyo3(
        signature = (coordinator, rank, size, token, **options),
        text_signature = "(coordinator, rank, size, token, *, listener=None, timeout_secs=None, \
                          stall_notice_secs=None, connect_timeout_secs=None)"
    )]
    fn tcp(
        py: Python<'_>,
        coordinator: &str,
        rank: usize,
        size: usize,
        token: &str,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let mut options = Options::new(options)?;
        let mut config = TcpConfig::new(rank, size, coordinator);
        config.token = Some(secret(token).into_python(py)?);
        config.timeout = duration(py, &mut options, "timeout_secs")?;
        let notice = duration(py, &mut options, "stall_notice_secs")?;
        config.stall_notice = notice.unwrap_or(config.stall_notice);
        let connect = duration(py, &mut options, "connect_timeout_secs")?;
        config.connect_timeout = connect.unwrap_or(config.connect_timeout);
        let listener: Option<u32> = options.take("listener")?;
        options.refuse_rest()?;
        if let Some(descriptor) = listener {
            take_listener(&mut config, descriptor).into_python(py)?;
        }
        Ok(Self::new("tcp", (rank, size), BackendKind::Tcp(config)))
    }

    fn __repr__(&self) -> &str {
        &self.shown
    }
}

impl PyBackend {
    fn new(word: &str, (rank, size): (usize, usize), kind: BackendKind) -> Self {
        Self { shown: format!("Backend({word}, rank {rank} of {size})"), kind: Mutex::new(Some(kind)) }
    }

    /// What a job starts from.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleSettings`] when a job has begun with it already: its file or socket is used up.
    pub(crate) fn take(&self) -> Result<BackendKind> {
        let kind = self.kind.lock().unwrap_or_else(PoisonError::into_inner).take();
        kind.ok_or_else(|| {
            Error::new(ErrorKind::IncompatibleSettings, "this backend has served a job already")
                .suggesting("make a backend for every job")
        })
    }
}

/// A number of seconds among the options.
fn duration(py: Python<'_>, options: &mut Options<'_>, name: &'static str) -> PyResult<Option<Duration>> {
    let Some(seconds) = options.take::<f64>(name)? else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero());
    let refused =
        || Error::new(ErrorKind::OutOfRange, format!("{name} must be above zero")).with(name, seconds);
    duration.ok_or_else(refused).map(Some).into_python(py)
}

/// The token; no message repeats it.
fn secret(token: &str) -> Result<Token> {
    let refused = || Error::new(ErrorKind::OutOfRange, "the token must be 32 hexadecimal digits");
    Token::from_hex(token).ok_or_else(refused)
}

fn take_listener(config: &mut TcpConfig, descriptor: u32) -> Result<()> {
    if config.rank != 0 {
        let message = "only rank 0 listens";
        return Err(Error::new(ErrorKind::IncompatibleSettings, message).with("rank", config.rank));
    }
    config.take_listener(descriptor).map_err(|error| {
        Error::new(ErrorKind::BackendFailure, "the listening socket cannot be taken over").caused_by(error)
    })
}
