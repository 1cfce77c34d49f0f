//! Simulated trajectories as tables.

use arrow::record_batch::RecordBatch;
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::StageLp;
use cobre_sddp::{Problem, Step, Trajectory};

use crate::model::{CostClass, StageLayout};
use crate::rows::{Rows, TableSpec};
use crate::stages::Stage;
use crate::system::System;

/// The tables, in the order in which they are given.
pub(crate) const SPECS: [TableSpec; 5] = [COSTS, HYDROS, THERMALS, BUSES, LINES];

const COSTS: TableSpec = TableSpec {
    name: "costs",
    ids: &["scenario_id", "stage_id", "opening_index"],
    texts: &[],
    values: &[
        "stage_cost",
        "cost_to_go",
        "discount_factor",
        "thermal_cost",
        "deficit_cost",
        "excess_cost",
        "exchange_cost",
        "spillage_cost",
        "diversion_cost",
        "violation_cost",
    ],
};

const HYDROS: TableSpec = TableSpec {
    name: "hydros",
    ids: &["scenario_id", "stage_id", "block_id", "hydro_id"],
    texts: &[],
    values: &[
        "storage_initial_hm3",
        "storage_final_hm3",
        "inflow_m3s",
        "turbined_m3s",
        "spilled_m3s",
        "diverted_m3s",
        "outflow_m3s",
        "generation_mw",
        "water_value_per_hm3",
        "storage_below_min_hm3",
        "turbined_below_min_m3s",
        "outflow_below_min_m3s",
        "outflow_above_max_m3s",
        "generation_below_min_mw",
        "withdrawal_below_m3s",
        "withdrawal_above_m3s",
        "inflow_slack_m3s",
    ],
};

const THERMALS: TableSpec = TableSpec {
    name: "thermals",
    ids: &["scenario_id", "stage_id", "block_id", "thermal_id"],
    texts: &[],
    values: &["generation_mw", "generation_cost"],
};

const BUSES: TableSpec = TableSpec {
    name: "buses",
    ids: &["scenario_id", "stage_id", "block_id", "bus_id"],
    texts: &[],
    values: &["load_mw", "deficit_mw", "excess_mw", "marginal_cost_per_mwh"],
};

const LINES: TableSpec = TableSpec {
    name: "lines",
    ids: &["scenario_id", "stage_id", "block_id", "line_id"],
    texts: &[],
    values: &["flow_mw", "direct_flow_mw", "reverse_flow_mw", "exchange_cost"],
};

/// One simulated stage with all that explains its columns.
struct View<'a> {
    system: &'a System,
    stage: &'a Stage,
    lp: &'a StageLp,
    layout: &'a StageLayout,
    step: &'a Step,
    scenario: i32,
}

/// The tables of some trajectories.
pub(crate) fn tables(
    system: &System,
    problem: &Problem,
    layouts: &[StageLayout],
    trajectories: &[Trajectory],
) -> Result<Vec<(&'static str, RecordBatch)>> {
    let mut tables = SPECS.map(Rows::new);
    for trajectory in trajectories {
        for step in &trajectory.steps {
            check(problem, step)?;
            let view = View {
                system,
                stage: &system.stages.entities[step.node],
                lp: &problem.nodes[step.node].lp,
                layout: &layouts[step.node],
                step,
                scenario: trajectory.scenario as i32,
            };
            view.costs(&mut tables[0]);
            for block in 0..view.stage.blocks.len() {
                view.hydros(&mut tables[1], block);
                view.thermals(&mut tables[2], block);
                view.buses(&mut tables[3], block);
                view.lines(&mut tables[4], block);
            }
        }
    }
    tables.into_iter().map(Rows::finish).collect()
}

fn check(problem: &Problem, step: &Step) -> Result<()> {
    let fits = problem.nodes.get(step.node).is_some_and(|node| {
        step.primal.len() == node.lp.columns()
            && step.row_duals.len() == node.lp.rows()
            && step.incoming.len() == node.lp.states()
            && step.opening < node.openings.len()
    });
    if fits {
        return Ok(());
    }
    let error = Error::new(ErrorKind::IncompatibleRuns, "a trajectory does not belong to this model");
    Err(error.with("node", step.node))
}

