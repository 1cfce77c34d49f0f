//! Sparse matrices by columns.

use crate::{Array, Movable};

/// A sparse matrix in compressed sparse column form.
///
/// Within a column the rows ascend; no position is stored twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csc {
    rows: usize,
    starts: Array<usize>,
    indices: Array<usize>,
    values: Array<f64>,
}

impl Csc {
    /// Builds a `rows × columns` matrix from `(row, column, value)` entries in any order.
    ///
    /// Entries at one position are added up. Explicit zeros are kept: noise may fill them.
    ///
    /// # Panics
    /// When an entry lies outside the matrix.
    pub fn from_triplets(rows: usize, columns: usize, mut entries: Vec<(usize, usize, f64)>) -> Self {
        entries.sort_by_key(|&(row, column, _)| (column, row));
        let (mut starts, mut indices, mut values): (Vec<usize>, Vec<usize>, Vec<f64>) = Default::default();
        starts.push(0);
        let mut previous = None;
        for (row, column, value) in entries {
            assert!(row < rows && column < columns, "entry ({row}, {column}) outside {rows} × {columns}");
            if previous == Some((row, column)) {
                *values.last_mut().expect("a previous entry exists") += value;
                continue;
            }
            while starts.len() <= column {
                starts.push(indices.len());
            }
            indices.push(row);
            values.push(value);
            previous = Some((row, column));
        }
        starts.resize(columns + 1, indices.len());
        Self { rows, starts: starts.into(), indices: indices.into(), values: values.into() }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Number of stored entries.
    pub fn entries(&self) -> usize {
        self.indices.len()
    }

    /// The `(row, value)` entries of a column, rows ascending.
    pub fn column(&self, column: usize) -> impl ExactSizeIterator<Item = (usize, f64)> + '_ {
        let range = self.starts[column]..self.starts[column + 1];
        self.indices[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// Replaces the value stored at a position; false when nothing is stored there.
    pub fn set(&mut self, row: usize, column: usize, value: f64) -> bool {
        let range = self.starts[column]..self.starts[column + 1];
        match self.indices[range.clone()].binary_search(&row) {
            Ok(offset) => {
                self.values.to_mut()[range.start + offset] = value;
                true
            }
            Err(_) => false,
        }
    }

    /// The value at a position, 0 where nothing is stored.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        let range = self.starts[column]..self.starts[column + 1];
        match self.indices[range.clone()].binary_search(&row) {
            Ok(offset) => self.values[range.start + offset],
            Err(_) => 0.0,
        }
    }

    /// Inner product of a column with a dense vector over the rows.
    pub fn dot(&self, column: usize, dense: &[f64]) -> f64 {
        self.column(column).map(|(row, value)| value * dense[row]).sum()
    }

    /// The `(row, value)` entries of all columns, first to last.
    pub fn all_columns(&self) -> impl ExactSizeIterator<Item = impl Iterator<Item = (usize, f64)> + '_> + '_ {
        let (starts, indices, values): (&[usize], &[usize], &[f64]) =
            (&self.starts, &self.indices, &self.values);
        starts.windows(2).map(move |ends| {
            let range = ends[0]..ends[1];
            indices[range.clone()].iter().copied().zip(values[range].iter().copied())
        })
    }

    /// The sequences it consists of.
    pub fn arrays_mut(&mut self) -> [&mut dyn Movable; 3] {
        [&mut self.starts, &mut self.indices, &mut self.values]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triplets_in_any_order_with_duplicates_and_empty_columns() {
        let matrix = Csc::from_triplets(3, 4, vec![(2, 3, 1.0), (0, 1, 2.0), (2, 1, 3.0), (0, 1, 0.5)]);
        assert_eq!((matrix.rows(), matrix.columns(), matrix.entries()), (3, 4, 3));
        assert_eq!(matrix.column(0).len(), 0);
        assert_eq!(matrix.column(1).collect::<Vec<_>>(), vec![(0, 2.5), (2, 3.0)]);
        assert_eq!(matrix.get(2, 3), 1.0);
        assert_eq!(matrix.get(1, 3), 0.0);
        assert_eq!(matrix.dot(1, &[1.0, 10.0, 100.0]), 302.5);
    }
}
