//! What ranks tell each other. Everything travels in path order, whoever computed it.

use std::ops::Range;

use cobre_comm::{CommData, Communicator, ReduceOp, SendBuffer};
use cobre_core::{Error, ErrorKind, Result};
use cobre_lp::SolverState;

use crate::forward::PathResult;

/// The part of `0..total` that a rank works on: contiguous blocks, as equal as can be.
pub(crate) fn share(total: usize, rank: usize, size: usize) -> Range<usize> {
    total * rank / size..total * (rank + 1) / size
}

/// Whether all ranks delivered: this rank's own outcome, or an error when another rank has none. Collective, and so the
/// way in which the error of one rank, or its cancellation, ends the work of all at the same place.
///
/// # Errors
/// This rank's own, except that a cancellation gives way to a failure elsewhere; [`ErrorKind::WorkerFailed`] with the
/// lowest rank that failed and what it said; [`ErrorKind::Cancelled`] when a rank was cancelled and none failed.
pub fn agree<T, C: Communicator>(comm: &C, own: Result<T>) -> Result<T> {
    const DELIVERED: u8 = 0;
    const CANCELLED: u8 = 1;
    const FAILED: u8 = 2;
    if comm.size() == 1 {
        return own;
    }
    let code = match &own {
        Ok(_) => DELIVERED,
        Err(error) if error.kind() == ErrorKind::Cancelled => CANCELLED,
        Err(_) => FAILED,
    };
    let codes = gather(comm, &[code], &vec![1; comm.size()])?;
    if let Some(rank) = codes.iter().position(|&code| code == FAILED) {
        let said = own.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let said = tell(comm, said.into_bytes(), rank)?;
        if code == FAILED {
            return own;
        }
        let message = format!("rank {rank} failed: {}", String::from_utf8_lossy(&said));
        return Err(Error::new(ErrorKind::WorkerFailed, message).with("rank", rank));
    }
    if code == DELIVERED && codes.contains(&CANCELLED) {
        return Err(Error::new(ErrorKind::Cancelled, "the job was cancelled"));
    }
    own
}

/// The bytes of one rank on every rank. Collective.
///
/// # Errors
/// Those of the communicator.
pub fn tell<C: Communicator>(comm: &C, mut bytes: Vec<u8>, root: usize) -> Result<Vec<u8>> {
    let mut length = [bytes.len() as u64];
    comm.broadcast(&mut length, root)?;
    bytes.resize(length[0] as usize, 0);
    comm.broadcast(&mut bytes, root)?;
    Ok(bytes)
}

/// Gathers `counts[rank]` values from every rank, in rank order.
pub(crate) fn gather<T: CommData, C: Communicator>(comm: &C, send: &[T], counts: &[usize]) -> Result<Vec<T>> {
    let mut displs = Vec::with_capacity(counts.len());
    let mut total = 0;
    for count in counts {
        displs.push(total);
        total += count;
    }
    let mut recv = vec![T::zeroed(); total];
    comm.allgatherv(send, &mut recv, counts, &displs)?;
    Ok(recv)
}

/// All paths of an iteration as every rank knows them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    /// Cost per path, in $.
    pub(crate) costs: Vec<f64>,
    /// Node per path and depth.
    pub(crate) nodes: Vec<Vec<usize>>,
    /// Outgoing state per path and depth.
    pub(crate) states: Vec<Vec<Vec<f64>>>,
}

impl Paths {
    /// Gathers the ranks' paths.
    ///
    /// # Errors
    /// Those of the communicator.
    pub(crate) fn gather<St, C: Communicator>(
        comm: &C,
        own: &[PathResult<St>],
        total: usize,
        states: usize,
    ) -> Result<Self> {
        let size = comm.size();
        let parts: Vec<Range<usize>> = (0..size).map(|rank| share(total, rank, size)).collect();
        let heads: Vec<f64> = own.iter().flat_map(|path| [path.visits.len() as f64, path.cost]).collect();
        let counts: Vec<usize> = parts.iter().map(|part| 2 * part.len()).collect();
        let heads = gather(comm, &heads, &counts)?;
        let lengths: Vec<f64> = heads.iter().step_by(2).copied().collect();
        let record = states + 1;
        let counts: Vec<usize> = parts
            .iter()
            .map(|part| lengths[part.clone()].iter().map(|length| *length as usize * record).sum())
            .collect();
        let visits: Vec<f64> = own
            .iter()
            .flat_map(|path| &path.visits)
            .flat_map(|visit| std::iter::once(visit.node as f64).chain(visit.outgoing.iter().copied()))
            .collect();
        let visits = gather(comm, &visits, &counts)?;
        let mut records = visits.chunks_exact(record);
        let mut paths = Self { costs: heads.iter().skip(1).step_by(2).copied().collect(), ..Self::default() };
        for length in lengths {
            let own: Vec<&[f64]> = records.by_ref().take(length as usize).collect();
            paths.nodes.push(own.iter().map(|record| record[0] as usize).collect());
            paths.states.push(own.iter().map(|record| record[1..].to_vec()).collect());
        }
        Ok(paths)
    }

