//! The order in which a node's openings are solved.

use std::ops::Range;

use crate::problem::Node;

/// Above this many openings one chain, begun at the first opening, serves every start: a chain per start would
/// take time and memory that grow with the cube and the square of the number.
const CHAIN_PER_START: usize = 128;

/// Chains through a node's openings in which each is followed by its nearest neighbour, so that a solver that
/// starts from the last basis has little to do.
#[derive(Clone, Debug)]
pub(crate) struct Chains(Vec<Vec<usize>>);

impl Chains {
    pub(crate) fn new(node: &Node) -> Self {
        let points = points(node);
        let starts = if points.len() <= CHAIN_PER_START { points.len() } else { 1 };
        Self((0..starts).map(|start| chain(&points, start)).collect())
    }

    /// A part of the chain through all openings that begins with `start`.
    pub(crate) fn part(&self, start: usize, part: Range<usize>) -> Vec<usize> {
        if let Some(own) = self.0.get(start).filter(|own| own[0] == start) {
            return own[part].to_vec();
        }
        let whole = &self.0[0];
        let place =
            whole.iter().position(|&opening| opening == start).expect("every opening is in the chain");
        part.map(|index| whole[(place + index) % whole.len()]).collect()
    }
}

/// Each opening's numbers, every coordinate scaled to a range of one.
fn points(node: &Node) -> Vec<Vec<f64>> {
    let mut points: Vec<Vec<f64>> = node
        .openings
        .iter()
        .map(|opening| {
            let outcome = &opening.outcome;
            let pairs = outcome.rows.iter().chain(&outcome.columns).flatten();
            let singles = outcome.costs.iter().chain(&outcome.matrix).chain(&outcome.incoming);
            pairs.chain(singles).map(|&value| if value.is_finite() { value } else { 0.0 }).collect()
        })
        .collect();
    for coordinate in 0..points[0].len() {
        let values = points.iter().map(|point| point[coordinate]);
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let range = most - least;
        for point in &mut points {
            point[coordinate] = if range > 0.0 { (point[coordinate] - least) / range } else { 0.0 };
        }
    }
    points
}

fn chain(points: &[Vec<f64>], start: usize) -> Vec<usize> {
    let mut left: Vec<usize> = (0..points.len()).filter(|&index| index != start).collect();
    let mut order = vec![start];
    while !left.is_empty() {
        let here = &points[order[order.len() - 1]];
        let distance =
            |index: usize| -> f64 { here.iter().zip(&points[index]).map(|(a, b)| (a - b) * (a - b)).sum() };
        let nearest = (0..left.len())
            .min_by(|&a, &b| distance(left[a]).total_cmp(&distance(left[b])))
            .expect("some opening is left");
        order.push(left.remove(nearest));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_follow_each_other() {
        let points: Vec<Vec<f64>> = [0.0, 10.0, 1.0, 9.0].iter().map(|&value| vec![value]).collect();
        assert_eq!(chain(&points, 0), [0, 2, 3, 1]);
        assert_eq!(chain(&points, 3), [3, 1, 2, 0]);
    }

    #[test]
    fn one_chain_serves_many_starts() {
        let chains = Chains(vec![vec![0, 2, 3, 1]]);
        assert_eq!(chains.part(0, 0..4), [0, 2, 3, 1]);
        assert_eq!(chains.part(3, 0..4), [3, 1, 0, 2]);
        assert_eq!(chains.part(3, 2..4), [0, 2]);
        let chains = Chains(vec![vec![0, 1], vec![1, 0]]);
        assert_eq!(chains.part(1, 0..2), [1, 0]);
    }
}
