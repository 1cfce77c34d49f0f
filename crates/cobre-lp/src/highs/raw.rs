//! A safe face for the few functions of HiGHS' C interface that are used.
//!
//! The only unsafe code of the crate. Every slice is checked against the size of the model before its pointer
//! leaves this file, and the model's size is known from what was passed in.

use std::ffi::{CString, c_void};

use cobre_core::{Error, ErrorKind, Result};
use highs_sys as ffi;

/// Basis statuses as HiGHS writes them.
pub(super) const BASIC: i32 = 1;
/// At the lower bound.
pub(super) const AT_LOWER: i32 = 0;
/// At the upper bound.
pub(super) const AT_UPPER: i32 = 2;
/// Free and nonbasic, at zero.
pub(super) const AT_ZERO: i32 = 3;

/// The version of the library, e.g. `1.15.0`.
pub(super) fn version() -> String {
    // SAFETY: the functions read constants.
    let [major, minor, patch] =
        unsafe { [ffi::Highs_versionMajor(), ffi::Highs_versionMinor(), ffi::Highs_versionPatch()] };
    format!("{major}.{minor}.{patch}")
}

/// What a run returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunStatus {
    Optimal,
    Infeasible,
    Unbounded,
    Other(i32),
}

/// One HiGHS object with its model.
pub(super) struct RawModel {
    highs: *mut c_void,
    columns: usize,
    rows: usize,
}

// SAFETY: the object is owned by this value alone, and HiGHS objects may be used from any one thread at a time.
unsafe impl Send for RawModel {}

impl Drop for RawModel {
    fn drop(&mut self) {
        // SAFETY: the pointer came from Highs_create and is not used again.
        unsafe { ffi::Highs_destroy(self.highs) }
    }
}

/// A linear program by columns, for [`RawModel::new`].
pub(super) struct Columns<'a> {
    pub(super) cost: &'a [f64],
    pub(super) lower: &'a [f64],
    pub(super) upper: &'a [f64],
    pub(super) starts: &'a [i32],
    pub(super) indices: &'a [i32],
    pub(super) values: &'a [f64],
}

fn check(what: &str, status: i32) -> Result<()> {
    // 0 is success, 1 a warning (for instance about tiny coefficients), -1 an error.
    if status >= 0 {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::SolverFailure, format!("HiGHS: {what} failed")))
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).expect("no zero byte is left")
}

