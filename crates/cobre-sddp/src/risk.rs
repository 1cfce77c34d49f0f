//! Risk measures over the outcomes that can follow a node.

use cobre_core::{Error, ErrorKind, Result};

/// How the costs of the outcomes that can follow become one number.
///
/// The conditional value at risk of a cost Z is `min over u of u + E[max(Z - u, 0)] / alpha`: the mean of the
/// worst fraction `alpha` of outcomes (Rockafellar and Uryasev, 2000).
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Risk {
    /// The mean.
    #[default]
    Expectation,
    /// `(1 - weight) · mean + weight · CVaR_alpha`.
    ExpectationCvar {
        /// Worst fraction of outcomes, in (0, 1]; 1 is the mean.
        alpha: f64,
        /// Weight of the `CVaR`, in [0, 1]; 0 is the mean.
        weight: f64,
    },
}

impl Risk {
    /// True when the measure is the mean.
    pub fn is_expectation(&self) -> bool {
        match self {
            Self::Expectation => true,
            Self::ExpectationCvar { alpha, weight } => *alpha == 1.0 || *weight == 0.0,
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfRange`].
    pub fn validate(&self) -> Result<()> {
        if let Self::ExpectationCvar { alpha, weight } = *self {
            if !(alpha > 0.0 && alpha <= 1.0) {
                let error = Error::new(ErrorKind::OutOfRange, "the alpha of a CVaR must be in (0, 1]");
                return Err(error.with("alpha", alpha));
            }
            if !(0.0..=1.0).contains(&weight) {
                let error = Error::new(ErrorKind::OutOfRange, "the weight of a CVaR must be in [0, 1]");
                return Err(error.with("weight", weight));
            }
        }
        Ok(())
    }

    /// The probabilities under which the mean of the costs is the measure: its supporting density.
    ///
    /// `costs` and `probabilities` run over the same outcomes; outcomes of equal cost keep their order. Any
    /// density of the measure gives a valid cut, this one a cut that is tight.
    pub fn adjust(&self, costs: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let Self::ExpectationCvar { alpha, weight } = *self else { return probabilities.to_vec() };
        if self.is_expectation() {
            return probabilities.to_vec();
        }
        let mut order: Vec<usize> = (0..costs.len()).collect();
        order.sort_by(|&a, &b| costs[b].total_cmp(&costs[a]));
        let mut adjusted: Vec<f64> =
            probabilities.iter().map(|probability| (1.0 - weight) * probability).collect();
        let mut left = alpha;
        for index in order {
            let share = probabilities[index].min(left);
            adjusted[index] += weight * share / alpha;
            left -= share;
        }
        adjusted
    }

    /// The measure of the costs.
    pub fn evaluate(&self, costs: &[f64], probabilities: &[f64]) -> f64 {
        self.adjust(costs, probabilities)
            .iter()
            .zip(costs)
            .map(|(probability, cost)| probability * cost)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_worst_half_and_the_worst_quarter() {
        let costs = [1.0, 4.0, 2.0, 3.0];
        let quarter = [0.25; 4];
        let cvar = |alpha, weight| Risk::ExpectationCvar { alpha, weight }.evaluate(&costs, &quarter);
        assert_eq!(cvar(0.5, 1.0), 3.5);
        assert_eq!(cvar(0.25, 1.0), 4.0);
        assert_eq!(cvar(0.375, 1.0), (4.0 * 0.25 + 3.0 * 0.125) / 0.375);
        assert_eq!(cvar(1.0, 1.0), 2.5);
        assert_eq!(cvar(0.5, 0.5), 3.0);
    }

    proptest! {
        #[test]
        fn a_density_that_the_measure_supports(
            outcomes in prop::collection::vec((-100.0f64..100.0, 0.01f64..1.0), 1..12),
            alpha in 0.01f64..=1.0,
            weight in 0.0f64..=1.0,
        ) {
            let total: f64 = outcomes.iter().map(|outcome| outcome.1).sum();
            let probabilities: Vec<f64> = outcomes.iter().map(|outcome| outcome.1 / total).collect();
            let costs: Vec<f64> = outcomes.iter().map(|outcome| outcome.0).collect();
            let risk = Risk::ExpectationCvar { alpha, weight };
            let adjusted = risk.adjust(&costs, &probabilities);
            prop_assert!((adjusted.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(adjusted.iter().all(|&value| value >= 0.0));
            let value = risk.evaluate(&costs, &probabilities);
            let mean = Risk::Expectation.evaluate(&costs, &probabilities);
            let worst = costs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(value >= mean - 1e-9 && value <= worst + 1e-9);
            // The definition of the CVaR as a minimum over u, attained at one of the costs.
            let cvar = costs.iter().map(|&u| {
                u + costs.iter().zip(&probabilities).map(|(z, p)| p * (z - u).max(0.0)).sum::<f64>() / alpha
            }).fold(f64::INFINITY, f64::min);
            prop_assert!((value - ((1.0 - weight) * mean + weight * cvar)).abs() < 1e-7);
            // Translation equivariance and monotonicity.
            let moved: Vec<f64> = costs.iter().map(|cost| cost + 7.0).collect();
            prop_assert!((risk.evaluate(&moved, &probabilities) - value - 7.0).abs() < 1e-7);
        }
    }
}
