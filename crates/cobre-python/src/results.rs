//! Results in Python.

use std::sync::Arc;

use cobre::{SimulationResult, TrainingResult, tables};
use cobre_core::Result;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;

use crate::error::IntoPython;
use crate::policy::PyPolicy;
use crate::run::Ran;
use crate::table::PyTable;

/// A training that ended by a stopping rule.
#[pyclass(name = "TrainingResult", module = "cobre._core", frozen)]
pub(crate) struct PyTrainingResult {
    result: TrainingResult,
    backend: Option<&'static str>,
    rank: usize,
}

impl From<Ran<TrainingResult>> for PyTrainingResult {
    fn from(Ran { outcome: result, backend, rank }: Ran<TrainingResult>) -> Self {
        Self { result, backend, rank }
    }
}

#[pymethods]
impl PyTrainingResult {
    #[getter]
    fn policy(&self) -> PyPolicy {
        PyPolicy(Arc::clone(&self.result.policy))
    }

    #[getter]
    fn iterations(&self) -> usize {
        self.result.convergence.len()
    }

    #[getter]
    fn final_lower_bound(&self) -> f64 {
        self.result.lower_bound()
    }

    #[getter]
    fn final_upper_bound(&self) -> f64 {
        self.result.last().map_or(f64::NAN, |record| record.upper_bound)
    }

    #[getter]
    fn final_upper_bound_half_width(&self) -> f64 {
        self.result.last().map_or(f64::NAN, |record| record.upper_bound_half_width)
    }

    #[getter]
    fn final_gap(&self) -> f64 {
        self.result.last().map_or(f64::NAN, |record| record.gap)
    }

    #[getter]
    fn termination_reason(&self) -> &'static str {
        self.result.termination.as_str()
    }

    #[getter]
    fn total_cuts(&self) -> usize {
        self.result.policy.policy.total_cuts()
    }

    #[getter]
    fn active_cuts(&self) -> usize {
        self.result.active_cuts()
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.result.seed
    }

    #[getter]
    fn threads(&self) -> usize {
        self.result.threads
    }

    #[getter]
    fn backend(&self) -> Option<&'static str> {
        self.backend
    }

    #[getter]
    fn rank(&self) -> usize {
        self.rank
    }

    #[getter]
    fn solves(&self) -> u64 {
        self.result.effort.solves
    }

    #[getter]
    fn pivots(&self) -> u64 {
        self.result.effort.pivots
    }

    #[getter]
    fn recoveries(&self) -> u64 {
        self.result.effort.recoveries
    }

    #[getter]
    fn elapsed_secs(&self) -> f64 {
        self.result.last().map_or(0.0, |record| record.elapsed_secs)
    }

    #[getter]
    fn output_dir(&self) -> Option<String> {
        self.result.output_dir.as_ref().map(|path| path.display().to_string())
    }

    #[getter]
    fn convergence(&self, py: Python<'_>) -> PyResult<PyTable> {
        tables::convergence(&self.result.convergence).map(PyTable::from).into_python(py)
    }

    #[getter]
    fn timings(&self, py: Python<'_>) -> PyResult<PyTable> {
        tables::timings(&self.result.convergence).map(PyTable::from).into_python(py)
    }

    fn __repr__(&self) -> String {
        let (iterations, bound) = (self.iterations(), self.final_lower_bound());
        format!("TrainingResult({iterations} iterations, lower bound {bound}, {})", self.termination_reason())
    }
}

/// A complete simulation.
#[pyclass(name = "SimulationResult", module = "cobre._core", frozen)]
pub(crate) struct PySimulationResult {
    result: SimulationResult,
    backend: Option<&'static str>,
    rank: usize,
}

impl From<Ran<SimulationResult>> for PySimulationResult {
    fn from(Ran { outcome: result, backend, rank }: Ran<SimulationResult>) -> Self {
        Self { result, backend, rank }
    }
}

#[pymethods]
impl PySimulationResult {
    #[getter]
    fn scenarios(&self) -> u64 {
        self.result.costs.scenarios
    }

    #[getter]
    fn mean_cost(&self) -> f64 {
        self.result.costs.mean_cost
    }

    #[getter]
    fn std_cost(&self) -> f64 {
        self.result.costs.std_cost
    }

    #[getter]
    fn half_width(&self) -> f64 {
        self.result.costs.half_width
    }

    #[getter]
    fn costs(&self) -> Vec<f64> {
        self.result.costs.costs.clone()
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.result.seed
    }

    #[getter]
    fn threads(&self) -> usize {
        self.result.threads
    }

    #[getter]
    fn backend(&self) -> Option<&'static str> {
        self.backend
    }

    #[getter]
    fn rank(&self) -> usize {
        self.rank
    }

    #[getter]
    fn solves(&self) -> u64 {
        self.result.effort.solves
    }

    #[getter]
    fn pivots(&self) -> u64 {
        self.result.effort.pivots
    }

    #[getter]
    fn recoveries(&self) -> u64 {
        self.result.effort.recoveries
    }

    #[getter]
    fn output_dir(&self) -> Option<String> {
        self.result.output_dir.as_ref().map(|path| path.display().to_string())
    }

    #[getter]
    fn table_names(&self) -> Vec<&'static str> {
        self.result.tables.iter().map(|table| table.name).collect()
    }

    fn table(&self, py: Python<'_>, name: &str) -> PyResult<PyTable> {
        let table = self.result.tables.iter().find(|table| table.name == name);
        let table = table.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        let read: Result<_> = py.detach(|| table.read());
        read.map(PyTable::from).into_python(py)
    }

    fn __repr__(&self) -> String {
        let costs = &self.result.costs;
        let (scenarios, mean, half) = (costs.scenarios, costs.mean_cost, costs.half_width);
        format!("SimulationResult({scenarios} scenarios, mean cost {mean} ± {half})")
    }
}
