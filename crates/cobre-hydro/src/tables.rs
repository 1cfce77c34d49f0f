//! Tables of the case: Parquet or CSV, columns of ids and of numbers.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use cobre_core::ErrorKind;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::problems::{Place, Problems, did_you_mean};
use crate::reader::Range;

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ColumnKind {
    /// Whole numbers that fit an `i32`, of any width in the file.
    Id,
    /// Numbers.
    Real(Range),
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnRule {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: ColumnKind,
    /// A required column is there and has no empty cell.
    pub(crate) required: bool,
}

impl ColumnRule {
    /// A required column of ids.
    pub(crate) const fn id(name: &'static str) -> Self {
        Self { name, kind: ColumnKind::Id, required: true }
    }

    /// A required column of numbers.
    pub(crate) const fn real(name: &'static str, range: Range) -> Self {
        Self { name, kind: ColumnKind::Real(range), required: true }
    }

    /// The same column, which may be absent or have empty cells.
    pub(crate) const fn optional(self) -> Self {
        Self { required: false, ..self }
    }
}

/// A cell of a file before it is checked.
#[derive(Clone, Debug)]
enum Cell {
    Empty,
    Whole(i64),
    Real(f64),
    Text(String),
}

/// A table, checked column by column. Cells that were wrong are empty.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// File relative to the case directory.
    pub(crate) file: String,
    /// Number of rows.
    pub(crate) rows: usize,
    ids: BTreeMap<&'static str, Vec<Option<i32>>>,
    reals: BTreeMap<&'static str, Vec<Option<f64>>>,
}

impl Table {
    /// Reads a file's contents; `None` when they are no table at all.
    pub(crate) fn read(
        file: &str,
        contents: io::Result<Arc<[u8]>>,
        rules: &[ColumnRule],
        problems: &Problems,
    ) -> Option<Self> {
        let place = Place::file(file);
        let contents = contents.map_err(|error| error.to_string());
        let raw = match contents.and_then(|bytes| read_raw(file, bytes)) {
            Ok(raw) => raw,
            Err(error) => {
                problems.add(place.problem(ErrorKind::ParseError, "", error, "a Parquet or CSV table"));
                return None;
            }
        };
        let mut table =
            Self { file: file.to_owned(), rows: raw.rows, ids: BTreeMap::new(), reals: BTreeMap::new() };
        for (index, (name, _)) in raw.columns.iter().enumerate() {
            if raw.columns[..index].iter().any(|(other, _)| other == name) {
                problems.add(place.problem(
                    ErrorKind::SchemaViolation,
                    name,
                    "the column twice",
                    "each column once",
                ));
            } else if !rules.iter().any(|rule| rule.name == name) {
                let mut problem = place.problem(
                    ErrorKind::SchemaViolation,
                    name,
                    "an unknown column",
                    "a column of the format",
                );
                problem.suggestion = did_you_mean(name, rules.iter().map(|rule| rule.name));
                problems.add(problem);
            }
        }
        for rule in rules {
            match raw.columns.iter().find(|(name, _)| name == rule.name) {
                Some((_, cells)) => table.take(*rule, cells, problems),
                None if rule.required => {
                    problems.add(place.problem(
                        ErrorKind::SchemaViolation,
                        rule.name,
                        "no such column",
                        "the column",
                    ));
                }
                None => {}
            }
        }
        Some(table)
    }

    /// True when a file's contents are a table without rows.
    pub(crate) fn is_empty(file: &str, contents: Arc<[u8]>) -> bool {
        read_raw(file, contents).is_ok_and(|raw| raw.rows == 0)
    }

    fn take(&mut self, rule: ColumnRule, cells: &[Cell], problems: &Problems) {
        let add = |row: usize, kind: ErrorKind, value: String, expected: &str| {
            problems.add(self.place(row).problem(kind, rule.name, value, expected));
        };
        let words = match rule.kind {
            ColumnKind::Id => "a whole number",
            ColumnKind::Real(range) => range.words(),
        };
        let mut ids = Vec::new();
        let mut reals = Vec::new();
        for (row, cell) in cells.iter().enumerate() {
            let (mut id, mut real) = (None, None);
            match (cell, rule.kind) {
                (Cell::Empty, _) if rule.required => {
                    add(row, ErrorKind::SchemaViolation, "an empty cell".to_owned(), words);
                }
                (Cell::Empty, _) => {}
                (Cell::Whole(value), ColumnKind::Id) => {
                    id = i32::try_from(*value).ok();
                    if id.is_none() {
                        add(row, ErrorKind::OutOfRange, value.to_string(), "a whole number of 32 bits");
                    }
                }
                (Cell::Whole(_) | Cell::Real(_), ColumnKind::Real(range)) => {
                    let value = if let Cell::Real(value) = cell { *value } else { cell_as_f64(cell) };
                    real = range.holds(value).then_some(value);
                    if real.is_none() {
                        add(row, ErrorKind::OutOfRange, value.to_string(), words);
                    }
                }
                (Cell::Real(value), ColumnKind::Id) => {
                    add(row, ErrorKind::TypeMismatch, value.to_string(), words);
                }
                (Cell::Text(text), _) => add(row, ErrorKind::TypeMismatch, format!("\"{text}\""), words),
            }
            ids.push(id);
            reals.push(real);
        }
        match rule.kind {
            ColumnKind::Id => drop(self.ids.insert(rule.name, ids)),
            ColumnKind::Real(_) => drop(self.reals.insert(rule.name, reals)),
        }
    }

