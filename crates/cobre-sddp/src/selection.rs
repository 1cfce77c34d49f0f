//! Which cuts stay active.

use cobre_lp::{CutId, CutStore};

use crate::checkpoint::TrialPoints;
use crate::options::{CutSelection, SelectionMethod};

/// Keeps the cuts that are highest at some trial point within memory; every cut of the archive competes, so one
/// that was put aside can come back.
pub(crate) fn select(
    cuts: &mut CutStore,
    points: &mut TrialPoints,
    iteration: u64,
    selection: &CutSelection,
) {
    if let Some(window) = selection.memory_window {
        points.retain(|(visited, _)| visited + u64::from(window) > iteration);
    }
    if points.is_empty() || cuts.is_empty() {
        return;
    }
    let mut keep = vec![false; cuts.len()];
    for (_, state) in &*points {
        let heights: Vec<f64> = (0..cuts.len() as CutId).map(|id| cuts.height(id, state)).collect();
        let highest = heights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let within = match selection.method {
            SelectionMethod::Level1 => highest - selection.tolerance * highest.abs().max(1.0),
            SelectionMethod::LimitedMemoryLevel1 => highest,
        };
        for (id, height) in heights.iter().enumerate() {
            if *height >= within {
                keep[id] = true;
                if selection.method == SelectionMethod::LimitedMemoryLevel1 {
                    break;
                }
            }
        }
    }
    cuts.retain(&keep);
}

#[cfg(test)]
mod tests {
    use cobre_lp::CutOrigin;

    use super::*;

    fn store() -> CutStore {
        let mut cuts = CutStore::new(1);
        let origin = CutOrigin { iteration: 1, path: 0 };
        for (intercept, slope) in [(0.0, 1.0), (1.0, 0.0), (0.0, 1.0), (-9.0, 1.0)] {
            cuts.push(intercept, &[slope], origin);
        }
        cuts
    }

    fn selection(method: SelectionMethod) -> CutSelection {
        CutSelection { method, check_frequency: 1, memory_window: Some(2), tolerance: 0.0 }
    }

    #[test]
    fn level_1_keeps_all_that_are_highest_and_lml1_the_oldest() {
        let mut points = vec![(1, vec![0.5]), (2, vec![3.0]), (3, vec![4.0])];
        let mut cuts = store();
        select(&mut cuts, &mut points.clone(), 2, &selection(SelectionMethod::Level1));
        assert_eq!(cuts.active(), [0, 1, 2]);
        select(&mut cuts, &mut points.clone(), 2, &selection(SelectionMethod::LimitedMemoryLevel1));
        assert_eq!(cuts.active(), [0, 1]);
        select(&mut cuts, &mut points, 3, &selection(SelectionMethod::LimitedMemoryLevel1));
        assert_eq!((cuts.active(), points.len()), (&[0][..], 2), "the point of iteration 1 is forgotten");
        points = vec![(4, vec![0.0])];
        select(&mut cuts, &mut points, 4, &selection(SelectionMethod::LimitedMemoryLevel1));
        assert_eq!(cuts.active(), [1], "a cut can come back");
    }
}
