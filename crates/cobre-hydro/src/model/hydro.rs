//! Reservoirs, turbines and rivers.

use super::{CostClass, NoiseSource, StageModel, block_name};
use crate::hydros::{Hydro, HydroLimits};
use crate::penalties::HydroCosts;
use crate::stages::Block;

/// The columns of a hydro plant at a stage.
#[derive(Clone, Debug)]
pub(crate) struct HydroColumns {
    /// Storage at the end of the stage, in hm3.
    pub(crate) storage: usize,
    /// The row of the water balance.
    pub(crate) balance: usize,
    pub(crate) storage_below: Option<usize>,
    pub(crate) inflow_slack: Option<usize>,
    pub(crate) blocks: Vec<HydroBlock>,
}

/// The columns of a hydro plant in a block: m3/s, and MW for generation.
#[derive(Clone, Debug)]
pub(crate) struct HydroBlock {
    pub(crate) turbined: Option<usize>,
    pub(crate) spilled: usize,
    pub(crate) diverted: Option<usize>,
    pub(crate) turbined_below: Option<usize>,
    pub(crate) outflow_below: Option<usize>,
    pub(crate) outflow_above: Option<usize>,
    pub(crate) generation_below: Option<usize>,
    pub(crate) withdrawal_below: Option<usize>,
    pub(crate) withdrawal_above: Option<usize>,
}

