//! Cases in Python.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cobre::{Case, Problem, Snapshot, Table, fingerprint, jobs};
use cobre_core::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use crate::error::IntoPython;
use crate::table::PyTable;

/// A hydrothermal case, read and validated.
#[pyclass(name = "Case", module = "cobre._core", frozen)]
pub(crate) struct PyCase {
    pub(crate) case: Arc<Case>,
    /// Built when first asked for.
    problem: OnceLock<Problem>,
}

#[pymethods]
impl PyCase {
    #[classmethod]
    #[pyo3(signature = (path, overrides_json=None))]
    fn load(
        _: &Bound<'_, PyType>,
        py: Python<'_>,
        path: PathBuf,
        overrides_json: Option<&str>,
    ) -> PyResult<Self> {
        let overrides = parsed(overrides_json).into_python(py)?;
        py.detach(|| Case::load(&path, overrides.as_ref())).map(Self::from).into_python(py)
    }

    #[pyo3(signature = (overrides_json=None))]
    fn with_overrides(&self, py: Python<'_>, overrides_json: Option<&str>) -> PyResult<Self> {
        let overrides = parsed(overrides_json).into_python(py)?;
        let snapshot = Snapshot { overrides, ..self.case.snapshot().clone() };
        py.detach(|| Case::from_snapshot(snapshot)).map(Self::from).into_python(py)
    }

    #[getter]
    fn name(&self) -> &str {
        self.case.name()
    }

    #[getter]
    fn directory(&self) -> String {
        self.case.directory().display().to_string()
    }

    #[getter]
    fn stages(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.problem(py)?.nodes.iter().map(|node| node.stage + 1).max().unwrap_or(0))
    }

    #[getter]
    fn states(&self, py: Python<'_>) -> PyResult<Vec<&str>> {
        Ok(self.problem(py)?.states.iter().map(|state| state.name.as_str()).collect())
    }

    #[getter]
    fn initial_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = PyDict::new(py);
        self.problem(py)?.states.iter().try_for_each(|state| values.set_item(&state.name, state.initial))?;
        Ok(values)
    }

    #[getter]
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let problem = self.problem(py)?;
        let sizes = PyDict::new(py);
        for (name, batch) in self.case.tables().into_python(py)? {
            sizes.set_item(name, batch.num_rows())?;
        }
        // In this order: the number of openings is that of outcomes, not of the rows that tell them.
        sizes.set_item("stages", self.stages(py)?)?;
        sizes.set_item("states", problem.states.len())?;
        sizes.set_item("openings", problem.nodes.iter().map(|node| node.openings.len()).sum::<usize>())?;
        sizes.set_item("rows", problem.nodes.iter().map(|node| node.lp.rows()).sum::<usize>())?;
        sizes.set_item("columns", problem.nodes.iter().map(|node| node.lp.columns()).sum::<usize>())?;
        Ok(sizes)
    }

    #[getter]
    fn config_json(&self) -> String {
        self.case.config().to_string()
    }

    #[getter]
    fn is_training_enabled(&self) -> bool {
        self.case.is_training_enabled()
    }

    #[getter]
    fn is_simulation_enabled(&self) -> bool {
        self.case.is_simulation_enabled()
    }

    #[getter]
    fn problem_sha256(&self, py: Python<'_>) -> PyResult<String> {
        Ok(fingerprint(self.problem(py)?))
    }

    fn tables<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let tables = PyDict::new(py);
        for (name, batch) in self.case.tables().into_python(py)? {
            let table = Table { schema: batch.schema(), batches: vec![batch] };
            tables.set_item(name, Bound::new(py, PyTable::from(table))?)?;
        }
        Ok(tables)
    }

    fn __repr__(&self) -> String {
        format!("Case({:?}, {:?})", self.name(), self.directory())
    }

    #[classmethod]
    fn _restore(_: &Bound<'_, PyType>, py: Python<'_>, state: State<'_>) -> PyResult<Self> {
        let (directory, name, present, files, overrides) = state;
        let present = present.into_iter().collect();
        let files = files.into_iter().map(|(file, bytes)| (file, Arc::from(bytes.as_bytes()))).collect();
        let overrides = parsed(overrides.as_deref()).into_python(py)?;
        let snapshot = Snapshot { directory, name, present, files, overrides };
        py.detach(|| Case::from_snapshot(snapshot)).map(Self::from).into_python(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (State<'py>,))> {
        let Snapshot { directory, name, present, files, overrides } = slf.get().case.snapshot().clone();
        // Another process may have another working directory.
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        let present = present.into_iter().collect();
        let files = files.into_iter().map(|(file, bytes)| (file, PyBytes::new(slf.py(), &bytes))).collect();
        let overrides = overrides.map(|overrides| overrides.to_string());
        Ok((slf.get_type().getattr("_restore")?, ((directory, name, present, files, overrides),)))
    }
}

/// A snapshot in types of Python: directory, name, present files, contents by file, overrides as JSON.
type State<'py> = (PathBuf, String, Vec<String>, BTreeMap<String, Bound<'py, PyBytes>>, Option<String>);

fn parsed(overrides_json: Option<&str>) -> Result<Option<serde_json::Value>> {
    overrides_json.map(serde_json::from_str).transpose().map_err(|error| {
        Error::new(ErrorKind::ParseError, "the configuration overrides are no JSON").caused_by(error)
    })
}

impl From<Case> for PyCase {
    fn from(case: Case) -> Self {
        Self { case: Arc::new(case), problem: OnceLock::new() }
    }
}

impl PyCase {
    fn problem(&self, py: Python<'_>) -> PyResult<&Problem> {
        if self.problem.get().is_none() {
            let built = py.detach(|| jobs::problem(&self.case)).into_python(py)?;
            // Another thread may have been faster; both built the same.
            drop(self.problem.set(built));
        }
        Ok(self.problem.get().expect("the problem was built above"))
    }
}
