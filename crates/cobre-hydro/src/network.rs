//! Buses, lines and thermal plants.

use cobre_core::ErrorKind;

use crate::folder::Folder;
use crate::penalties::{DeficitSegment, Penalties, read_deficit};
use crate::reader::{Fields, Range};
use crate::registry::{Entity, Ids, Registry, RegistrySource};

/// A node of the network.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    pub(crate) id: i32,
    pub(crate) name: String,
    /// Cheapest first; the last has no end.
    pub(crate) deficit: Vec<DeficitSegment>,
    /// In `$/MWh`.
    pub(crate) excess_cost: f64,
}

/// A connection of two buses.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) source_bus: i32,
    pub(crate) target_bus: i32,
    pub(crate) direct_mw: f64,
    pub(crate) reverse_mw: f64,
    /// In `$/MWh`, both ways.
    pub(crate) exchange_cost: f64,
}

/// A thermal plant.
#[derive(Clone, Debug)]
pub(crate) struct Thermal {
    pub(crate) id: i32,
    pub(crate) name: String,
    pub(crate) bus: i32,
    pub(crate) cost_per_mwh: f64,
    pub(crate) min_mw: f64,
    pub(crate) max_mw: f64,
}

impl Entity for Bus {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Entity for Line {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Entity for Thermal {
    fn id(&self) -> i32 {
        self.id
    }
}

/// Refuses plants that begin or end within the horizon.
pub(crate) fn refuse_lifetime(fields: &mut Fields<'_>) {
    fields.refuse("entry_stage_id", "an entity that enters during the horizon");
    fields.refuse("exit_stage_id", "an entity that leaves during the horizon");
}

/// Reads the id of another entity and checks that it exists.
pub(crate) fn read_reference(fields: &mut Fields<'_>, key: &'static str, ids: &Ids) -> Option<i32> {
    let id = fields.id(key)?;
    let field = fields.path(key);
    ids.check(id, fields.place(), &field, fields.problems());
    Some(id)
}

/// Records a lower limit above its upper limit.
pub(crate) fn check_limits(fields: &Fields<'_>, lower: (&str, f64), upper: (&str, f64)) {
    if lower.1 > upper.1 {
        let expected = format!("at most {} = {}", upper.0, upper.1);
        fields.problem(ErrorKind::CapacityViolation, lower.0, &lower.1.to_string(), &expected);
    }
}

/// Reads `system/buses.json`.
pub(crate) fn read_buses(folder: &Folder<'_>, penalties: &Penalties) -> Registry<Bus> {
    let source = RegistrySource { file: "system/buses.json", key: "buses", noun: "bus" };
    let document = folder.document(source.file);
    Registry::read(document.as_ref(), source, folder.problems, |fields, id| {
        let name = fields.text("name").map(str::to_owned);
        let deficit = match fields.optional_list("deficit_segments") {
            Some(list) => read_deficit(fields, list),
            None => penalties.deficit.clone(),
        };
        Some(Bus { id, name: name?, deficit, excess_cost: penalties.excess_cost })
    })
}

/// Reads `system/lines.json`.
pub(crate) fn read_lines(folder: &Folder<'_>, penalties: &Penalties, buses: &Ids) -> Registry<Line> {
    let source = RegistrySource { file: "system/lines.json", key: "lines", noun: "line" };
    let document = folder.document(source.file);
    Registry::read(document.as_ref(), source, folder.problems, |fields, id| {
        let name = fields.text("name").map(str::to_owned);
        let source_bus = read_reference(fields, "source_bus_id", buses);
        let target_bus = read_reference(fields, "target_bus_id", buses);
        if let (Some(source), Some(target)) = (source_bus, target_bus)
            && source == target
        {
            let expected = "another bus than source_bus_id";
            fields.problem(ErrorKind::PhysicalConstraint, "target_bus_id", &target.to_string(), expected);
        }
        let (mut direct_mw, mut reverse_mw) = (f64::NAN, f64::NAN);
        if let Some(mut capacity) = fields.object("capacity") {
            direct_mw = capacity.number("direct_mw", Range::NonNegative);
            reverse_mw = capacity.number("reverse_mw", Range::NonNegative);
            capacity.finish();
        }
        let exchange_cost = fields.optional_number("exchange_cost", Range::NonNegative);
        if fields.optional_number("losses_percent", Range::NonNegative).is_some_and(|losses| losses != 0.0) {
            fields.refuse("losses_percent", "losses of lines");
        }
        refuse_lifetime(fields);
        let exchange_cost = exchange_cost.unwrap_or(penalties.exchange_cost);
        let (source_bus, target_bus) = (source_bus?, target_bus?);
        Some(Line { id, name: name?, source_bus, target_bus, direct_mw, reverse_mw, exchange_cost })
    })
}

/// Reads `system/thermals.json`.
pub(crate) fn read_thermals(folder: &Folder<'_>, buses: &Ids) -> Registry<Thermal> {
    let source = RegistrySource { file: "system/thermals.json", key: "thermals", noun: "thermal" };
    let document = folder.document(source.file);
    Registry::read(document.as_ref(), source, folder.problems, |fields, id| {
        let name = fields.text("name").map(str::to_owned);
        let bus = read_reference(fields, "bus_id", buses);
        let cost_per_mwh = fields.number("cost_per_mwh", Range::Any);
        let (mut min_mw, mut max_mw) = (f64::NAN, f64::NAN);
        if let Some(mut generation) = fields.object("generation") {
            min_mw = generation.number("min_mw", Range::NonNegative);
            max_mw = generation.number("max_mw", Range::NonNegative);
            check_limits(&generation, ("min_mw", min_mw), ("max_mw", max_mw));
            generation.finish();
        }
        fields.refuse("gnl_config", "dispatch of thermal plants decided stages ahead (gnl)");
        refuse_lifetime(fields);
        Some(Thermal { id, name: name?, bus: bus?, cost_per_mwh, min_mw, max_mw })
    })
}
