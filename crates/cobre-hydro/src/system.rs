//! A validated case, ready to be modelled.

use std::collections::BTreeMap;

use crate::bounds::Bounds;
use crate::correlation::NoiseEntity;
use crate::hydros::Hydro;
use crate::network::{Bus, Line, Thermal};
use crate::openings::Openings;
use crate::registry::Registry;
use crate::series::{Factors, Statistics};
use crate::stages::Stage;

/// Everything that is known of the system, entities sorted by id.
#[derive(Clone, Debug)]
pub(crate) struct System {
    pub(crate) stages: Registry<Stage>,
    pub(crate) buses: Registry<Bus>,
    pub(crate) lines: Registry<Line>,
    pub(crate) thermals: Registry<Thermal>,
    pub(crate) hydros: Registry<Hydro>,
    /// In hm3 by hydro id.
    pub(crate) initial_storage: BTreeMap<i32, f64>,
    /// In m3/s.
    pub(crate) inflow: Statistics,
    /// In MW.
    pub(crate) load: Statistics,
    pub(crate) load_factors: Factors<1>,
    pub(crate) bounds: Bounds,
    pub(crate) openings: Openings,
    /// Price of water that a negative inflow lacks, in $ per m3/s and hour; `None` leaves inflow negative.
    pub(crate) inflow_penalty: Option<f64>,
}

impl System {
    fn noise(&self, stage: usize, opening: usize, entity: NoiseEntity) -> f64 {
        let position = self.openings.entities.iter().position(|other| *other == entity);
        position.map_or(0.0, |position| self.openings.values[stage][opening][position])
    }

    /// Inflow of a hydro in m3/s, by position of stage, opening and hydro: mean + deviation · noise.
    pub(crate) fn inflow(&self, stage: usize, opening: usize, hydro: usize) -> f64 {
        let id = self.hydros.entities[hydro].id;
        let (mean, deviation) = self.inflow[&(id, self.stages.entities[stage].id)];
        if deviation == 0.0 {
            mean
        } else {
            mean + deviation * self.noise(stage, opening, NoiseEntity::Hydro(id))
        }
    }

    /// Load of a bus in MW, by position of stage, opening, bus and block: max(0, mean + deviation · noise) times
    /// the factor of the block.
    pub(crate) fn load(&self, stage: usize, opening: usize, bus: usize, block: usize) -> f64 {
        let id = self.buses.entities[bus].id;
        let at = &self.stages.entities[stage];
        let Some(&(mean, deviation)) = self.load.get(&(id, at.id)) else { return 0.0 };
        let noise = if deviation == 0.0 { 0.0 } else { self.noise(stage, opening, NoiseEntity::Bus(id)) };
        let factor = self.load_factors.get(&(id, at.id, at.blocks[block].id)).map_or(1.0, |factor| factor[0]);
        (mean + deviation * noise).max(0.0) * factor
    }
}