impl RawModel {
    /// A model without names; silent, sequential.
    pub(super) fn new(columns: &Columns<'_>, row_lower: &[f64], row_upper: &[f64]) -> Result<Self> {
        let count = columns.cost.len();
        assert!(
            columns.lower.len() == count && columns.upper.len() == count && columns.starts.len() == count + 1
        );
        assert!(row_lower.len() == row_upper.len() && columns.indices.len() == columns.values.len());
        assert!(columns.indices.iter().all(|&row| (row as usize) < row_lower.len()));
        // SAFETY: no argument; the result is checked.
        let highs = unsafe { ffi::Highs_create() };
        if highs.is_null() {
            return Err(Error::new(ErrorKind::SolverFailure, "HiGHS could not be created"));
        }
        let mut model = Self { highs, columns: count, rows: row_lower.len() };
        model.set_bool("output_flag", false)?;
        // SAFETY: all lengths were checked above; HiGHS copies the data.
        let status = unsafe {
            ffi::Highs_passLp(
                highs,
                count as i32,
                model.rows as i32,
                columns.indices.len() as i32,
                ffi::MATRIX_FORMAT_COLUMN_WISE,
                ffi::OBJECTIVE_SENSE_MINIMIZE,
                0.0,
                columns.cost.as_ptr(),
                columns.lower.as_ptr(),
                columns.upper.as_ptr(),
                row_lower.as_ptr(),
                row_upper.as_ptr(),
                columns.starts.as_ptr(),
                columns.indices.as_ptr(),
                columns.values.as_ptr(),
            )
        };
        check("passing the model", status)?;
        Ok(model)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn set_bool(&mut self, option: &str, value: bool) -> Result<()> {
        // SAFETY: the string lives to the end of the call.
        check(option, unsafe {
            ffi::Highs_setBoolOptionValue(self.highs, c_string(option).as_ptr(), i32::from(value))
        })
    }

    pub(super) fn set_int(&mut self, option: &str, value: i32) -> Result<()> {
        // SAFETY: as above.
        check(option, unsafe { ffi::Highs_setIntOptionValue(self.highs, c_string(option).as_ptr(), value) })
    }

    pub(super) fn set_float(&mut self, option: &str, value: f64) -> Result<()> {
        // SAFETY: as above.
        check(option, unsafe {
            ffi::Highs_setDoubleOptionValue(self.highs, c_string(option).as_ptr(), value)
        })
    }

    pub(super) fn set_text(&mut self, option: &str, value: &str) -> Result<()> {
        let (name, value) = (c_string(option), c_string(value));
        // SAFETY: as above.
        check(option, unsafe { ffi::Highs_setStringOptionValue(self.highs, name.as_ptr(), value.as_ptr()) })
    }

    /// Sets the bounds of the rows `first..first + lower.len()`.
    pub(super) fn set_row_bounds(&mut self, first: usize, lower: &[f64], upper: &[f64]) {
        assert!(lower.len() == upper.len() && first + lower.len() <= self.rows);
        if lower.is_empty() {
            return;
        }
        let (from, to) = (first as i32, (first + lower.len() - 1) as i32);
        // SAFETY: the range and the lengths were checked; the function fails only for values that are not numbers.
        unsafe { ffi::Highs_changeRowsBoundsByRange(self.highs, from, to, lower.as_ptr(), upper.as_ptr()) };
    }

    pub(super) fn set_column_bounds(&mut self, column: usize, lower: f64, upper: f64) {
        assert!(column < self.columns);
        // SAFETY: the column was checked.
        unsafe { ffi::Highs_changeColBounds(self.highs, column as i32, lower, upper) };
    }

    pub(super) fn set_cost(&mut self, column: usize, cost: f64) {
        assert!(column < self.columns);
        // SAFETY: the column was checked.
        unsafe { ffi::Highs_changeColCost(self.highs, column as i32, cost) };
    }

    pub(super) fn set_coefficient(&mut self, row: usize, column: usize, value: f64) {
        assert!(row < self.rows && column < self.columns);
        // SAFETY: the position was checked.
        unsafe { ffi::Highs_changeCoeff(self.highs, row as i32, column as i32, value) };
    }

    /// Appends the row `lower ≤ Σ values · columns`.
    pub(super) fn add_row(&mut self, lower: f64, indices: &[i32], values: &[f64]) -> Result<()> {
        assert!(
            indices.len() == values.len() && indices.iter().all(|&column| (column as usize) < self.columns)
        );
        // SAFETY: indices and lengths were checked; HiGHS copies the data.
        let status = unsafe {
            let count = indices.len() as i32;
            ffi::Highs_addRow(self.highs, lower, f64::INFINITY, count, indices.as_ptr(), values.as_ptr())
        };
        check("adding a row", status)?;
        self.rows += 1;
        Ok(())
    }

    /// Deletes the rows from `first` on.
    pub(super) fn truncate_rows(&mut self, first: usize) -> Result<()> {
        if first >= self.rows {
            return Ok(());
        }
        // SAFETY: the range is not empty and lies inside the model.
        let status = unsafe { ffi::Highs_deleteRowsByRange(self.highs, first as i32, self.rows as i32 - 1) };
        check("deleting rows", status)?;
        self.rows = first;
        Ok(())
    }

    /// Forgets basis, factor and solution.
    pub(super) fn clear_solver(&mut self) {
        // SAFETY: no argument besides the object.
        unsafe { ffi::Highs_clearSolver(self.highs) };
    }

    pub(super) fn set_basis(&mut self, columns: &[i32], rows: &[i32]) -> Result<()> {
        assert!(columns.len() == self.columns && rows.len() == self.rows);
        // SAFETY: the lengths were checked.
        check("setting a basis", unsafe { ffi::Highs_setBasis(self.highs, columns.as_ptr(), rows.as_ptr()) })
    }

    pub(super) fn basis(&self) -> (Vec<i32>, Vec<i32>) {
        let (mut columns, mut rows) = (vec![BASIC; self.columns], vec![BASIC; self.rows]);
        // SAFETY: the buffers have the size of the model.
        unsafe { ffi::Highs_getBasis(self.highs, columns.as_mut_ptr(), rows.as_mut_ptr()) };
        (columns, rows)
    }

    pub(super) fn run(&mut self) -> RunStatus {
        // SAFETY: no argument besides the object.
        let status = unsafe {
            ffi::Highs_run(self.highs);
            ffi::Highs_getModelStatus(self.highs)
        };
        match status {
            ffi::MODEL_STATUS_OPTIMAL | ffi::MODEL_STATUS_MODEL_EMPTY => RunStatus::Optimal,
            ffi::MODEL_STATUS_INFEASIBLE => RunStatus::Infeasible,
            ffi::MODEL_STATUS_UNBOUNDED => RunStatus::Unbounded,
            other => RunStatus::Other(other),
        }
    }

    /// Simplex iterations of the last run.
    pub(super) fn pivots(&self) -> u64 {
        let mut count = 0;
        // SAFETY: the string and the result live to the end of the call.
        unsafe {
            ffi::Highs_getIntInfoValue(self.highs, c"simplex_iteration_count".as_ptr(), &raw mut count);
        }
        u64::try_from(count).unwrap_or(0)
    }

    /// Copies column values and row duals into buffers that are resized to the model.
    pub(super) fn solution(&self, primal: &mut Vec<f64>, duals: &mut Vec<f64>) {
        primal.resize(self.columns, 0.0);
        duals.resize(self.rows, 0.0);
        let unused = std::ptr::null_mut();
        // SAFETY: the buffers have the size of the model; HiGHS skips null buffers.
        unsafe {
            ffi::Highs_getSolution(self.highs, primal.as_mut_ptr(), unused, unused, duals.as_mut_ptr())
        };
    }

    /// Indices of the rows of an irreducible infeasible subsystem; empty when HiGHS finds none.
    pub(super) fn conflicting_rows(&mut self) -> Vec<usize> {
        // 2: from the LP itself; the default looks at single rows only.
        if self.set_int("iis_strategy", 2).is_err() {
            return Vec::new();
        }
        let (mut column_count, mut row_count) = (0, 0);
        let mut columns = vec![0; self.columns];
        let mut rows = vec![0; self.rows];
        let (mut column_bounds, mut row_bounds) = (columns.clone(), rows.clone());
        let (mut column_status, mut row_status) = (columns.clone(), rows.clone());
        // SAFETY: every buffer has the size of the model, which is the most HiGHS writes.
        let status = unsafe {
            ffi::Highs_getIis(
                self.highs,
                &raw mut column_count,
                &raw mut row_count,
                columns.as_mut_ptr(),
                rows.as_mut_ptr(),
                column_bounds.as_mut_ptr(),
                row_bounds.as_mut_ptr(),
                column_status.as_mut_ptr(),
                row_status.as_mut_ptr(),
            )
        };
        if status < 0 {
            return Vec::new();
        }
        rows.truncate(usize::try_from(row_count).unwrap_or(0));
        rows.into_iter().filter_map(|row| usize::try_from(row).ok()).collect()
    }

    pub(super) fn set_names(&mut self, columns: &[String], rows: &[String]) {
        for (column, name) in columns.iter().enumerate().take(self.columns) {
            // SAFETY: the column exists and the string lives to the end of the call.
            unsafe { ffi::Highs_passColName(self.highs, column as i32, c_string(name).as_ptr()) };
        }
        for (row, name) in rows.iter().enumerate().take(self.rows) {
            // SAFETY: the row exists and the string lives to the end of the call.
            unsafe { ffi::Highs_passRowName(self.highs, row as i32, c_string(name).as_ptr()) };
        }
    }

    pub(super) fn write(&mut self, path: &str) -> Result<()> {
        // SAFETY: the string lives to the end of the call.
        check("writing the model", unsafe { ffi::Highs_writeModel(self.highs, c_string(path).as_ptr()) })
    }
}
