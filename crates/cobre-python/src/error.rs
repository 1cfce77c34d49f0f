//! The workspace's one error as Python exceptions. The classes are defined in `cobre/errors.py`.

use cobre_core::{ContextValue, Error, ErrorClass, ErrorKind, Problem};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// Result whose error Python understands.
pub(crate) trait IntoPython<T> {
    /// Turns a Cobre error into the exception of its class.
    fn into_python(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> IntoPython<T> for cobre_core::Result<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| exception(py, &error).unwrap_or_else(|failure| failure))
    }
}

/// What a panicking thread said, as an error.
pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    Error::new(ErrorKind::InternalPanic, format!("a defect of Cobre stopped the job: {text}"))
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let class = match error.kind().class() {
        ErrorClass::Validation => "ValidationError",
        ErrorClass::Solver => "SolverError",
        ErrorClass::Io => "IOError",
        ErrorClass::Worker => "WorkerError",
        ErrorClass::Other => "CobreError",
    };
    let context = PyDict::new(py);
    for (name, value) in error.context() {
        match value {
            ContextValue::Int(value) => context.set_item(name, value)?,
            ContextValue::Float(value) => context.set_item(name, value)?,
            ContextValue::Text(value) => context.set_item(name, value)?,
        }
    }
    let problems = PyList::empty(py);
    for problem in error.problems() {
        problems.append(problem_dict(py, problem)?)?;
    }
    let arguments = PyDict::new(py);
    arguments.set_item("kind", error.kind().as_str())?;
    arguments.set_item("context", context)?;
    arguments.set_item("suggestion", error.suggestion())?;
    arguments.set_item("problems", problems)?;
    let message = match std::error::Error::source(error) {
        Some(source) => format!("{}: {source}", error.message()),
        None => error.message().to_owned(),
    };
    let class = py.import("cobre.errors")?.getattr(class)?;
    Ok(PyErr::from_value(class.call((message,), Some(&arguments))?))
}

fn problem_dict<'py>(py: Python<'py>, problem: &Problem) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("kind", problem.kind.as_str())?;
    fields.set_item("file", &problem.file)?;
    fields.set_item("entity", &problem.entity)?;
    fields.set_item("field", &problem.field)?;
    fields.set_item("value", &problem.value)?;
    fields.set_item("expected", &problem.expected)?;
    fields.set_item("suggestion", problem.suggestion.as_deref())?;
    Ok(fields)
}
