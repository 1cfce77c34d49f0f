//! Policies in Python.

use std::path::PathBuf;
use std::sync::Arc;

use cobre::{StoredPolicy, policy_files};
use cobre_core::{Error, ErrorKind, suggest};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyType};

use crate::error::IntoPython;
use crate::table::PyTable;

/// Cuts of every stage.
#[pyclass(name = "Policy", module = "cobre._core", frozen)]
pub(crate) struct PyPolicy(pub(crate) Arc<StoredPolicy>);

#[pymethods]
impl PyPolicy {
    #[classmethod]
    fn load(_: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| policy_files::load(&path)).map(Self::from).into_python(py)
    }

    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| policy_files::save(&self.0, &path)).into_python(py)
    }

    #[classmethod]
    fn from_bytes(_: &Bound<'_, PyType>, py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        policy_files::from_bytes(data).map(Self::from).into_python(py)
    }

    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| policy_files::to_bytes(&self.0)).into_python(py)?;
        Ok(PyBytes::new(py, &bytes))
    }

    #[getter]
    fn states(&self) -> Vec<&str> {
        self.0.policy.states.iter().map(|state| state.name.as_str()).collect()
    }

    #[getter]
    fn initial_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let values = PyDict::new(py);
        self.0.policy.states.iter().try_for_each(|state| values.set_item(&state.name, state.initial))?;
        Ok(values)
    }

    #[getter]
    fn stages(&self) -> usize {
        self.0.policy.nodes.iter().map(|node| node.stage + 1).max().unwrap_or(0)
    }

    #[getter]
    fn nodes(&self) -> Vec<&str> {
        self.0.policy.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[getter]
    fn iterations(&self) -> u64 {
        self.0.policy.iterations
    }

    #[getter]
    fn lower_bound(&self) -> f64 {
        self.0.policy.lower_bound
    }

    #[getter]
    fn total_cuts(&self) -> usize {
        self.0.policy.total_cuts()
    }

    #[getter]
    fn seed(&self) -> Option<u64> {
        self.0.seed
    }

    #[getter]
    fn problem_sha256(&self) -> Option<&str> {
        self.0.problem_sha256.as_deref()
    }

    fn value(&self, stage: &Bound<'_, PyAny>, state: &Bound<'_, PyAny>) -> PyResult<f64> {
        let node = self.node(stage)?;
        let values = self.state_values(state)?;
        self.0.policy.value(node, &values).into_python(stage.py())
    }

    #[pyo3(signature = (stage=None))]
    fn cuts(&self, py: Python<'_>, stage: Option<&Bound<'_, PyAny>>) -> PyResult<PyTable> {
        let node = stage.map(|stage| self.node(stage)).transpose()?;
        policy_files::cuts_table(&self.0.policy, node).map(PyTable::from).into_python(py)
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        let bytes = |policy: &Self| policy_files::to_bytes(&policy.0).into_python(py);
        Ok(Arc::ptr_eq(&self.0, &other.0) || bytes(self)? == bytes(other)?)
    }

    fn __repr__(&self) -> String {
        let policy = &self.0.policy;
        format!(
            "Policy({} nodes, {} states, {} cuts, {} iterations, lower bound {})",
            policy.nodes.len(),
            policy.states.len(),
            policy.total_cuts(),
            policy.iterations,
            policy.lower_bound
        )
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.get_type().getattr("from_bytes")?, (slf.get().to_bytes(slf.py())?,)))
    }
}

impl From<StoredPolicy> for PyPolicy {
    fn from(policy: StoredPolicy) -> Self {
        Self(Arc::new(policy))
    }
}

impl PyPolicy {
    /// The node of an index, which may count from the end, or of a name.
    fn node(&self, stage: &Bound<'_, PyAny>) -> PyResult<usize> {
        let nodes = &self.0.policy.nodes;
        if let Ok(name) = stage.extract::<String>() {
            let found = nodes.iter().position(|node| node.name == name);
            return found.ok_or_else(|| unknown("node", &name, &self.nodes())).into_python(stage.py());
        }
        let index: i64 = stage.extract()?;
        let from_start = if index < 0 { index + nodes.len() as i64 } else { index };
        let node = usize::try_from(from_start).ok().filter(|&node| node < nodes.len());
        node.ok_or_else(|| {
            let message = format!("the policy has {} stages", nodes.len());
            Error::new(ErrorKind::MissingReference, message).with("stage", index)
        })
        .into_python(stage.py())
    }

    /// Values in the order of the states, from a mapping by name or a sequence.
    fn state_values(&self, state: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
        if !state.hasattr("keys")? {
            return state.extract();
        }
        let names = self.states();
        let mut values: Vec<Option<f64>> = vec![None; names.len()];
        for item in state.call_method0("items")?.try_iter()? {
            let (name, value): (String, f64) = item?.extract()?;
            let position = names.iter().position(|known| *known == name);
            let position = position.ok_or_else(|| unknown("state", &name, &names)).into_python(state.py())?;
            values[position] = Some(value);
        }
        let missing: Vec<_> =
            names.iter().zip(&values).filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        if missing.is_empty() {
            return Ok(values.into_iter().flatten().collect());
        }
        let message = format!("no value given for {}", missing.join(", "));
        Err(Error::new(ErrorKind::CoverageMismatch, message)).into_python(state.py())
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let error = Error::new(ErrorKind::MissingReference, format!("the policy has no {what} {name:?}"));
    match suggest(name, known.iter().copied()) {
        Some(similar) => error.suggesting(format!("did you mean {similar:?}?")),
        None => error,
    }
}