    /// The longest path's number of stages.
    pub(crate) fn longest(&self) -> usize {
        self.nodes.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// For each node the path whose basis becomes the node's starting basis, and where on the path: the lowest
    /// path that visited the node, at its first visit.
    fn first_visits(&self, nodes: usize) -> Vec<Option<(usize, usize)>> {
        let mut first = vec![None; nodes];
        for (path, visited) in self.nodes.iter().enumerate() {
            for (depth, &node) in visited.iter().enumerate() {
                first[node].get_or_insert((path, depth));
            }
        }
        first
    }
}

/// The starting bases of the next iteration: every node that was visited takes the one its first visitor ended in.
///
/// # Errors
/// Those of the communicator.
pub(crate) fn agreed_bases<St: SolverState, C: Communicator>(
    comm: &C,
    paths: &Paths,
    own: &[PathResult<St>],
    bases: &[St],
) -> Result<Vec<St>> {
    let total = paths.costs.len();
    let part = share(total, comm.rank(), comm.size());
    let first = paths.first_visits(bases.len());
    let mut lengths = vec![0u64; bases.len()];
    let mut bytes = Vec::new();
    for (node, visit) in first.iter().enumerate() {
        if let Some((path, depth)) = visit.filter(|(path, _)| part.contains(path)) {
            let basis = own[path - part.start].visits[depth].basis.to_bytes();
            lengths[node] = basis.len() as u64;
            bytes.extend(basis);
        }
    }
    let mut all = vec![0u64; bases.len()];
    comm.allreduce(&lengths, &mut all, ReduceOp::Max)?;
    let owner_of =
        |path: usize| (0..comm.size()).find(|&rank| share(total, rank, comm.size()).contains(&path));
    let owners: Vec<Option<usize>> =
        first.iter().map(|visit| visit.and_then(|(path, _)| owner_of(path))).collect();
    let mut counts = vec![0usize; comm.size()];
    for (owner, &length) in owners.iter().zip(&all) {
        if let Some(rank) = owner {
            counts[*rank] += length as usize;
        }
    }
    let gathered = gather(comm, &bytes, &counts)?;
    let mut next: Vec<usize> = (0..comm.size()).map(|rank| counts[..rank].iter().sum()).collect();
    let agreed = owners.iter().zip(bases).zip(&all).map(|((owner, basis), &length)| {
        let Some(rank) = *owner else { return Ok(basis.clone()) };
        let start = next[rank];
        next[rank] += length as usize;
        St::from_bytes(&gathered[start..next[rank]])
    });
    agreed.collect()
}

/// A cut on its way: tight at the trial point of one path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cut {
    pub(crate) intercept: f64,
    pub(crate) coefficients: Vec<f64>,
}

/// Gathers the cuts of one depth. `own` has one entry per path of this rank that reaches the depth: the cut, or
/// `None` when nothing certified it. The result has one entry per such path of all ranks, in path order.
///
/// # Errors
/// Those of the communicator.
pub(crate) fn gather_cuts<C: Communicator>(
    comm: &C,
    own: &[Option<Cut>],
    per_rank: &[usize],
    states: usize,
    buffer: &mut SendBuffer<f64>,
) -> Result<Vec<Option<Cut>>> {
    let record = states + 2;
    let send = &mut buffer[..own.len() * record];
    for (cut, slot) in own.iter().zip(send.chunks_exact_mut(record)) {
        slot.fill(0.0);
        if let Some(cut) = cut {
            slot[0] = 1.0;
            slot[1] = cut.intercept;
            slot[2..].copy_from_slice(&cut.coefficients);
        }
    }
    let counts: Vec<usize> = per_rank.iter().map(|count| count * record).collect();
    let gathered = gather(comm, send, &counts)?;
    let cut = |record: &[f64]| {
        (record[0] == 1.0).then(|| Cut { intercept: record[1], coefficients: record[2..].to_vec() })
    };
    Ok(gathered.chunks_exact(record).map(cut).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for (total, size) in [(7, 3), (2, 4), (0, 2), (8, 1)] {
            let parts: Vec<usize> = (0..size).flat_map(|rank| share(total, rank, size)).collect();
            assert_eq!(parts, (0..total).collect::<Vec<_>>());
        }
    }
}
