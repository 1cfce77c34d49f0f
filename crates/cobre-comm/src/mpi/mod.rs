//! Ranks that an MPI started, over the `ferrompi` crate.
//!
//! MPI finds no mistake by itself: ranks that call different operations hang, or get each other's bytes. So each
//! call begins with one gather of what every rank is about to do, which is also the barrier that no rank leaves
//! before all have come; short data rides in it.

mod backend;
mod collectives;
mod failure;
mod launcher;
mod message;
mod ranks;
mod reduction;
mod session;
#[cfg(test)]
mod tests;

pub use backend::MpiBackend;
pub use session::{MpiSession, mpi_library_version};
