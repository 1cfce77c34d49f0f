//! What holds at a stage: limits and costs of entities after the overrides of `constraints/`.

use std::collections::BTreeMap;

use cobre_core::ErrorKind;

use crate::folder::Folder;
use crate::hydros::{Hydro, HydroLimits, NamedLimit};
use crate::network::{Bus, Line, Thermal};
use crate::penalties::{HYDRO_COSTS, HydroCosts, cost_range};
use crate::problems::Problems;
use crate::reader::Range;
use crate::registry::Registry;
use crate::series::{FactorSource, Factors, Key, KeyedRow, keyed_rows, read_factors};
use crate::stages::Stage;
use crate::tables::{ColumnRule, Table};

/// A column that overrides one figure of `T`.
type Override<T> = (&'static str, fn(&mut T, f64));

/// The figures of a thermal plant that may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ThermalLimits {
    pub(crate) min_mw: f64,
    pub(crate) max_mw: f64,
    pub(crate) cost_per_mwh: f64,
}

/// The figures of a line that may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LineLimits {
    pub(crate) direct_mw: f64,
    pub(crate) reverse_mw: f64,
    pub(crate) exchange_cost: f64,
}

const THERMAL_COLUMNS: &[Override<ThermalLimits>] = &[
    ("min_generation_mw", |limits, value| limits.min_mw = value),
    ("max_generation_mw", |limits, value| limits.max_mw = value),
    ("cost_per_mwh", |limits, value| limits.cost_per_mwh = value),
];

const LINE_COLUMNS: &[Override<LineLimits>] = &[
    ("direct_mw", |limits, value| limits.direct_mw = value),
    ("reverse_mw", |limits, value| {
        limits.reverse_mw = value;
    }),
];

const HYDRO_COLUMNS: &[Override<HydroLimits>] = &[
    ("min_turbined_m3s", |limits, value| limits.min_turbined = value),
    ("max_turbined_m3s", |limits, value| limits.max_turbined = value),
    ("min_storage_hm3", |limits, value| limits.min_storage = value),
    ("max_storage_hm3", |limits, value| limits.max_storage = value),
    ("min_outflow_m3s", |limits, value| limits.min_outflow = value),
    ("max_outflow_m3s", |limits, value| limits.max_outflow = value),
    ("min_generation_mw", |limits, value| limits.min_generation = value),
    ("max_generation_mw", |limits, value| limits.max_generation = value),
    ("max_diversion_m3s", |limits, value| limits.max_diversion = value),
    ("filling_inflow_m3s", |_, _| ()),
    ("water_withdrawal_m3s", |limits, value| limits.withdrawal = value),
];

/// Thermal id, stage id and block id; `None` for all blocks.
type ThermalKey = (i32, i32, Option<i32>);

/// Figures by entity and stage where they differ from the entity's own; by block for thermal plants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    thermals: BTreeMap<ThermalKey, Vec<(usize, f64)>>,
    hydros: BTreeMap<Key, HydroLimits>,
    hydro_costs: BTreeMap<Key, HydroCosts>,
    lines: BTreeMap<Key, LineLimits>,
    excess_costs: BTreeMap<Key, f64>,
    exchange_factors: Factors<2>,
}

/// The registries that overrides refer to.
#[derive(Clone, Copy)]
pub(crate) struct Entities<'a> {
    pub(crate) stages: &'a Registry<Stage>,
    pub(crate) buses: &'a Registry<Bus>,
    pub(crate) lines: &'a Registry<Line>,
    pub(crate) thermals: &'a Registry<Thermal>,
    pub(crate) hydros: &'a Registry<Hydro>,
}

impl Bounds {
    /// Reads the overrides of `constraints/`.
    pub(crate) fn read(folder: &Folder<'_>, entities: Entities<'_>) -> Self {
        let mut bounds = Self::default();
        bounds.read_thermals(folder, entities);
        bounds.read_hydros(folder, entities);
        bounds.read_lines(folder, entities);
        bounds.read_hydro_costs(folder, entities);
        bounds.read_excess_costs(folder, entities);
        let factors = FactorSource {
            file: "constraints/exchange_factors.json",
            list_key: "exchange_factors",
            entity: ("line_id", &entities.lines.ids),
            factor_keys: ["direct_factor", "reverse_factor"],
        };
        bounds.exchange_factors = read_factors(folder, factors, entities.stages);
        bounds
    }

