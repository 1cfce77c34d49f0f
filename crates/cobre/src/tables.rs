//! Tables: in memory, as Parquet files, and those of a training.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use cobre_core::{Error, ErrorKind, Result};
use cobre_sddp::IterationRecord;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::ChunkReader;

use crate::atomic::AtomicFile;

/// A block of rows ends once it has this many: large enough to compress, small enough to hold.
const ROWS_PER_GROUP: usize = 100_000;

/// A table in memory: batches of one schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Names and types of the columns.
    pub schema: SchemaRef,
    /// The rows, in order.
    pub batches: Vec<RecordBatch>,
}

impl Table {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Reads a Parquet file.
    ///
    /// # Errors
    /// [`ErrorKind::OutputNotFound`], [`ErrorKind::OutputCorrupted`], with the path.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|error| read_failed(path, error))?;
        decode(file).map_err(|error| corrupted(path, "the file is no readable Parquet").caused_by(error))
    }

    /// Writes a Parquet file atomically; equal tables give equal bytes.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut writer = TableWriter::create(path, &self.schema)?;
        self.batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.finish()
    }

    /// The table as the bytes of a Parquet file.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] for a column type that Parquet has not.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let encode = || {
            let mut writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties()))?;
            self.batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.into_inner()
        };
        encode().map_err(|error: ParquetError| {
            Error::new(ErrorKind::CheckpointFailed, "the table could not be encoded").caused_by(error)
        })
    }

    /// The table of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`ErrorKind::OutputCorrupted`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        decode(bytes.into()).map_err(|error| {
            Error::new(ErrorKind::OutputCorrupted, "the bytes are no readable Parquet").caused_by(error)
        })
    }

    /// A table of one batch.
    pub(crate) fn of_columns(columns: Vec<(&str, ArrayRef)>) -> Result<Self> {
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| {
            Error::new(ErrorKind::InternalPanic, "the columns of a table do not fit together")
                .caused_by(error)
        })?;
        Ok(Self { schema: batch.schema(), batches: vec![batch] })
    }
}

/// A Parquet file written batch by batch, which appears when it is complete.
pub struct TableWriter {
    writer: ArrowWriter<AtomicFile>,
    path: PathBuf,
}

impl TableWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        let writer = ArrowWriter::try_new(AtomicFile::create(path)?, schema.clone(), Some(properties()))
            .map_err(|error| write_failed(path, error))?;
        Ok(Self { writer, path: path.to_owned() })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut append = || {
            self.writer.write(batch)?;
            if self.writer.in_progress_rows() >= ROWS_PER_GROUP { self.writer.flush() } else { Ok(()) }
        };
        append().map_err(|error| write_failed(&self.path, error))
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`ErrorKind::CheckpointFailed`] with the path.
    pub fn finish(self) -> Result<()> {
        let mut file = self.writer.into_inner().map_err(|error| write_failed(&self.path, error))?;
        file.flush().map_err(|error| crate::atomic::write_failed(&self.path, error))?;
        file.commit()
    }
}

/// One row per iteration, without what depends on the machine: no times, no rank or thread counts.
/// Figures that are not defined are null.
///
/// # Errors
/// None in practice: [`ErrorKind::InternalPanic`] for columns of unequal length.
pub fn convergence(records: &[IterationRecord]) -> Result<Table> {
    let count = |value: fn(&IterationRecord) -> u64| -> ArrayRef {
        Arc::new(records.iter().map(|record| Some(value(record) as i64)).collect::<Int64Array>())
    };
    let number = |value: fn(&IterationRecord) -> f64| -> ArrayRef {
        let defined = records.iter().map(|record| Some(value(record)).filter(|figure| !figure.is_nan()));
        Arc::new(defined.collect::<Float64Array>())
    };
    let mut table = Table::of_columns(vec![
        ("iteration", count(|record| record.iteration)),
        ("lower_bound", number(|record| record.lower_bound)),
        ("upper_bound", number(|record| record.upper_bound)),
        ("upper_bound_std", number(|record| record.upper_bound_std)),
        ("upper_bound_half_width", number(|record| record.upper_bound_half_width)),
        ("gap", number(|record| record.gap)),
        ("cuts_added", count(|record| record.cuts_added)),
        ("cuts_dropped", count(|record| record.cuts_dropped)),
        ("cuts_active", count(|record| record.cuts_active)),
        ("stage_solves", count(|record| record.stage_solves)),
        ("pivots", count(|record| record.pivots)),
        ("recoveries", count(|record| record.recoveries)),
    ])?;
    // The schema must not depend on whether a figure happens to be undefined.
    table.make_nullable(&["upper_bound", "upper_bound_std", "upper_bound_half_width", "gap"])?;
    Ok(table)
}

/// One row per iteration: seconds since training began, and milliseconds of the iteration itself.
///
/// # Errors
/// As [`convergence`].
pub fn timings(records: &[IterationRecord]) -> Result<Table> {
    let before = std::iter::once(0.0).chain(records.iter().map(|record| record.elapsed_secs));
    let times = records.iter().zip(before).map(|(record, before)| (record.elapsed_secs - before) * 1e3);
    Table::of_columns(vec![
        (
            "iteration",
            Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.iteration as i64))),
        ),
        (
            "elapsed_secs",
            Arc::new(Float64Array::from_iter_values(records.iter().map(|record| record.elapsed_secs))),
        ),
        ("iteration_time_ms", Arc::new(Float64Array::from_iter_values(times))),
    ])
}

impl Table {
    fn make_nullable(&mut self, names: &[&str]) -> Result<()> {
        let fields = self.schema.fields().iter().map(|field| {
            let nullable = field.is_nullable() || names.contains(&field.name().as_str());
            field.as_ref().clone().with_nullable(nullable)
        });
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        for batch in &mut self.batches {
            let columns = batch.columns().to_vec();
            *batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| {
                Error::new(ErrorKind::InternalPanic, "a column does not fit its table").caused_by(error)
            })?;
        }
        Ok(())
    }
}

/// The error of a file that is missing or cannot be read.
pub(crate) fn read_failed(path: &Path, error: std::io::Error) -> Error {
    let (kind, message) = if error.kind() == std::io::ErrorKind::NotFound {
        (ErrorKind::OutputNotFound, "the file does not exist")
    } else {
        (ErrorKind::OutputCorrupted, "the file could not be read")
    };
    Error::new(kind, message).with("path", path.display().to_string()).caused_by(error)
}

/// The error of a file that does not hold what it should.
pub(crate) fn corrupted(path: &Path, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::OutputCorrupted, message).with("path", path.display().to_string())
}

fn write_failed(path: &Path, error: ParquetError) -> Error {
    let error = match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => *source,
            Err(source) => std::io::Error::other(source),
        },
        other => std::io::Error::other(other),
    };
    crate::atomic::write_failed(path, error)
}

/// Nothing here may depend on the build or the time: files compare byte for byte.
fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("3 is a level of zstd");
    WriterProperties::builder()
        .set_created_by("cobre".to_owned())
        .set_compression(Compression::ZSTD(level))
        .build()
}

fn decode(input: impl ChunkReader + 'static) -> std::result::Result<Table, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(input)?;
    let schema = builder.schema().clone();
    let reader = builder.with_batch_size(1 << 16).build()?;
    let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Table { schema, batches })
}