    /// Where a row stands.
    pub(crate) fn place(&self, row: usize) -> Place {
        Place::entity(&self.file, format!("row {}", row + 1))
    }

    /// An id of a row.
    pub(crate) fn id(&self, column: &str, row: usize) -> Option<i32> {
        self.ids.get(column).and_then(|cells| cells[row])
    }

    /// A number of a row.
    pub(crate) fn real(&self, column: &str, row: usize) -> Option<f64> {
        self.reals.get(column).and_then(|cells| cells[row])
    }
}

fn cell_as_f64(cell: &Cell) -> f64 {
    match cell {
        Cell::Whole(value) => *value as f64,
        Cell::Real(value) => *value,
        Cell::Empty | Cell::Text(_) => f64::NAN,
    }
}

struct RawTable {
    rows: usize,
    columns: Vec<(String, Vec<Cell>)>,
}

fn read_raw(file: &str, contents: Arc<[u8]>) -> Result<RawTable, String> {
    let csv = Path::new(file).extension().is_some_and(|extension| extension == "csv");
    if csv { read_csv(&contents) } else { read_parquet(contents) }
}

fn read_csv(contents: &[u8]) -> Result<RawTable, String> {
    let text = str::from_utf8(contents).map_err(|error| error.to_string())?;
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?;
    let mut columns: Vec<(String, Vec<Cell>)> =
        header.iter().map(|name| (name.to_owned(), Vec::new())).collect();
    let mut rows = 0;
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        rows += 1;
        for ((_, cells), text) in columns.iter_mut().zip(&record) {
            cells.push(csv_cell(text));
        }
    }
    Ok(RawTable { rows, columns })
}

fn csv_cell(text: &str) -> Cell {
    if text.is_empty() {
        return Cell::Empty;
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Cell::Whole(whole);
    }
    text.parse::<f64>().map_or_else(|_| Cell::Text(text.to_owned()), Cell::Real)
}

fn read_parquet(contents: Arc<[u8]>) -> Result<RawTable, String> {
    let contents = Bytes::from_owner(contents);
    let builder = ParquetRecordBatchReaderBuilder::try_new(contents).map_err(|error| error.to_string())?;
    let schema = builder.schema().clone();
    let reader = builder.build().map_err(|error| error.to_string())?;
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let batch = concat_batches(&schema, &batches).map_err(|error| error.to_string())?;
    let mut columns = Vec::new();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        columns.push((field.name().clone(), parquet_cells(array.as_ref())?));
    }
    Ok(RawTable { rows: batch.num_rows(), columns })
}

fn parquet_cells(array: &dyn Array) -> Result<Vec<Cell>, String> {
    let data_type = array.data_type();
    if data_type.is_integer() {
        let wide = cast(array, &DataType::Int64).map_err(|error| error.to_string())?;
        return Ok(wide
            .as_primitive::<Int64Type>()
            .iter()
            .map(|cell| cell.map_or(Cell::Empty, Cell::Whole))
            .collect());
    }
    if data_type.is_floating() {
        let wide = cast(array, &DataType::Float64).map_err(|error| error.to_string())?;
        let cells = wide.as_primitive::<Float64Type>().iter();
        return Ok(cells.map(|cell| cell.map_or(Cell::Empty, Cell::Real)).collect());
    }
    // A column that is empty from top to bottom may have no type of its own.
    let shown = data_type.to_string();
    let cell = |row| if array.is_null(row) { Cell::Empty } else { Cell::Text(shown.clone()) };
    let null = *data_type == DataType::Null;
    Ok((0..array.len()).map(|row| if null { Cell::Empty } else { cell(row) }).collect())
}
