//! What the tests of all backends share: one conformance suite, random sequences with an oracle, and ranks as
//! threads, as processes or as an MPI starts them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod conformance;
pub mod misuse;
pub mod mpirun;
pub mod ranks;
pub mod sequence;
