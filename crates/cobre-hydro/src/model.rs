//! The linear programs of a case.
//!
//! Water in hm3, flows in m3/s, power in MW, costs in $. With `k = hours · 3600 / 10^6` (hm3 per m3/s over a block)
//! the balance of a reservoir over a stage is
//!
//! ```text
//! v' + Σ_blocks k (turbined + spilled + diverted - arriving - withdrawal_short + withdrawal_excess)
//!    - Σ_blocks k · inflow_slack = v + Σ_blocks k (inflow - withdrawal)
//! ```
//!
//! and that of a bus in a block: generation + imports - exports + deficit - excess = load. Conventions: the
//! format's "LP conventions" (`case-format.md`).

mod hydro;
mod network;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::{Outcome, StageBuilder, StageLp};
use cobre_sddp::{Node, Opening, Problem, State, Trajectory};

use crate::stages::{Block, Stage};
use crate::system::System;

pub(crate) use hydro::HydroColumns;
pub(crate) use network::BusColumns;

/// What a column's cost is counted as in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CostClass {
    Thermal,
    Deficit,
    Excess,
    Exchange,
    Spillage,
    Diversion,
    Violation,
}

impl CostClass {
    /// Number of classes.
    pub(crate) const COUNT: usize = 7;
}

/// Where the columns and rows of a stage problem are.
#[derive(Clone, Debug, Default)]
pub(crate) struct StageLayout {
    /// By hydro.
    pub(crate) hydros: Vec<HydroColumns>,
    /// By thermal and block; `None` where the plant cannot run.
    pub(crate) thermals: Vec<Vec<Option<usize>>>,
    /// By line and block: direct and reverse flow.
    pub(crate) lines: Vec<Vec<[Option<usize>; 2]>>,
    /// By bus and block.
    pub(crate) buses: Vec<Vec<BusColumns>>,
    /// Columns that cost something, with the class of their cost.
    pub(crate) classes: Vec<(usize, CostClass)>,
}

/// What an outcome writes into a place of the stage problem.
#[derive(Clone, Copy, Debug)]
enum NoiseSource {
    /// Right-hand side of the balance of a hydro: volume per m3/s, inflow less this withdrawal in m3/s.
    Balance { hydro: usize, volume: f64, withdrawal: f64 },
    /// Right-hand side of the balance of a bus in a block.
    Load { bus: usize, block: usize },
    /// Upper bound of the slack of a hydro's inflow.
    InflowSlack { hydro: usize },
}

/// A stage problem being written.
struct StageModel<'a> {
    system: &'a System,
    /// Position of the stage.
    position: usize,
    stage: &'a Stage,
    builder: StageBuilder,
    layout: StageLayout,
    noisy_rows: Vec<NoiseSource>,
    noisy_columns: Vec<NoiseSource>,
}

/// The multistage stochastic program of a case, with the means to read its solutions.
#[derive(Clone, Debug)]
pub struct Model {
    /// The program: one node per stage, one state per hydro (`storage:<id>`, in hm3).
    pub problem: Problem,
    system: Arc<System>,
    layouts: Vec<StageLayout>,
}

impl Model {
    pub(crate) fn build(system: Arc<System>) -> Result<Self> {
        let mut nodes = Vec::new();
        let mut layouts = Vec::new();
        for position in 0..system.stages.entities.len() {
            let (node, layout) = StageModel::new(&system, position).finish()?;
            nodes.push(node);
            layouts.push(layout);
        }
        let stages = &system.stages.entities;
        let discounts: Vec<f64> = stages.iter().map(|stage| stage.discount).take(nodes.len() - 1).collect();
        set_cost_to_go_bounds(&mut nodes, &discounts)?;
        let state = |hydro: &crate::hydros::Hydro| State {
            name: format!("storage:{}", hydro.id),
            initial: system.initial_storage[&hydro.id],
        };
        let states = system.hydros.entities.iter().map(state).collect();
        let problem = Problem::chain(states, nodes, &discounts, stages[0].risk)?;
        Ok(Self { problem, system, layouts })
    }

    /// The tables that [`tables`](Self::tables) gives, with their columns, also for no trajectory at all.
    pub fn schemas() -> Vec<(&'static str, SchemaRef)> {
        crate::results::SPECS.iter().map(|spec| (spec.name, spec.schema())).collect()
    }

    /// Simulated trajectories as tables `costs`, `hydros`, `thermals`, `buses` and `lines`.
    ///
    /// Rows are ordered by trajectory, stage, block and entity. Ids are `Int32`, values `Float64` with units in the
    /// column names. The water value is what one more hm3 in the reservoir would save, in $; the marginal cost of a
    /// bus what one more `MWh` of load would cost. Both come from the duals of the stage problem.
    ///
    /// # Errors
    /// [`ErrorKind::IncompatibleRuns`] when a trajectory is not one of this model.
    pub fn tables(&self, trajectories: &[Trajectory]) -> Result<Vec<(&'static str, RecordBatch)>> {
        crate::results::tables(&self.system, &self.problem, &self.layouts, trajectories)
    }
}

