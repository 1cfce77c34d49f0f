//! The two jobs as Python functions.

use std::path::PathBuf;
use std::sync::Arc;

use cobre::{Risk, SimulateRequest, Stopping, StoppingMode, StoppingRule, TrainRequest};
use cobre_core::{Error, ErrorKind, suggest};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::case::PyCase;
use crate::error::IntoPython;
use crate::options::Options;
use crate::policy::PyPolicy;
use crate::results::{PySimulationResult, PyTrainingResult};
use crate::run::{Surroundings, run};

/// Trains a policy; the stub `_core.pyi` lists the options.
#[pyfunction]
#[pyo3(
    signature = (case, **options),
    text_signature = "(case, *, seed=None, threads=None, risk=None, root_risk=None, stopping=None, \
                      stopping_mode='any', output_dir=None, checkpoint_every=None, resume=False, callback=None, \
                      backend=None, cancel=None, on_stall=None)"
)]
pub(crate) fn train(
    py: Python<'_>,
    case: &PyCase,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<PyTrainingResult> {
    let mut options = Options::new(options)?;
    let risk = |pair: (f64, f64)| Risk::ExpectationCvar { alpha: pair.0, weight: pair.1 };
    let mode: Option<String> = options.take("stopping_mode")?;
    let rules: Option<Vec<Bound<'_, PyTuple>>> = options.take("stopping")?;
    let request = TrainRequest {
        seed: options.take("seed")?,
        threads: options.take("threads")?,
        risk: options.take("risk")?.map(risk),
        root_risk: options.take("root_risk")?.map(risk),
        stopping: stopping(py, rules.as_deref(), mode.as_deref().unwrap_or("any"))?,
        output_dir: options.take::<PathBuf>("output_dir")?,
        checkpoint_every: options.take("checkpoint_every")?,
        resume: options.take("resume")?.unwrap_or_default(),
    };
    let surroundings = Surroundings::take(&mut options)?;
    options.refuse_rest()?;
    let case = Arc::clone(&case.case);
    run(py, &surroundings, move |job| cobre::train(&case, &request, job)).map(PyTrainingResult::from)
}

/// Simulates a policy; the stub `_core.pyi` lists the options.
#[pyfunction]
#[pyo3(
    signature = (case, policy, **options),
    text_signature = "(case, policy, *, scenarios=None, seed=None, threads=None, output_dir=None, callback=None, \
                      backend=None, cancel=None, on_stall=None)"
)]
pub(crate) fn simulate(
    py: Python<'_>,
    case: &PyCase,
    policy: &PyPolicy,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<PySimulationResult> {
    let mut options = Options::new(options)?;
    let request = SimulateRequest {
        scenarios: options.take("scenarios")?,
        seed: options.take("seed")?,
        threads: options.take("threads")?,
        output_dir: options.take::<PathBuf>("output_dir")?,
    };
    let surroundings = Surroundings::take(&mut options)?;
    options.refuse_rest()?;
    let (case, policy) = (Arc::clone(&case.case), Arc::clone(&policy.0));
    run(py, &surroundings, move |job| cobre::simulate(&case, &policy.policy, &request, job))
        .map(PySimulationResult::from)
}

fn stopping(py: Python<'_>, rules: Option<&[Bound<'_, PyTuple>]>, mode: &str) -> PyResult<Option<Stopping>> {
    let mode = match mode {
        "any" => Ok(StoppingMode::Any),
        "all" if rules.is_none() => {
            let message = "stopping_mode has a meaning only with stopping";
            Err(Error::new(ErrorKind::IncompatibleSettings, message).with("stopping_mode", mode))
        }
        "all" => Ok(StoppingMode::All),
        other => Err(unknown("stopping mode", other, &["any", "all"])),
    };
    let mode = mode.into_python(py)?;
    let Some(rules) = rules else { return Ok(None) };
    Ok(Some(Stopping { rules: rules.iter().map(stopping_rule).collect::<PyResult<_>>()?, mode }))
}

fn stopping_rule(rule: &Bound<'_, PyTuple>) -> PyResult<StoppingRule> {
    let name: String = rule.get_item(0)?.extract()?;
    match name.as_str() {
        "iteration_limit" => {
            let (_, limit): (String, u64) = rule.extract()?;
            Ok(StoppingRule::IterationLimit(limit))
        }
        "time_limit" => {
            let (_, seconds): (String, f64) = rule.extract()?;
            Ok(StoppingRule::TimeLimit(seconds))
        }
        "bound_stalling" => {
            let (_, iterations, tolerance): (String, u64, f64) = rule.extract()?;
            Ok(StoppingRule::BoundStalling { iterations, tolerance })
        }
        other => {
            let known = ["iteration_limit", "time_limit", "bound_stalling"];
            Err(unknown("stopping rule", other, &known)).into_python(rule.py())
        }
    }
}

fn unknown(what: &str, word: &str, known: &[&str]) -> Error {
    let message = format!("there is no {what} {word:?}, only {}", known.join(", "));
    let error = Error::new(ErrorKind::InvalidEnum, message);
    match suggest(word, known.iter().copied()) {
        Some(similar) => error.suggesting(format!("did you mean {similar:?}?")),
        None => error,
    }
}
