//! What a simulation saw along a path.

/// One simulated scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Scenario in global numbering.
    pub scenario: u64,
    /// Sum of the discounted stage costs, in $.
    pub cost: f64,
    /// The stages, first to last.
    pub steps: Vec<Step>,
}

/// One stage of a simulated scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The node.
    pub node: usize,
    /// The opening that was drawn.
    pub opening: usize,
    /// Product of the discounts of the arcs that led here.
    pub discount: f64,
    /// Cost of the stage itself, undiscounted, in $.
    pub stage_cost: f64,
    /// The policy's cost-to-go after the stage (θ), in $; 0 at the end.
    pub cost_to_go: f64,
    /// State at the beginning of the stage.
    pub incoming: Vec<f64>,
    /// Values of the stage problem's columns.
    pub primal: Vec<f64>,
    /// Marginal cost of each row's right-hand side (d objective / d bound), in $ per unit.
    pub row_duals: Vec<f64>,
}

impl Trajectory {
    /// Appends the trajectory as numbers, in which it travels between ranks. Indices are far below where a float has
    /// gaps.
    pub(crate) fn write(&self, numbers: &mut Vec<f64>) {
        numbers.extend([self.scenario as f64, self.cost, self.steps.len() as f64]);
        for step in &self.steps {
            numbers.extend([step.node as f64, step.opening as f64]);
            numbers.extend([step.discount, step.stage_cost, step.cost_to_go]);
            for values in [&step.incoming, &step.primal, &step.row_duals] {
                numbers.push(values.len() as f64);
                numbers.extend_from_slice(values);
            }
        }
    }

    /// The trajectories of numbers that [`write`](Self::write) made.
    pub(crate) fn read_all(numbers: &[f64]) -> Vec<Self> {
        let mut numbers = Numbers(numbers);
        let mut all = Vec::new();
        while !numbers.0.is_empty() {
            let (scenario, cost) = (numbers.index() as u64, numbers.value());
            let steps = (0..numbers.index()).map(|_| Step {
                node: numbers.index(),
                opening: numbers.index(),
                discount: numbers.value(),
                stage_cost: numbers.value(),
                cost_to_go: numbers.value(),
                incoming: numbers.values(),
                primal: numbers.values(),
                row_duals: numbers.values(),
            });
            all.push(Self { scenario, cost, steps: steps.collect() });
        }
        all
    }
}

struct Numbers<'a>(&'a [f64]);

impl Numbers<'_> {
    fn value(&mut self) -> f64 {
        let (first, rest) = self.0.split_first().expect("ranks send whole trajectories");
        self.0 = rest;
        *first
    }

    fn index(&mut self) -> usize {
        self.value() as usize
    }

    fn values(&mut self) -> Vec<f64> {
        let count = self.index();
        let (values, rest) = self.0.split_at(count);
        self.0 = rest;
        values.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trajectories_travel_as_numbers() {
        let step = |node: usize| Step {
            node,
            opening: 3,
            discount: 0.5,
            stage_cost: -0.0,
            cost_to_go: 7.25,
            incoming: vec![1.0; node],
            primal: vec![2.0, f64::MIN_POSITIVE],
            row_duals: vec![],
        };
        let sent = vec![
            Trajectory { scenario: 1 << 40, cost: 0.1, steps: vec![step(0), step(2)] },
            Trajectory { scenario: 0, cost: 1.0, steps: vec![] },
        ];
        let mut numbers = Vec::new();
        for trajectory in &sent {
            trajectory.write(&mut numbers);
        }
        assert_eq!(Trajectory::read_all(&numbers), sent);
        assert!(Trajectory::read_all(&[]).is_empty());
    }
}
