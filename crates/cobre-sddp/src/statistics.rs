//! Statistics of simulated costs.

/// Two-sided 95 % quantile of the standard normal distribution.
const NORMAL_95: f64 = 1.959_963_984_540_054;

/// Mean, spread and confidence of a sample, summed in the order of the scenarios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistics {
    pub(crate) mean: f64,
    /// Standard deviation with n - 1; NaN for one value.
    pub(crate) std: f64,
    /// Half width of the 95 % confidence interval of the mean, normal approximation; NaN for one value.
    pub(crate) half_width: f64,
}

impl Statistics {
    /// Of a sample that is not empty; `is_certain` says that the values have no spread to estimate.
    pub(crate) fn of(values: &[f64], is_certain: bool) -> Self {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        if is_certain {
            return Self { mean, std: 0.0, half_width: 0.0 };
        }
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        let std = if values.len() > 1 { (squares / (count - 1.0)).sqrt() } else { f64::NAN };
        Self { mean, std, half_width: NORMAL_95 * std / count.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_sample() {
        let statistics = Statistics::of(&[1.0, 2.0, 3.0, 4.0], false);
        assert_eq!(statistics.mean, 2.5);
        assert!((statistics.std - 1.290_994_448_735_805_6).abs() < 1e-15);
        assert!((statistics.half_width - 1.265_151_311_881_66).abs() < 1e-9);
        assert!(Statistics::of(&[1.0], false).std.is_nan());
        assert_eq!(Statistics::of(&[1.0], true).half_width, 0.0);
    }
}