impl StageModel<'_> {
    /// Writes the columns of all hydros, then their water balances, which need those of the plants upstream.
    pub(super) fn write_hydros(&mut self) {
        for index in 0..self.system.hydros.entities.len() {
            let columns = self.write_hydro(index);
            self.layout.hydros.push(columns);
        }
        for index in 0..self.system.hydros.entities.len() {
            self.write_arrivals(index);
        }
    }

    fn write_hydro(&mut self, index: usize) -> HydroColumns {
        let hydro = &self.system.hydros.entities[index];
        let limits = self.system.bounds.hydro(hydro, self.stage.id);
        let costs = self.system.bounds.hydro_costs(hydro, self.stage.id);
        let id = hydro.id;
        let storage = self.builder.column(format!("storage[hydro {id}]"), 0.0, limits.max_storage, 0.0);
        self.builder.outgoing(index, storage);
        let volume = self.stage.blocks.iter().map(Block::hm3_per_m3s).sum();
        let source = NoiseSource::Balance { hydro: index, volume, withdrawal: limits.withdrawal };
        let balance = self.noisy_equation(format!("balance[hydro {id}]"), source);
        self.builder.entry(balance, storage, 1.0);
        self.builder.incoming(balance, index, -1.0);
        let storage_below = (limits.min_storage > 0.0).then(|| {
            let name = format!("storage_below_min[hydro {id}]");
            let below = self.priced(name, limits.min_storage, costs.storage_below, CostClass::Violation);
            let row = self.builder.row(format!("min_storage[hydro {id}]"), limits.min_storage, f64::INFINITY);
            self.builder.entry(row, storage, 1.0);
            self.builder.entry(row, below, 1.0);
            below
        });
        let inflow_slack = self.write_inflow_slack(index, (balance, volume), &costs);
        let mut blocks = Vec::new();
        for block in &self.stage.blocks {
            let columns = self.write_flows(hydro, block, &limits, &costs);
            self.write_limits(hydro, block, &limits, &columns);
            let volume = block.hm3_per_m3s();
            let leaving =
                [columns.turbined, Some(columns.spilled), columns.diverted, columns.withdrawal_above];
            for column in leaving.into_iter().flatten() {
                self.builder.entry(balance, column, volume);
            }
            if let Some(column) = columns.withdrawal_below {
                self.builder.entry(balance, column, -volume);
            }
            blocks.push(columns);
        }
        HydroColumns { storage, balance, storage_below, inflow_slack, blocks }
    }

    /// Water that a negative inflow lacks may be bought, never more than it lacks.
    fn write_inflow_slack(
        &mut self,
        index: usize,
        balance: (usize, f64),
        costs: &HydroCosts,
    ) -> Option<usize> {
        let price = self.system.inflow_penalty?;
        let negative = |opening| self.system.inflow(self.position, opening, index) < 0.0;
        if !(0..self.stage.openings).any(negative) {
            return None;
        }
        let id = self.system.hydros.entities[index].id;
        let source = NoiseSource::InflowSlack { hydro: index };
        let constant = self.constant(source);
        let cost = costs.inflow_nonnegativity.unwrap_or(price) * self.stage.hours();
        let name = format!("inflow_slack[hydro {id}]");
        let column = self.priced(name, constant.unwrap_or(0.0), cost, CostClass::Violation);
        if constant.is_none() {
            self.builder.noisy_column(column);
            self.noisy_columns.push(source);
        }
        self.builder.entry(balance.0, column, -balance.1);
        Some(column)
    }

    fn write_flows(
        &mut self,
        hydro: &Hydro,
        block: &Block,
        limits: &HydroLimits,
        costs: &HydroCosts,
    ) -> HydroBlock {
        let name = |what: &str| block_name(what, "hydro", hydro.id, block);
        let hours = block.hours;
        let max_turbined = if hydro.productivity > 0.0 {
            limits.max_turbined.min(limits.max_generation / hydro.productivity)
        } else {
            limits.max_turbined
        };
        let turbined =
            (max_turbined > 0.0).then(|| self.builder.column(name("turbined"), 0.0, max_turbined, 0.0));
        let spilled =
            self.priced(name("spilled"), f64::INFINITY, costs.spillage * hours, CostClass::Spillage);
        let diverted = (limits.max_diversion > 0.0).then(|| {
            let cost = costs.diversion * hours;
            self.priced(name("diverted"), limits.max_diversion, cost, CostClass::Diversion)
        });
        let mut violation = |there: bool, what: &str, upper: f64, cost: f64| {
            there.then(|| self.priced(name(what), upper, cost * hours, CostClass::Violation))
        };
        let (min_turbined, min_outflow) = (limits.min_turbined, limits.min_outflow);
        let min_generation = limits.min_generation;
        let withdrawal = limits.withdrawal;
        // A withdrawal does not change its sign: what is short of it ends at zero.
        let (short, excess) =
            if withdrawal >= 0.0 { (withdrawal, f64::INFINITY) } else { (f64::INFINITY, -withdrawal) };
        let bounded = limits.max_outflow.is_finite();
        HydroBlock {
            turbined,
            spilled,
            diverted,
            turbined_below: violation(
                min_turbined > 0.0,
                "turbined_below_min",
                min_turbined,
                costs.turbined_below,
            ),
            outflow_below: violation(
                min_outflow > 0.0,
                "outflow_below_min",
                min_outflow,
                costs.outflow_below,
            ),
            outflow_above: violation(bounded, "outflow_above_max", f64::INFINITY, costs.outflow_above),
            generation_below: violation(
                min_generation > 0.0,
                "generation_below_min",
                min_generation,
                costs.generation_below,
            ),
            withdrawal_below: violation(withdrawal != 0.0, "withdrawal_below", short, costs.withdrawal_below),
            withdrawal_above: violation(
                withdrawal != 0.0,
                "withdrawal_above",
                excess,
                costs.withdrawal_above,
            ),
        }
    }

    fn write_limits(&mut self, hydro: &Hydro, block: &Block, limits: &HydroLimits, columns: &HydroBlock) {
        let name = |what: &str| block_name(what, "hydro", hydro.id, block);
        if let Some(below) = columns.turbined_below {
            let row = self.builder.row(name("min_turbined"), limits.min_turbined, f64::INFINITY);
            self.builder.entry(row, below, 1.0);
            if let Some(column) = columns.turbined {
                self.builder.entry(row, column, 1.0);
            }
        }
        if let Some(below) = columns.generation_below {
            let row = self.builder.row(name("min_generation"), limits.min_generation, f64::INFINITY);
            self.builder.entry(row, below, 1.0);
            for column in columns.turbined.into_iter().filter(|_| hydro.productivity > 0.0) {
                self.builder.entry(row, column, hydro.productivity);
            }
        }
        let outflow: Vec<usize> = columns.turbined.into_iter().chain([columns.spilled]).collect();
        if let Some(below) = columns.outflow_below {
            let row = self.builder.row(name("min_outflow"), limits.min_outflow, f64::INFINITY);
            self.builder.entry(row, below, 1.0);
            for &column in &outflow {
                self.builder.entry(row, column, 1.0);
            }
        }
        if let Some(above) = columns.outflow_above {
            let row = self.builder.row(name("max_outflow"), f64::NEG_INFINITY, limits.max_outflow);
            self.builder.entry(row, above, -1.0);
            for &column in &outflow {
                self.builder.entry(row, column, 1.0);
            }
        }
    }

    /// Lets the water of a plant arrive where it flows to.
    fn write_arrivals(&mut self, index: usize) {
        let hydro = &self.system.hydros.entities[index];
        let balance_of = |id: Option<i32>| {
            let target = id.and_then(|id| self.system.hydros.index(id))?;
            Some(self.layout.hydros[target].balance)
        };
        let (downstream, diversion) = (balance_of(hydro.downstream), balance_of(hydro.diversion));
        for (block, columns) in self.stage.blocks.iter().zip(&self.layout.hydros[index].blocks) {
            let volume = block.hm3_per_m3s();
            if let Some(row) = downstream {
                for column in columns.turbined.into_iter().chain([columns.spilled]) {
                    self.builder.entry(row, column, -volume);
                }
            }
            if let (Some(row), Some(column)) = (diversion, columns.diverted) {
                self.builder.entry(row, column, -volume);
            }
        }
    }
}
