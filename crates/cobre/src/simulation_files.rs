//! The tables of a simulation, kept in memory or streamed into files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use cobre_core::Result;
use cobre_hydro::Model;
use cobre_sddp::Trajectory;

use crate::atomic;
use crate::tables::{Table, TableWriter};

/// Scenarios per block. A constant, so that files do not depend on how the engine hands scenarios over.
const SCENARIOS_PER_BLOCK: usize = 64;

/// The table of total costs that stands beside the model's tables.
const SCENARIOS: &str = "scenarios";

/// A table of a simulation.
#[derive(Clone, Debug)]
pub struct ResultTable {
    /// Name, and file name without extension.
    pub name: &'static str,
    /// Where its rows are.
    pub rows: ResultRows,
}

/// Where the rows of a result table are.
#[derive(Clone, Debug)]
pub enum ResultRows {
    /// In memory.
    Memory(Table),
    /// In a Parquet file.
    File(PathBuf),
}

impl ResultTable {
    /// The table, read from its file when it is in one.
    ///
    /// # Errors
    /// As [`Table::read`].
    pub fn read(&self) -> Result<Table> {
        match &self.rows {
            ResultRows::Memory(table) => Ok(table.clone()),
            ResultRows::File(path) => Table::read(path),
        }
    }
}

/// Turns trajectories into tables, block by block.
pub struct SimulationTables<'a> {
    model: &'a Model,
    pending: Vec<Trajectory>,
    sinks: Vec<(&'static str, Sink)>,
}

enum Sink {
    Memory(Table),
    File(Box<TableWriter>, PathBuf),
}

impl<'a> SimulationTables<'a> {
    /// Tables in `folder`, or in memory without one.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::CheckpointFailed`] when a file cannot be created.
    pub fn new(model: &'a Model, folder: Option<&Path>) -> Result<Self> {
        let mut sinks = Vec::new();
        for (name, empty) in all_tables(model, &[])? {
            let schema = empty.schema();
            let sink = match folder {
                None => Sink::Memory(Table { schema, batches: Vec::new() }),
                Some(folder) => {
                    let path = folder.join(format!("{name}.parquet"));
                    Sink::File(Box::new(TableWriter::create(&path, &schema)?), path)
                }
            };
            sinks.push((name, sink));
        }
        Ok(Self { model, pending: Vec::new(), sinks })
    }

    /// Takes whole scenarios in ascending order.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::CheckpointFailed`] when a file cannot be written.
    pub fn consume(&mut self, trajectories: Vec<Trajectory>) -> Result<()> {
        self.pending.extend(trajectories);
        while self.pending.len() >= SCENARIOS_PER_BLOCK {
            let later = self.pending.split_off(SCENARIOS_PER_BLOCK);
            let block = std::mem::replace(&mut self.pending, later);
            self.append(&block)?;
        }
        Ok(())
    }

    /// Completes the tables; files get their names.
    ///
    /// # Errors
    /// [`cobre_core::ErrorKind::CheckpointFailed`] when a file cannot be written.
    pub fn finish(mut self) -> Result<Vec<ResultTable>> {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.append(&rest)?;
        }
        let complete = |(name, sink)| {
            let rows = match sink {
                Sink::Memory(table) => ResultRows::Memory(table),
                Sink::File(writer, path) => {
                    writer.finish()?;
                    ResultRows::File(path)
                }
            };
            Ok(ResultTable { name, rows })
        };
        self.sinks.into_iter().map(complete).collect()
    }

    fn append(&mut self, block: &[Trajectory]) -> Result<()> {
        for ((_, batch), (_, sink)) in all_tables(self.model, block)?.into_iter().zip(&mut self.sinks) {
            match sink {
                Sink::Memory(table) => table.batches.push(batch),
                Sink::File(writer, _) => writer.write(&batch)?,
            }
        }
        Ok(())
    }
}

/// Removes what an earlier simulation left in a folder, its summary first: without one a simulation is incomplete.
///
/// # Errors
/// [`cobre_core::ErrorKind::CheckpointFailed`] with the path.
pub fn discard_earlier(folder: &Path) -> Result<()> {
    atomic::remove(&folder.join(SUMMARY))?;
    let entries = fs::read_dir(folder).map_err(|error| atomic::write_failed(folder, error))?;
    let tables = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    tables.into_iter().try_for_each(|path| atomic::remove(&path))
}

/// The file that says what a simulation found; written last.
pub const SUMMARY: &str = "summary.json";

fn all_tables(model: &Model, block: &[Trajectory]) -> Result<Vec<(&'static str, RecordBatch)>> {
    let mut tables = model.tables(block)?;
    let scenarios = Int64Array::from_iter_values(block.iter().map(|trajectory| trajectory.scenario as i64));
    let costs = Float64Array::from_iter_values(block.iter().map(|trajectory| trajectory.cost));
    let columns: Vec<(&str, arrow::array::ArrayRef)> =
        vec![("scenario_id", Arc::new(scenarios)), ("cost", Arc::new(costs))];
    tables.extend(Table::of_columns(columns)?.batches.into_iter().map(|batch| (SCENARIOS, batch)));
    Ok(tables)
}
