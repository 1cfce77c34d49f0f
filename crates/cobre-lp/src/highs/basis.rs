//! A basis with the cuts it names.

use cobre_core::{Error, ErrorKind, Result};

use crate::CutId;
use crate::solver::SolverState;

/// The basis that a solve ended in: a status per column and row of the model, and the tight cuts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    pub(super) columns: Vec<u8>,
    pub(super) rows: Vec<u8>,
    pub(super) cuts: Vec<(CutId, u8)>,
}

impl SolverState for Basis {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + self.columns.len() + self.rows.len() + 5 * self.cuts.len());
        for count in [self.columns.len(), self.rows.len(), self.cuts.len()] {
            bytes.extend((count as u32).to_le_bytes());
        }
        bytes.extend(&self.columns);
        bytes.extend(&self.rows);
        for (id, status) in &self.cuts {
            bytes.extend(id.to_le_bytes());
            bytes.push(*status);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        parse(bytes).ok_or_else(|| Error::new(ErrorKind::OutputCorrupted, "a basis has the wrong length"))
    }
}

fn parse(bytes: &[u8]) -> Option<Basis> {
    let (counts, rest) = bytes.split_at_checked(12)?;
    let count = |index: usize| -> Option<usize> {
        let word = counts.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(word.try_into().ok()?) as usize)
    };
    let (columns, rest) = rest.split_at_checked(count(0)?)?;
    let (rows, rest) = rest.split_at_checked(count(1)?)?;
    if rest.len() != count(2)?.checked_mul(5)? {
        return None;
    }
    let cuts = rest
        .chunks_exact(5)
        .map(|chunk| Some((CutId::from_le_bytes(chunk[..4].try_into().ok()?), chunk[4])))
        .collect::<Option<Vec<_>>>()?;
    Some(Basis { columns: columns.to_vec(), rows: rows.to_vec(), cuts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let basis = Basis { columns: vec![0, 1, 2], rows: vec![1], cuts: vec![(7, 0), (70_000, 1)] };
        let bytes = basis.to_bytes();
        assert_eq!(Basis::from_bytes(&bytes).unwrap(), basis);
        for length in 0..bytes.len() {
            let error = Basis::from_bytes(&bytes[..length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutputCorrupted);
        }
        assert!(Basis::from_bytes(&[255; 12]).is_err());
    }
}
