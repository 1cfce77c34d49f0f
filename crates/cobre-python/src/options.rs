//! Keyword arguments of functions that have many.

use cobre_core::suggest;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Keyword arguments, taken one by one; what nobody takes is an error.
pub(crate) struct Options<'py> {
    given: Option<Bound<'py, PyDict>>,
    known: Vec<&'static str>,
}

impl<'py> Options<'py> {
    /// The keyword arguments of a call, `None` when there are none.
    pub(crate) fn new(given: Option<&Bound<'py, PyDict>>) -> PyResult<Self> {
        Ok(Self { given: given.map(PyDictMethods::copy).transpose()?, known: Vec::new() })
    }

    /// The option's value; `None` when it is not given or `None`.
    pub(crate) fn take<T: for<'a> FromPyObject<'a, 'py>>(
        &mut self,
        name: &'static str,
    ) -> PyResult<Option<T>> {
        self.known.push(name);
        let Some(given) = &self.given else { return Ok(None) };
        let Some(value) = given.get_item(name)? else { return Ok(None) };
        given.del_item(name)?;
        value.extract::<Option<T>>().map_err(|error| {
            let error: PyErr = error.into();
            PyTypeError::new_err(format!("{name}: {error}"))
        })
    }

    /// Refuses what is left, with the name that may have been meant.
    pub(crate) fn refuse_rest(self) -> PyResult<()> {
        let Some(name) = self.given.and_then(|given| given.keys().iter().next()) else { return Ok(()) };
        let name: String = name.extract()?;
        let similar = suggest(&name, self.known).map(|similar| format!("; did you mean {similar:?}?"));
        let message = format!("there is no option {name:?}{}", similar.unwrap_or_default());
        Err(PyTypeError::new_err(message))
    }
}