    fn read_thermals(&mut self, folder: &Folder<'_>, entities: Entities<'_>) {
        let mut rules = vec![ColumnRule::id("thermal_id"), ColumnRule::id("stage_id")];
        rules.push(ColumnRule::id("block_id").optional());
        for (name, _) in THERMAL_COLUMNS {
            let range = if *name == "cost_per_mwh" { Range::Any } else { Range::NonNegative };
            rules.push(ColumnRule::real(name, range).optional());
        }
        let Some(table) = folder.table("constraints/thermal_bounds", &rules) else { return };
        let rows =
            keyed_rows(&table, ("thermal_id", &entities.thermals.ids), entities.stages, folder.problems);
        for row in &rows {
            let cells = THERMAL_COLUMNS.iter().enumerate();
            let values = cells.filter_map(|(column, (name, _))| Some((column, table.real(name, row.row)?)));
            self.thermals.insert((row.key.0, row.key.1, row.block), values.collect());
        }
        for row in rows {
            let (Some(thermal), Some(stage)) =
                (entities.thermals.index(row.key.0), entities.stages.index(row.key.1))
            else {
                continue;
            };
            let thermal = &entities.thermals.entities[thermal];
            let blocks = entities.stages.entities[stage].blocks.iter();
            for block in blocks.filter(|block| row.block.is_none_or(|id| id == block.id)) {
                let limits = self.thermal(thermal, row.key.1, block.id);
                let pair = (("min_generation_mw", limits.min_mw), ("max_generation_mw", limits.max_mw));
                if !check_pairs(&table, row, &[pair], folder.problems) {
                    break;
                }
            }
        }
    }

    fn read_hydros(&mut self, folder: &Folder<'_>, entities: Entities<'_>) {
        let mut rules = vec![ColumnRule::id("hydro_id"), ColumnRule::id("stage_id")];
        for (name, _) in HYDRO_COLUMNS {
            let range = if *name == "water_withdrawal_m3s" { Range::Any } else { Range::NonNegative };
            rules.push(ColumnRule::real(name, range).optional());
        }
        let Some(table) = folder.table("constraints/hydro_bounds", &rules) else { return };
        for row in keyed_rows(&table, ("hydro_id", &entities.hydros.ids), entities.stages, folder.problems) {
            let place = table.place(row.row);
            if let Some(value) = table.real("filling_inflow_m3s", row.row) {
                folder.problems.add(place.refused("filling_inflow_m3s", value, "filling of reservoirs"));
            }
            let Some(index) = entities.hydros.index(row.key.0) else { continue };
            let hydro = &entities.hydros.entities[index];
            if let Some(value) = table.real("max_diversion_m3s", row.row)
                && hydro.diversion.is_none()
            {
                let expected = format!("an empty cell: hydro {} has no diversion", hydro.id);
                let kind = ErrorKind::IncompatibleSettings;
                folder.problems.add(place.problem(kind, "max_diversion_m3s", value, expected));
            }
            let mut limits = hydro.limits;
            apply(&table, row, HYDRO_COLUMNS, &mut limits);
            check_pairs(&table, row, &limits.pairs(), folder.problems);
            self.hydros.insert(row.key, limits);
        }
    }

    fn read_lines(&mut self, folder: &Folder<'_>, entities: Entities<'_>) {
        let keys = [ColumnRule::id("line_id"), ColumnRule::id("stage_id")];
        let entity = ("line_id", &entities.lines.ids);
        let columns: &[Override<LineLimits>] =
            &[("exchange_cost", |limits, value| limits.exchange_cost = value)];
        let sources = [
            ("constraints/line_bounds", LINE_COLUMNS, Range::NonNegative),
            ("constraints/penalty_overrides_line", columns, Range::Positive),
        ];
        for (stem, columns, range) in sources {
            let mut rules = keys.to_vec();
            rules.extend(columns.iter().map(|(name, _)| ColumnRule::real(name, range).optional()));
            let Some(table) = folder.table(stem, &rules) else { continue };
            for row in keyed_rows(&table, entity, entities.stages, folder.problems) {
                let Some(index) = entities.lines.index(row.key.0) else { continue };
                let own = own_line_limits(&entities.lines.entities[index]);
                apply(&table, row, columns, self.lines.entry(row.key).or_insert(own));
            }
        }
    }