impl View<'_> {
    fn at(&self, column: Option<usize>) -> f64 {
        column.map_or(0.0, |column| self.step.primal[column])
    }

    fn cost(&self, column: Option<usize>) -> f64 {
        column.map_or(0.0, |column| self.lp.col_cost[column] * self.step.primal[column])
    }

    fn ids(&self, block: usize, entity: i32) -> [Option<i32>; 4] {
        [Some(self.scenario), Some(self.stage.id), Some(self.stage.blocks[block].id), Some(entity)]
    }

    fn costs(&self, rows: &mut Rows) {
        let mut sums = [0.0; CostClass::COUNT];
        for &(column, class) in &self.layout.classes {
            sums[class as usize] += self.cost(Some(column));
        }
        let [thermal, deficit, excess, exchange, spillage, diversion, violation] = sums;
        let Step { stage_cost, cost_to_go, discount, opening, .. } = *self.step;
        let ids = [Some(self.scenario), Some(self.stage.id), Some(opening as i32)];
        let totals = [stage_cost, cost_to_go, discount];
        let values = [
            totals[0], totals[1], totals[2], thermal, deficit, excess, exchange, spillage, diversion,
            violation,
        ];
        rows.push(ids, &[], values);
    }

    fn hydros(&self, rows: &mut Rows, block: usize) {
        for (index, (hydro, columns)) in
            self.system.hydros.entities.iter().zip(&self.layout.hydros).enumerate()
        {
            let flows = &columns.blocks[block];
            let turbined = self.at(flows.turbined);
            let spilled = self.at(Some(flows.spilled));
            let values = [
                self.step.incoming[index],
                self.at(Some(columns.storage)),
                self.system.inflow(self.step.node, self.step.opening, index),
                turbined,
                spilled,
                self.at(flows.diverted),
                turbined + spilled,
                hydro.productivity * turbined,
                // One more hm3 on the right-hand side lowers the cost: the dual of the balance is negative.
                -self.step.row_duals[columns.balance],
                self.at(columns.storage_below),
                self.at(flows.turbined_below),
                self.at(flows.outflow_below),
                self.at(flows.outflow_above),
                self.at(flows.generation_below),
                self.at(flows.withdrawal_below),
                self.at(flows.withdrawal_above),
                self.at(columns.inflow_slack),
            ];
            rows.push(self.ids(block, hydro.id), &[], values);
        }
    }

    fn thermals(&self, rows: &mut Rows, block: usize) {
        for (thermal, columns) in self.system.thermals.entities.iter().zip(&self.layout.thermals) {
            let column = columns[block];
            rows.push(self.ids(block, thermal.id), &[], [self.at(column), self.cost(column)]);
        }
    }

    fn buses(&self, rows: &mut Rows, block: usize) {
        let hours = self.stage.blocks[block].hours;
        for (index, (bus, columns)) in self.system.buses.entities.iter().zip(&self.layout.buses).enumerate() {
            let columns = &columns[block];
            let values = [
                self.system.load(self.step.node, self.step.opening, index, block),
                columns.deficit.iter().map(|column| self.step.primal[*column]).sum(),
                self.step.primal[columns.excess],
                self.step.row_duals[columns.balance] / hours,
            ];
            rows.push(self.ids(block, bus.id), &[], values);
        }
    }

    fn lines(&self, rows: &mut Rows, block: usize) {
        for (line, columns) in self.system.lines.entities.iter().zip(&self.layout.lines) {
            let [direct, reverse] = columns[block];
            let (forth, back) = (self.at(direct), self.at(reverse));
            let cost = self.cost(direct) + self.cost(reverse);
            rows.push(self.ids(block, line.id), &[], [forth - back, forth, back, cost]);
        }
    }
}
