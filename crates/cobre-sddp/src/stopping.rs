//! When training ends.

/// One reason to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StoppingRule {
    /// After a number of iterations.
    IterationLimit(u64),
    /// After a number of seconds, checked at the end of each iteration.
    TimeLimit(f64),
    /// When the bound gained less than `tolerance` over the last `iterations`:
    /// `|LB_k - LB_{k-n}| / max(1, |LB_k|) < tolerance`.
    BoundStalling {
        /// The window n.
        iterations: u64,
        /// The relative gain below which the bound has stalled.
        tolerance: f64,
    },
}

/// How several rules combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StoppingMode {
    /// Stop as soon as one rule holds.
    #[default]
    Any,
    /// Stop when all rules hold at once.
    All,
}

/// Rules and how they combine. Without rules training runs until it is cancelled.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Stopping {
    /// The rules.
    pub rules: Vec<StoppingRule>,
    /// How they combine.
    pub mode: StoppingMode,
}

impl StoppingRule {
    /// The word used in results and files.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::IterationLimit(_) => "iteration_limit",
            Self::TimeLimit(_) => "time_limit",
            Self::BoundStalling { .. } => "bound_stalling",
        }
    }

    fn holds(&self, bounds: &[f64], elapsed_secs: f64) -> bool {
        match *self {
            Self::IterationLimit(limit) => bounds.len() as u64 >= limit,
            Self::TimeLimit(limit) => elapsed_secs >= limit,
            Self::BoundStalling { iterations, tolerance } => {
                let Some(&last) = bounds.last() else { return false };
                let window = iterations as usize;
                bounds.len() > window && {
                    let before = bounds[bounds.len() - 1 - window];
                    (last - before).abs() / last.abs().max(1.0) < tolerance
                }
            }
        }
    }
}

impl Stopping {
    /// The rule that ends training after the iteration whose bound is the last of `bounds`, if one does.
    /// With [`StoppingMode::All`] that is the last rule of the list.
    pub fn decide(&self, bounds: &[f64], elapsed_secs: f64) -> Option<&StoppingRule> {
        match self.mode {
            StoppingMode::Any => self.rules.iter().find(|rule| rule.holds(bounds, elapsed_secs)),
            StoppingMode::All => {
                self.rules.iter().all(|rule| rule.holds(bounds, elapsed_secs)).then(|| self.rules.last())?
            }
        }
    }

    /// The iteration limit, when one rule sets it and it alone ends training.
    pub fn iteration_limit(&self) -> Option<u64> {
        let limits = self.rules.iter().filter_map(|rule| match rule {
            StoppingRule::IterationLimit(limit) => Some(*limit),
            _ => None,
        });
        match self.mode {
            StoppingMode::Any => limits.min(),
            StoppingMode::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_and_all() {
        let rules = vec![
            StoppingRule::IterationLimit(3),
            StoppingRule::BoundStalling { iterations: 1, tolerance: 1e-3 },
        ];
        let any = Stopping { rules: rules.clone(), mode: StoppingMode::Any };
        let all = Stopping { rules, mode: StoppingMode::All };
        let reason =
            |stopping: &Stopping, bounds: &[f64]| stopping.decide(bounds, 0.0).map(StoppingRule::reason);
        assert_eq!(reason(&any, &[1.0]), None);
        assert_eq!(reason(&any, &[5.0, 5.0]), Some("bound_stalling"));
        assert_eq!(reason(&all, &[5.0, 5.0]), None);
        assert_eq!(reason(&any, &[1.0, 2.0, 3.0]), Some("iteration_limit"));
        assert_eq!(reason(&all, &[1.0, 3.0, 3.0]), Some("bound_stalling"));
        assert_eq!(reason(&Stopping::default(), &[1.0, 1.0]), None);
    }

    #[test]
    fn time_is_a_limit_too() {
        let stopping = Stopping { rules: vec![StoppingRule::TimeLimit(2.0)], mode: StoppingMode::Any };
        assert!(stopping.decide(&[1.0], 1.9).is_none());
        assert!(stopping.decide(&[1.0], 2.0).is_some());
    }
}