impl<'a> StageModel<'a> {
    fn new(system: &'a System, position: usize) -> Self {
        let stage = &system.stages.entities[position];
        let builder = StageBuilder::new(system.hydros.entities.len());
        let layout = StageLayout::default();
        Self { system, position, stage, builder, layout, noisy_rows: Vec::new(), noisy_columns: Vec::new() }
    }

    fn finish(mut self) -> Result<(Node, StageLayout)> {
        self.write_hydros();
        self.write_network();
        let probability = 1.0 / self.stage.openings as f64;
        let opening = |index| Opening { probability, outcome: self.outcome(index) };
        let openings = (0..self.stage.openings).map(opening).collect();
        let node = Node {
            name: format!("stage {}", self.stage.id),
            stage: self.position,
            lp: Arc::new(self.builder.build()?),
            openings,
            children: Vec::new(),
            risk: self.stage.risk,
            cost_to_go_bound: 0.0,
        };
        Ok((node, self.layout))
    }

    /// Adds a column from 0 to `upper` with a price per unit.
    fn priced(&mut self, name: String, upper: f64, cost: f64, class: CostClass) -> usize {
        let column = self.builder.column(name, 0.0, upper, cost);
        self.layout.classes.push((column, class));
        column
    }

    fn value(&self, source: NoiseSource, opening: usize) -> f64 {
        match source {
            NoiseSource::Balance { hydro, volume, withdrawal } => {
                volume * (self.system.inflow(self.position, opening, hydro) - withdrawal)
            }
            NoiseSource::Load { bus, block } => self.system.load(self.position, opening, bus, block),
            NoiseSource::InflowSlack { hydro } => {
                (-self.system.inflow(self.position, opening, hydro)).max(0.0)
            }
        }
    }

    /// The value of a source when it is the same in every opening.
    fn constant(&self, source: NoiseSource) -> Option<f64> {
        let first = self.value(source, 0);
        let same =
            (1..self.stage.openings).all(|opening| self.value(source, opening).to_bits() == first.to_bits());
        same.then_some(first)
    }

    /// Adds an equation whose right-hand side is noise, or a number when the noise does not move it.
    fn noisy_equation(&mut self, name: String, source: NoiseSource) -> usize {
        let constant = self.constant(source);
        let value = constant.unwrap_or(0.0);
        let row = self.builder.row(name, value, value);
        if constant.is_none() {
            self.builder.noisy_row(row);
            self.noisy_rows.push(source);
        }
        row
    }

    fn outcome(&self, opening: usize) -> Outcome {
        let equal = |source: &NoiseSource| {
            let value = self.value(*source, opening);
            [value, value]
        };
        let upper = |source: &NoiseSource| [0.0, self.value(*source, opening)];
        Outcome {
            rows: self.noisy_rows.iter().map(equal).collect(),
            columns: self.noisy_columns.iter().map(upper).collect(),
            ..Outcome::default()
        }
    }
}

/// A name such as `turbined[hydro 3, block 0]`.
fn block_name(what: &str, entity: &str, id: i32, block: &Block) -> String {
    format!("{what}[{entity} {id}, block {}]", block.id)
}

/// Sets the bound of every node: 0 where no future cost can be negative, else what the cheapest ends of all
/// columns of the later stages add up to, discounted.
fn set_cost_to_go_bounds(nodes: &mut [Node], discounts: &[f64]) -> Result<()> {
    let mut bound = 0.0;
    for position in (0..nodes.len()).rev() {
        nodes[position].cost_to_go_bound = bound;
        let cheapest = cheapest_cost(&nodes[position].lp);
        if !cheapest.is_finite() {
            let message =
                "future costs have no lower bound: a column with a negative cost has no upper bound";
            let error = Error::new(ErrorKind::IncompatibleSettings, message);
            return Err(error.with("node", nodes[position].name.as_str()));
        }
        let after = discounts.get(position).map_or(0.0, |discount| discount * bound);
        bound = (cheapest + after).min(0.0);
    }
    Ok(())
}

/// The sum of what each column costs at its cheaper end, counting only what is negative; in $.
fn cheapest_cost(stage: &StageLp) -> f64 {
    let columns = stage.col_cost.iter().zip(stage.col_lower.iter().zip(&stage.col_upper));
    let negative = |(cost, (lower, upper)): (&f64, (&f64, &f64))| {
        let ends = if *cost == 0.0 { 0.0 } else { (cost * lower).min(cost * upper) };
        ends.min(0.0)
    };
    columns.map(negative).sum()
}
