//! How the ranks of a machine share its processors.

use cobre::Communicator;
use cobre::fingerprint::sha256;
use cobre::jobs::available_threads;
use cobre_core::Result;

/// The threads of this rank: ranks that may run on the same processors share them. Collective.
///
/// # Errors
/// Those of the communicator.
pub(crate) fn fair_share<C: Communicator>(comm: &C) -> Result<usize> {
    let size = comm.size();
    let own = processors();
    let mut all = vec![0; size];
    let displs: Vec<usize> = (0..size).collect();
    comm.allgatherv(&[own], &mut all, &vec![1; size], &displs)?;
    let sharers = all.iter().filter(|other| **other == own).count();
    Ok((available_threads() / sharers).max(1))
}

/// A number for the machine, since it was started, and the processors on which this process may run.
fn processors() -> u64 {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap_or_default();
    let digest = sha256(format!("{boot}{allowed}").as_bytes());
    u64::from_str_radix(&digest[..16], 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_alone_has_all_processors() {
        assert_eq!(processors(), processors());
        assert_eq!(fair_share(&cobre::LocalBackend).unwrap(), available_threads());
    }
}
