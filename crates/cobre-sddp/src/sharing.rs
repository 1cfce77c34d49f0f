//! Large data in memory that the ranks of one machine share: one copy for all of them.
//!
//! What lies there is never written again, so that it is read as anything else; whether it lies there changes no
//! result.

use std::collections::BTreeMap;
use std::sync::Arc;

use cobre_comm::{CommError, SharedMemoryProvider, SharedRegion};
use cobre_core::Result;
use cobre_lp::{CutStore, Memory, Movable, StageLp};

use crate::policy::Policy;
use crate::problem::Problem;

/// Coefficients of a rank's own below which cuts are not worth a region: 64 KiB.
const LEAST: usize = 1 << 13;

/// The part of all coefficients that may be a rank's own: with each region the cuts grow by a third, so that copying
/// them from region to region costs four times their size in all.
const OWN_PART: usize = 4;

/// A region whose fence is behind it.
struct Settled<R>(R);

impl<R: SharedRegion<u64>> Memory for Settled<R> {
    fn words(&self) -> &[u64] {
        self.0.as_slice()
    }
}

/// The problem with its stage problems and openings in memory that the ranks of this machine share, where they do;
/// every rank gives the same problem. Collective.
///
/// # Errors
/// Those of the communicator.
pub fn share_problem<C: SharedMemoryProvider>(comm: &C, mut problem: Problem) -> Result<Problem> {
    if !shares_memory(comm)? {
        return Ok(problem);
    }
    // Nodes may have a stage problem in common, and still have it then.
    let mut places: BTreeMap<*const StageLp, usize> = BTreeMap::new();
    let mut stages: Vec<Arc<StageLp>> = Vec::new();
    let mut stage_of = Vec::with_capacity(problem.nodes.len());
    for node in &mut problem.nodes {
        let place = *places.entry(Arc::as_ptr(&node.lp)).or_insert(stages.len());
        let stage = std::mem::take(&mut node.lp);
        if place == stages.len() {
            stages.push(stage);
        }
        stage_of.push(place);
    }
    let mut stages: Vec<StageLp> = stages.into_iter().map(Arc::unwrap_or_clone).collect();
    let openings = problem.nodes.iter_mut().flat_map(|node| &mut node.openings);
    let outcomes = openings.flat_map(|opening| opening.outcome.arrays_mut());
    let mut parts: Vec<&mut dyn Movable> = stages.iter_mut().flat_map(StageLp::arrays_mut).collect();
    parts.extend(outcomes);
    move_together(comm, parts)?;
    let stages: Vec<Arc<StageLp>> = stages.into_iter().map(Arc::new).collect();
    for (node, place) in problem.nodes.iter_mut().zip(stage_of) {
        node.lp = Arc::clone(&stages[place]);
    }
    Ok(problem)
}

/// The policy with its cuts in memory that the ranks of this machine share, where they do; every rank gives the same
/// policy. Collective.
///
/// # Errors
/// Those of the communicator.
pub fn share_policy<C: SharedMemoryProvider>(comm: &C, mut policy: Policy) -> Result<Policy> {
    if shares_memory(comm)? {
        move_together(comm, cuts_of(&mut policy))?;
    }
    Ok(policy)
}

/// Moves the cuts of a policy, the same on all ranks, into memory that the ranks of this machine share, when enough
/// of them have come since the last time. Collective.
///
/// # Errors
/// Those of the communicator.
pub(crate) fn share_cuts<C: SharedMemoryProvider>(comm: &C, policy: &mut Policy) -> Result<()> {
    let cuts = || policy.nodes.iter().map(|node| &node.cuts);
    let own: usize = cuts().map(CutStore::own_coefficients).sum();
    let all: usize = cuts().map(Movable::words).sum();
    if own < LEAST.max(all / OWN_PART) {
        return Ok(());
    }
    move_together(comm, cuts_of(policy))
}

fn cuts_of(policy: &mut Policy) -> Vec<&mut dyn Movable> {
    policy.nodes.iter_mut().map(|node| &mut node.cuts as &mut dyn Movable).collect()
}

/// True when other ranks of this machine would share a region with this one. Collective.
///
/// # Errors
/// Those of the communicator.
pub(crate) fn shares_memory<C: SharedMemoryProvider>(comm: &C) -> Result<bool> {
    Ok(comm.split_local()?.size() > 1)
}

/// Moves all parts into one region; leaves them where they are when the system has no memory for it, for then there
/// is only more to keep.
fn move_together<C: SharedMemoryProvider>(comm: &C, parts: Vec<&mut dyn Movable>) -> Result<()> {
    let parts: Vec<_> = parts.into_iter().filter(|part| part.words() > 0).collect();
    let total = parts.iter().map(|part| part.words()).sum();
    let mut region = match comm.create_shared_region::<u64>(total) {
        Ok(region) => region,
        Err(CommError::AllocationFailed { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // Followers have nothing to write where the memory is truly shared.
    let mut rest = region.as_mut_slice();
    if !rest.is_empty() {
        for part in &parts {
            let (place, after) = rest.split_at_mut(part.words());
            part.copy_into(place);
            rest = after;
        }
    }
    region.fence()?;
    let memory: Arc<dyn Memory> = Arc::new(Settled(region));
    let mut first = 0;
    for part in parts {
        let words = part.words();
        part.lend(Arc::clone(&memory), first);
        first += words;
    }
    Ok(())
}
