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
