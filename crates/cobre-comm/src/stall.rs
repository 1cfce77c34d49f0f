//! Ranks that let others wait.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A collective that waits for ranks which live but do not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The operation that waits.
    pub operation: &'static str,
    /// How long it has waited.
    pub waited: Duration,
    /// The ranks that have not come.
    pub missing: Vec<usize>,
}

impl fmt::Display for Stall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.missing.iter().map(ToString::to_string).collect();
        let noun = if names.len() == 1 { "rank" } else { "ranks" };
        write!(formatter, "{} has waited {} s", self.operation, self.waited.as_secs())?;
        write!(formatter, " for {noun} {}", names.join(", "))
    }
}

/// What a backend calls with each [`Stall`], from the thread that waits.
pub type StallObserver = Arc<dyn Fn(&Stall) + Send + Sync>;

/// How long a collective waits before it tells a [`StallObserver`], and between two times it does, unless set
/// otherwise.
pub const STALL_NOTICE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_names_the_ranks() {
        let stall = Stall { operation: "barrier", waited: Duration::from_secs(61), missing: vec![2] };
        assert_eq!(stall.to_string(), "barrier has waited 61 s for rank 2");
        let stall = Stall { missing: vec![0, 3], ..stall };
        assert_eq!(stall.to_string(), "barrier has waited 61 s for ranks 0, 3");
    }
}