    fn read_hydro_costs(&mut self, folder: &Folder<'_>, entities: Entities<'_>) {
        let mut rules = vec![ColumnRule::id("hydro_id"), ColumnRule::id("stage_id")];
        rules.extend(HYDRO_COSTS.iter().map(|(name, _)| ColumnRule::real(name, cost_range(name)).optional()));
        let Some(table) = folder.table("constraints/penalty_overrides_hydro", &rules) else { return };
        for row in keyed_rows(&table, ("hydro_id", &entities.hydros.ids), entities.stages, folder.problems) {
            let Some(index) = entities.hydros.index(row.key.0) else { continue };
            let mut costs = entities.hydros.entities[index].costs;
            apply(&table, row, HYDRO_COSTS, &mut costs);
            self.hydro_costs.insert(row.key, costs);
        }
    }

    fn read_excess_costs(&mut self, folder: &Folder<'_>, entities: Entities<'_>) {
        let cost = ColumnRule::real("excess_cost", Range::Positive).optional();
        let rules = [ColumnRule::id("bus_id"), ColumnRule::id("stage_id"), cost];
        let Some(table) = folder.table("constraints/penalty_overrides_bus", &rules) else { return };
        for row in keyed_rows(&table, ("bus_id", &entities.buses.ids), entities.stages, folder.problems) {
            if let Some(cost) = table.real("excess_cost", row.row) {
                self.excess_costs.insert(row.key, cost);
            }
        }
    }

    /// What holds for a thermal plant: its own figures, then those of the stage, then those of the block.
    pub(crate) fn thermal(&self, thermal: &Thermal, stage: i32, block: i32) -> ThermalLimits {
        let Thermal { min_mw, max_mw, cost_per_mwh, .. } = *thermal;
        let mut limits = ThermalLimits { min_mw, max_mw, cost_per_mwh };
        for block in [None, Some(block)] {
            for (column, value) in self.thermals.get(&(thermal.id, stage, block)).into_iter().flatten() {
                THERMAL_COLUMNS[*column].1(&mut limits, *value);
            }
        }
        limits
    }

    /// What holds for a hydro plant.
    pub(crate) fn hydro(&self, hydro: &Hydro, stage: i32) -> HydroLimits {
        self.hydros.get(&(hydro.id, stage)).copied().unwrap_or(hydro.limits)
    }

    /// The prices of a hydro plant.
    pub(crate) fn hydro_costs(&self, hydro: &Hydro, stage: i32) -> HydroCosts {
        self.hydro_costs.get(&(hydro.id, stage)).copied().unwrap_or(hydro.costs)
    }

    /// What holds for a line in a block.
    pub(crate) fn line(&self, line: &Line, stage: i32, block: i32) -> LineLimits {
        let mut limits = self.lines.get(&(line.id, stage)).copied().unwrap_or_else(|| own_line_limits(line));
        if let Some([direct, reverse]) = self.exchange_factors.get(&(line.id, stage, block)) {
            limits.direct_mw *= direct;
            limits.reverse_mw *= reverse;
        }
        limits
    }

    /// The price of excess at a bus, in `$/MWh`.
    pub(crate) fn excess_cost(&self, bus: &Bus, stage: i32) -> f64 {
        self.excess_costs.get(&(bus.id, stage)).copied().unwrap_or(bus.excess_cost)
    }
}

fn own_line_limits(line: &Line) -> LineLimits {
    let Line { direct_mw, reverse_mw, exchange_cost, .. } = *line;
    LineLimits { direct_mw, reverse_mw, exchange_cost }
}

fn apply<T>(table: &Table, row: KeyedRow, columns: &[Override<T>], target: &mut T) {
    for (name, set) in columns {
        if let Some(value) = table.real(name, row.row) {
            set(target, value);
        }
    }
}

/// Records every lower limit above its upper limit; true when there is none.
fn check_pairs(
    table: &Table,
    row: KeyedRow,
    pairs: &[(NamedLimit, NamedLimit)],
    problems: &Problems,
) -> bool {
    let wrong = pairs.iter().filter(|(lower, upper)| lower.1 > upper.1);
    wrong.clone().for_each(|(lower, upper)| {
        let expected = format!("at most {} = {} of the same stage", upper.0, upper.1);
        let place = table.place(row.row);
        problems.add(place.problem(ErrorKind::CapacityViolation, lower.0, lower.1, expected));
    });
    wrong.count() == 0
}
