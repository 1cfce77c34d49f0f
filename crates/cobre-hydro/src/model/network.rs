//! Buses, lines and thermal plants.

use super::{CostClass, NoiseSource, StageModel, block_name};

/// The columns of a bus in a block, in MW.
#[derive(Clone, Debug)]
pub(crate) struct BusColumns {
    /// The row of the power balance.
    pub(crate) balance: usize,
    /// By segment.
    pub(crate) deficit: Vec<usize>,
    pub(crate) excess: usize,
}

impl StageModel<'_> {
    /// Writes the power balances and all that enters them.
    pub(super) fn write_network(&mut self) {
        for index in 0..self.system.buses.entities.len() {
            let blocks = (0..self.stage.blocks.len()).map(|block| self.write_bus(index, block)).collect();
            self.layout.buses.push(blocks);
        }
        for index in 0..self.system.thermals.entities.len() {
            let blocks = (0..self.stage.blocks.len()).map(|block| self.write_thermal(index, block)).collect();
            self.layout.thermals.push(blocks);
        }
        for index in 0..self.system.lines.entities.len() {
            let blocks = (0..self.stage.blocks.len()).map(|block| self.write_line(index, block)).collect();
            self.layout.lines.push(blocks);
        }
        self.write_hydro_generation();
    }

    fn write_bus(&mut self, index: usize, block: usize) -> BusColumns {
        let bus = &self.system.buses.entities[index];
        let at = &self.stage.blocks[block];
        let source = NoiseSource::Load { bus: index, block };
        let balance = self.noisy_equation(block_name("load", "bus", bus.id, at), source);
        let mut deficit = Vec::new();
        for (position, segment) in bus.deficit.iter().enumerate() {
            let name = format!("deficit[bus {}, segment {position}, block {}]", bus.id, at.id);
            let upper = segment.depth_mw.unwrap_or(f64::INFINITY);
            let column = self.priced(name, upper, segment.cost_per_mwh * at.hours, CostClass::Deficit);
            self.builder.entry(balance, column, 1.0);
            deficit.push(column);
        }
        let cost = self.system.bounds.excess_cost(bus, self.stage.id) * at.hours;
        let excess =
            self.priced(block_name("excess", "bus", bus.id, at), f64::INFINITY, cost, CostClass::Excess);
        self.builder.entry(balance, excess, -1.0);
        BusColumns { balance, deficit, excess }
    }

    fn balance_of(&self, bus: i32, block: usize) -> usize {
        let index = self.system.buses.index(bus).expect("validation checked that the bus exists");
        self.layout.buses[index][block].balance
    }

    fn write_thermal(&mut self, index: usize, block: usize) -> Option<usize> {
        let thermal = &self.system.thermals.entities[index];
        let at = &self.stage.blocks[block];
        let limits = self.system.bounds.thermal(thermal, self.stage.id, at.id);
        if limits.max_mw == 0.0 {
            return None;
        }
        let name = block_name("generation", "thermal", thermal.id, at);
        let column = self.builder.column(name, limits.min_mw, limits.max_mw, limits.cost_per_mwh * at.hours);
        self.layout.classes.push((column, CostClass::Thermal));
        let balance = self.balance_of(thermal.bus, block);
        self.builder.entry(balance, column, 1.0);
        Some(column)
    }

    fn write_line(&mut self, index: usize, block: usize) -> [Option<usize>; 2] {
        let line = &self.system.lines.entities[index];
        let at = &self.stage.blocks[block];
        let limits = self.system.bounds.line(line, self.stage.id, at.id);
        let source = self.balance_of(line.source_bus, block);
        let target = self.balance_of(line.target_bus, block);
        let flows =
            [("direct", limits.direct_mw, source, target), ("reverse", limits.reverse_mw, target, source)];
        flows.map(|(what, upper, from, to)| {
            (upper > 0.0).then(|| {
                let name = block_name(what, "line", line.id, at);
                let column = self.priced(name, upper, limits.exchange_cost * at.hours, CostClass::Exchange);
                self.builder.entry(from, column, -1.0);
                self.builder.entry(to, column, 1.0);
                column
            })
        })
    }

    fn write_hydro_generation(&mut self) {
        for (hydro, columns) in self.system.hydros.entities.iter().zip(&self.layout.hydros) {
            for (block, flows) in columns.blocks.iter().enumerate() {
                if let Some(turbined) = flows.turbined.filter(|_| hydro.productivity > 0.0) {
                    let balance = self.balance_of(hydro.bus, block);
                    self.builder.entry(balance, turbined, hydro.productivity);
                }
            }
        }
    }
}
