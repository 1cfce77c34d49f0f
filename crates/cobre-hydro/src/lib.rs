//! Hydrothermal cases: a directory of JSON and Parquet files, validated in layers and modelled as a multistage
//! stochastic linear program.
//!
//! Reading goes in five layers, all of which report everything they find: structure ([`Case::load`] lists the
//! files), schema (keys, types, ranges), references (ids), dimensions (stages, blocks, openings) and meaning
//! (limits in order, water that flows downhill, prices that ascend). [`Case::model`] then writes one linear
//! program per stage, and [`Model::tables`] turns simulated trajectories into tables of hydros, thermals, buses,
//! lines and costs.

#![forbid(unsafe_code)]

mod bounds;
mod case;
mod config;
mod correlation;
mod folder;
mod hydros;
mod inventory;
mod json;
mod model;
mod network;
mod openings;
mod penalties;
mod problems;
mod reader;
mod registry;
mod results;
mod rows;
mod series;
mod snapshot;
mod stages;
mod system;
mod tables;

pub use case::Case;
pub use model::Model;
pub use snapshot::Snapshot;
