//! The Python module `cobre._core`: arguments, the interpreter's lock, signals and errors. What jobs do is
//! [`cobre::jobs`]; what people import is the Python package around this module.

#![forbid(unsafe_code)]
#![allow(clippy::needless_pass_by_value, reason = "PyO3 gives functions their arguments by value")]

mod backend;
mod case;
mod error;
mod jobs;
mod options;
mod policy;
mod process;
mod results;
mod run;
mod table;

/// The native part of Cobre. Not public: `cobre` wraps it.
#[pyo3::pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::backend::PyBackend;
    #[pymodule_export]
    use super::case::PyCase;
    #[pymodule_export]
    use super::jobs::{simulate, train};
    #[pymodule_export]
    use super::policy::PyPolicy;
    #[pymodule_export]
    use super::process::{PyCancelToken, available_threads, watch_lifeline};
    #[pymodule_export]
    use super::results::{PySimulationResult, PyTrainingResult};
    #[pymodule_export]
    use super::table::PyTable;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", cobre::VERSION)
    }
}
