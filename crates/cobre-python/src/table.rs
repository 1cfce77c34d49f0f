//! Tables that any Arrow library of Python reads without copies.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, UInt64Type};
use arrow::error::ArrowError;
use cobre::Table;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyCapsule, PyDict, PyFloat, PyInt, PyList, PyString, PyType};
use pyo3_arrow::ffi::{ArrayIterator, to_schema_pycapsule, to_stream_pycapsule};
use pyo3_arrow::input::AnyRecordBatch;

use crate::error::IntoPython;

/// An immutable table.
#[pyclass(name = "Table", module = "cobre._core", frozen)]
pub(crate) struct PyTable(Table);

impl From<Table> for PyTable {
    fn from(table: Table) -> Self {
        Self(table)
    }
}

#[pymethods]
impl PyTable {
    #[classmethod]
    fn from_arrow(_: &Bound<'_, PyType>, data: AnyRecordBatch) -> PyResult<Self> {
        let (batches, schema) = data.into_table()?.into_inner();
        Ok(Self(Table { schema, batches }))
    }

    #[classmethod]
    fn from_columns(_: &Bound<'_, PyType>, columns: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut fields = Vec::new();
        let mut arrays = Vec::new();
        for item in columns.call_method0("items")?.try_iter()? {
            let (name, values): (String, Vec<Bound<'_, PyAny>>) = item?.extract()?;
            let array = array_from(&name, &values)?;
            fields.push(Field::new(name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(value_error)?;
        Ok(Self(Table { schema, batches: vec![batch] }))
    }

    #[classmethod]
    fn read_parquet(_: &Bound<'_, PyType>, py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| Table::read(&path)).map(Self).into_python(py)
    }

    fn write_parquet(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.0.write(&path)).into_python(py)
    }

    #[getter]
    fn num_rows(&self) -> usize {
        self.0.rows()
    }

    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.0.schema.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        let index = self.0.schema.index_of(name).map_err(|_| PyKeyError::new_err(name.to_owned()))?;
        self.column_at(py, index)
    }

    fn to_pydict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(py);
        for (index, field) in self.0.schema.fields().iter().enumerate() {
            columns.set_item(field.name(), self.column_at(py, index)?)?;
        }
        Ok(columns)
    }

    fn __len__(&self) -> usize {
        self.0.rows()
    }

    fn __eq__(&self, other: &Self) -> PyResult<bool> {
        let same = self.0.schema == other.0.schema && self.0.rows() == other.0.rows();
        Ok(same && (self.whole()? == other.whole()?))
    }

    fn __repr__(&self) -> String {
        let columns = self.column_names().join(", ");
        format!("Table({} rows: {columns})", self.0.rows())
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        Ok(to_schema_pycapsule(py, self.0.schema.as_ref())?)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyCapsule>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let field = Field::new_struct("", self.0.schema.fields().clone(), false);
        let field = Arc::new(field.with_metadata(self.0.schema.metadata().clone()));
        let arrays = self
            .0
            .batches
            .clone()
            .into_iter()
            .map(|batch| Ok(Arc::new(StructArray::from(batch)) as ArrayRef));
        Ok(to_stream_pycapsule(py, Box::new(ArrayIterator::new(arrays, field)), requested_schema)?)
    }

    #[classmethod]
    fn _from_bytes(_: &Bound<'_, PyType>, py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Table::from_bytes(data.to_vec()).map(Self).into_python(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let bytes = slf.get().0.to_bytes().into_python(slf.py())?;
        Ok((slf.get_type().getattr("_from_bytes")?, (PyBytes::new(slf.py(), &bytes),)))
    }
}

impl PyTable {
    fn whole(&self) -> PyResult<RecordBatch> {
        concat_batches(&self.0.schema, &self.0.batches).map_err(value_error)
    }

    fn column_at<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for batch in &self.0.batches {
            append(&list, batch.column(index))?;
        }
        Ok(list)
    }
}

/// Appends the values of an array to a list; what Python has no plain type for comes as text.
fn append(list: &Bound<'_, PyList>, array: &ArrayRef) -> PyResult<()> {
    let target = match array.data_type() {
        DataType::Boolean => DataType::Boolean,
        DataType::UInt64 => DataType::UInt64,
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_floating() => DataType::Float64,
        _ => DataType::Utf8,
    };
    let array = cast(array, &target).map_err(value_error)?;
    match target {
        DataType::Boolean => array.as_boolean().iter().try_for_each(|value| list.append(value)),
        DataType::UInt64 => {
            array.as_primitive::<UInt64Type>().iter().try_for_each(|value| list.append(value))
        }
        DataType::Int64 => array.as_primitive::<Int64Type>().iter().try_for_each(|value| list.append(value)),
        DataType::Float64 => {
            array.as_primitive::<Float64Type>().iter().try_for_each(|value| list.append(value))
        }
        _ => array.as_string::<i32>().iter().try_for_each(|value| list.append(value)),
    }
}

/// An array of the one type that all values have; whole numbers among real ones become real.
fn array_from(name: &str, values: &[Bound<'_, PyAny>]) -> PyResult<ArrayRef> {
    let present = || values.iter().filter(|value| !value.is_none());
    let is_number = |value: &Bound<'_, PyAny>| {
        !value.is_instance_of::<PyBool>()
            && (value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>())
    };
    if present().all(PyAnyMethods::is_instance_of::<PyBool>) && present().next().is_some() {
        return Ok(Arc::new(collect::<bool, BooleanArray>(values)?));
    }
    if present().all(is_number) {
        let whole = present().all(PyAnyMethods::is_instance_of::<PyInt>) && present().next().is_some();
        if whole {
            return Ok(Arc::new(collect::<i64, Int64Array>(values)?));
        }
        return Ok(Arc::new(collect::<f64, Float64Array>(values)?));
    }
    if present().all(PyAnyMethods::is_instance_of::<PyString>) {
        return Ok(Arc::new(collect::<String, StringArray>(values)?));
    }
    let message = format!("column {name:?} must hold values of one type: bool, int, float or str, or None");
    Err(PyTypeError::new_err(message))
}

fn collect<'py, T, A>(values: &[Bound<'py, PyAny>]) -> PyResult<A>
where
    T: for<'a> FromPyObject<'a, 'py>,
    A: FromIterator<Option<T>>,
{
    values.iter().map(|value| value.extract::<Option<T>>().map_err(Into::into)).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "for use in map_err")]
fn value_error(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}
