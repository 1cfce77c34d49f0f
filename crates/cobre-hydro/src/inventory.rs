//! The case as it was read, as tables.

use arrow::record_batch::RecordBatch;
use cobre_core::Result;

use crate::correlation::NoiseEntity;
use crate::rows::{Rows, TableSpec};
use crate::system::System;

const HYDROS: TableSpec = TableSpec {
    name: "hydros",
    ids: &["hydro_id", "bus_id", "downstream_id", "diversion_downstream_id"],
    texts: &["name"],
    values: &[
        "productivity_mw_per_m3s",
        "min_storage_hm3",
        "max_storage_hm3",
        "initial_storage_hm3",
        "min_turbined_m3s",
        "max_turbined_m3s",
        "min_outflow_m3s",
        "max_outflow_m3s",
        "min_generation_mw",
        "max_generation_mw",
        "max_diversion_m3s",
    ],
};

const THERMALS: TableSpec = TableSpec {
    name: "thermals",
    ids: &["thermal_id", "bus_id"],
    texts: &["name"],
    values: &["min_generation_mw", "max_generation_mw", "cost_per_mwh"],
};

const BUSES: TableSpec = TableSpec {
    name: "buses",
    ids: &["bus_id"],
    texts: &["name"],
    values: &["first_deficit_cost_per_mwh", "last_deficit_cost_per_mwh", "excess_cost_per_mwh"],
};

const LINES: TableSpec = TableSpec {
    name: "lines",
    ids: &["line_id", "source_bus_id", "target_bus_id"],
    texts: &["name"],
    values: &["direct_mw", "reverse_mw", "exchange_cost_per_mwh"],
};

const STAGES: TableSpec = TableSpec {
    name: "stages",
    ids: &["stage_id", "season_id", "openings"],
    texts: &["start_date", "end_date"],
    values: &["hours", "discount_factor"],
};

const BLOCKS: TableSpec =
    TableSpec { name: "blocks", ids: &["stage_id", "block_id"], texts: &["name"], values: &["hours"] };

const LOADS: TableSpec = TableSpec {
    name: "loads",
    ids: &["stage_id", "block_id", "bus_id"],
    texts: &[],
    values: &["mean_load_mw", "std_load_mw"],
};

const OPENINGS: TableSpec = TableSpec {
    name: "openings",
    ids: &["stage_id", "opening_index", "entity_index", "hydro_id", "bus_id"],
    texts: &[],
    values: &["noise", "inflow_m3s"],
};

/// Every table of the case.
pub(crate) fn tables(system: &System) -> Result<Vec<(&'static str, RecordBatch)>> {
    let tables = [
        hydros(system),
        thermals(system),
        buses(system),
        lines(system),
        stages(system),
        blocks(system),
        loads(system),
        openings(system),
    ];
    tables.into_iter().map(Rows::finish).collect()
}

fn hydros(system: &System) -> Rows {
    let mut rows = Rows::new(HYDROS);
    for hydro in &system.hydros.entities {
        let limits = hydro.limits;
        let values = [
            hydro.productivity,
            limits.min_storage,
            limits.max_storage,
            system.initial_storage[&hydro.id],
            limits.min_turbined,
            limits.max_turbined,
            limits.min_outflow,
            limits.max_outflow,
            limits.min_generation,
            limits.max_generation,
            limits.max_diversion,
        ];
        rows.push(
            [Some(hydro.id), Some(hydro.bus), hydro.downstream, hydro.diversion],
            &[&hydro.name],
            values,
        );
    }
    rows
}

fn thermals(system: &System) -> Rows {
    let mut rows = Rows::new(THERMALS);
    for thermal in &system.thermals.entities {
        let values = [thermal.min_mw, thermal.max_mw, thermal.cost_per_mwh];
        rows.push([Some(thermal.id), Some(thermal.bus)], &[&thermal.name], values);
    }
    rows
}

fn buses(system: &System) -> Rows {
    let mut rows = Rows::new(BUSES);
    for bus in &system.buses.entities {
        let cost =
            |segment: Option<&crate::penalties::DeficitSegment>| segment.map_or(f64::NAN, |s| s.cost_per_mwh);
        let values = [cost(bus.deficit.first()), cost(bus.deficit.last()), bus.excess_cost];
        rows.push([Some(bus.id)], &[&bus.name], values);
    }
    rows
}

fn lines(system: &System) -> Rows {
    let mut rows = Rows::new(LINES);
    for line in &system.lines.entities {
        let ids = [Some(line.id), Some(line.source_bus), Some(line.target_bus)];
        rows.push(ids, &[&line.name], [line.direct_mw, line.reverse_mw, line.exchange_cost]);
    }
    rows
}

fn stages(system: &System) -> Rows {
    let mut rows = Rows::new(STAGES);
    for stage in &system.stages.entities {
        let dates = [stage.start.to_string(), stage.end.to_string()];
        let ids = [Some(stage.id), stage.season, Some(stage.openings as i32)];
        rows.push(ids, &[&dates[0], &dates[1]], [stage.hours(), stage.discount]);
    }
    rows
}

fn blocks(system: &System) -> Rows {
    let mut rows = Rows::new(BLOCKS);
    for stage in &system.stages.entities {
        for block in &stage.blocks {
            rows.push([Some(stage.id), Some(block.id)], &[&block.name], [block.hours]);
        }
    }
    rows
}

fn loads(system: &System) -> Rows {
    let mut rows = Rows::new(LOADS);
    for stage in &system.stages.entities {
        for block in &stage.blocks {
            for bus in &system.buses.entities {
                let (mean, deviation) = system.load.get(&(bus.id, stage.id)).copied().unwrap_or_default();
                let factor =
                    system.load_factors.get(&(bus.id, stage.id, block.id)).map_or(1.0, |factor| factor[0]);
                let ids = [Some(stage.id), Some(block.id), Some(bus.id)];
                rows.push(ids, &[], [mean * factor, deviation * factor]);
            }
        }
    }
    rows
}

fn openings(system: &System) -> Rows {
    let mut rows = Rows::new(OPENINGS);
    for (position, stage) in system.stages.entities.iter().enumerate() {
        for (opening, values) in system.openings.values[position].iter().enumerate() {
            for (index, (entity, noise)) in system.openings.entities.iter().zip(values).enumerate() {
                let (hydro, bus, inflow) = match *entity {
                    NoiseEntity::Hydro(id) => (Some(id), None, system.inflow(position, opening, index)),
                    NoiseEntity::Bus(id) => (None, Some(id), f64::NAN),
                };
                let ids = [Some(stage.id), Some(opening as i32), Some(index as i32), hydro, bus];
                rows.push(ids, &[], [*noise, inflow]);
            }
        }
    }
    rows
}
