//! Tables that leave the crate: columns of ids, of texts, of numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int32Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use cobre_core::Result;

use crate::case::table_defect;

/// The columns of a table: ids (`Int32`), then texts (`Utf8`), then numbers (`Float64`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableSpec {
    pub(crate) name: &'static str,
    pub(crate) ids: &'static [&'static str],
    pub(crate) texts: &'static [&'static str],
    pub(crate) values: &'static [&'static str],
}

impl TableSpec {
    /// The Arrow schema.
    pub(crate) fn schema(&self) -> SchemaRef {
        let field = |name: &&str, data_type: DataType| Field::new(*name, data_type, true);
        let ids = self.ids.iter().map(|name| field(name, DataType::Int32));
        let texts = self.texts.iter().map(|name| field(name, DataType::Utf8));
        let values = self.values.iter().map(|name| field(name, DataType::Float64));
        Arc::new(Schema::new(ids.chain(texts).chain(values).collect::<Vec<_>>()))
    }
}

/// A table being filled row by row.
#[derive(Debug)]
pub(crate) struct Rows {
    spec: TableSpec,
    ids: Vec<Vec<Option<i32>>>,
    texts: Vec<Vec<String>>,
    values: Vec<Vec<Option<f64>>>,
}

impl Rows {
    /// A table without rows.
    pub(crate) fn new(spec: TableSpec) -> Self {
        let TableSpec { ids, texts, values, .. } = spec;
        let (ids, texts) = (vec![Vec::new(); ids.len()], vec![Vec::new(); texts.len()]);
        Self { spec, ids, texts, values: vec![Vec::new(); values.len()] }
    }

    /// Adds a row; a number that is not finite becomes an empty cell.
    pub(crate) fn push<const I: usize, const V: usize>(
        &mut self,
        ids: [Option<i32>; I],
        texts: &[&str],
        values: [f64; V],
    ) {
        debug_assert_eq!((I, texts.len(), V), (self.ids.len(), self.texts.len(), self.values.len()));
        for (column, id) in self.ids.iter_mut().zip(ids) {
            column.push(id);
        }
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.push((*text).to_owned());
        }
        for (column, value) in self.values.iter_mut().zip(values) {
            column.push(value.is_finite().then_some(value));
        }
    }

    /// The finished table with its name.
    pub(crate) fn finish(self) -> Result<(&'static str, RecordBatch)> {
        let ids = self.ids.into_iter().map(|column| Arc::new(Int32Array::from(column)) as ArrayRef);
        let texts = self.texts.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef);
        let values = self.values.into_iter().map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
        let columns = ids.chain(texts).chain(values).collect();
        let batch = RecordBatch::try_new(self.spec.schema(), columns).map_err(table_defect)?;
        Ok((self.spec.name, batch))
    }
}
