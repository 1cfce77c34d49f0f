//! The cuts of one cost-to-go function.

use std::sync::Arc;

use crate::{Array, Memory, Movable};

/// A cut's position in its store's archive; stable for the life of the store.
pub type CutId = u32;

/// Where a cut came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutOrigin {
    /// Iteration that made the cut, 1-based.
    pub iteration: u32,
    /// Path whose trial point the cut is tight at, in global numbering.
    pub path: u32,
}

/// All cuts `θ ≥ intercept + Σ coefficient · state` of one node, in the order they were made.
///
/// The archive keeps every cut. Selection only changes which of them are *active*, that is, looked at by
/// [`separate`](Self::separate); ids never move, so bases that name a cut stay valid.
#[derive(Clone, Debug, Default)]
pub struct CutStore {
    states: usize,
    intercepts: Vec<f64>,
    /// Coefficients of the oldest cuts, which may lie in memory that others read too.
    settled: Array<f64>,
    /// Coefficients of the cuts after those.
    recent: Vec<f64>,
    origins: Vec<CutOrigin>,
    is_active: Vec<bool>,
    active: Vec<CutId>,
}

impl CutStore {
    /// An empty store for a number of states.
    pub fn new(states: usize) -> Self {
        Self { states, ..Self::default() }
    }

    /// Adds an active cut. `coefficients` has one value per state, in $ per unit; `intercept` is in $.
    ///
    /// # Panics
    /// When the number of coefficients is not the number of states.
    pub fn push(&mut self, intercept: f64, coefficients: &[f64], origin: CutOrigin) -> CutId {
        assert_eq!(coefficients.len(), self.states, "a cut has one coefficient per state");
        let id = self.intercepts.len() as CutId;
        self.intercepts.push(intercept);
        self.recent.extend_from_slice(coefficients);
        self.origins.push(origin);
        self.is_active.push(true);
        self.active.push(id);
        id
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.states
    }

    /// Number of cuts in the archive.
    pub fn len(&self) -> usize {
        self.intercepts.len()
    }

    /// True without any cut.
    pub fn is_empty(&self) -> bool {
        self.intercepts.is_empty()
    }

    /// Ids of the active cuts, ascending.
    pub fn active(&self) -> &[CutId] {
        &self.active
    }

    /// True when the cut is active.
    pub fn is_active(&self, id: CutId) -> bool {
        self.is_active[id as usize]
    }

    /// The cut's intercept, in $.
    pub fn intercept(&self, id: CutId) -> f64 {
        self.intercepts[id as usize]
    }

    /// The cut's coefficients, one per state, in $ per unit.
    pub fn coefficients(&self, id: CutId) -> &[f64] {
        let start = id as usize * self.states;
        match start.checked_sub(self.settled.len()) {
            Some(start) => &self.recent[start..start + self.states],
            None => &self.settled[start..start + self.states],
        }
    }

    /// Where the cut came from.
    pub fn origin(&self, id: CutId) -> CutOrigin {
        self.origins[id as usize]
    }

    /// The cut's value at a state, in $.
    pub fn height(&self, id: CutId, state: &[f64]) -> f64 {
        let slope: f64 =
            self.coefficients(id).iter().zip(state).map(|(coefficient, value)| coefficient * value).sum();
        self.intercept(id) + slope
    }

    /// The highest active cut at a state and its value in $; the older one of equals. `None` without active cuts.
    pub fn separate(&self, state: &[f64]) -> Option<(CutId, f64)> {
        let mut best: Option<(CutId, f64)> = None;
        for &id in &self.active {
            let height = self.height(id, state);
            if best.is_none_or(|(_, highest)| height > highest) {
                best = Some((id, height));
            }
        }
        best
    }

    /// Number of coefficients that lie in memory of this store's own.
    pub fn own_coefficients(&self) -> usize {
        self.recent.len() + if self.settled.is_lent() { 0 } else { self.settled.len() }
    }

    /// Forgets the cuts from `len` on, as if they had never been added.
    pub fn truncate(&mut self, len: usize) {
        self.intercepts.truncate(len);
        self.settled.truncate(len * self.states);
        self.recent.truncate((len * self.states).saturating_sub(self.settled.len()));
        self.origins.truncate(len);
        self.is_active.truncate(len);
        self.active.retain(|&id| (id as usize) < len);
    }

    /// Makes exactly the listed cuts active. `keep` has one flag per cut of the archive.
    ///
    /// # Panics
    /// When the number of flags is not the number of cuts.
    pub fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.len(), "one flag per cut");
        self.is_active.copy_from_slice(keep);
        self.active = (0..self.len() as CutId).filter(|&id| keep[id as usize]).collect();
    }
}

/// What is moved are the coefficients of all cuts up to now; cuts that are added later are the store's own.
impl Movable for CutStore {
    fn words(&self) -> usize {
        self.settled.len() + self.recent.len()
    }

    fn copy_into(&self, memory: &mut [u64]) {
        self.settled.copy_into(memory);
        let memory: &mut [f64] = bytemuck::cast_slice_mut(memory);
        memory[self.settled.len()..][..self.recent.len()].copy_from_slice(&self.recent);
    }

    fn lend(&mut self, memory: Arc<dyn Memory>, first: usize) {
        self.settled = Array::lent(memory, first, self.words());
        self.recent = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_survives_selection() {
        let origin = CutOrigin { iteration: 1, path: 0 };
        let mut cuts = CutStore::new(1);
        let low = cuts.push(0.0, &[1.0], origin);
        let high = cuts.push(10.0, &[-1.0], origin);
        assert_eq!(cuts.separate(&[2.0]), Some((high, 8.0)));
        assert_eq!(cuts.separate(&[5.0]), Some((low, 5.0)), "the older cut wins a tie");
        cuts.retain(&[true, false]);
        assert_eq!(cuts.separate(&[2.0]), Some((low, 2.0)));
        assert_eq!((cuts.len(), cuts.active()), (2, &[low][..]));
        assert_eq!(cuts.height(high, &[2.0]), 8.0);
    }

    #[test]
    fn cuts_in_lent_memory_are_read_truncated_and_followed_by_others() {
        let origin = CutOrigin { iteration: 1, path: 0 };
        let mut cuts = CutStore::new(2);
        let all: Vec<[f64; 2]> = (0..6).map(|cut| [f64::from(cut), -f64::from(cut)]).collect();
        let read = |cuts: &CutStore| -> Vec<Vec<f64>> {
            (0..cuts.len()).map(|id| cuts.coefficients(id as CutId).to_vec()).collect()
        };
        for (cut, coefficients) in all.iter().enumerate() {
            cuts.push(0.0, coefficients, origin);
            if cut % 2 == 1 {
                assert_eq!(cuts.own_coefficients(), 4);
                let mut words = vec![0; cuts.words() + 1];
                cuts.copy_into(&mut words[1..]);
                cuts.lend(Arc::new(words), 1);
                assert_eq!(cuts.own_coefficients(), 0);
            }
            assert_eq!(read(&cuts), all[..=cut]);
        }
        let mut other = cuts.clone();
        other.truncate(3);
        other.push(0.0, &all[3], origin);
        assert_eq!(read(&other), all[..4]);
        assert_eq!(read(&cuts), all);
    }
}
