//! What a rank does while it waits: watch, sleep, see who lives, and give up when the time is over.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::attach::{Attached, processors, rank_byte};
use super::call::describe;
use super::config::{ShmConfig, SpinLimit};
use super::fault::Cause;
use super::locks::is_locked;
use super::protocol::{Board, Patience, has_begun, peers, poison};
use super::segment::Standing;
use crate::{CommError, Stall};

/// How often a rank looks before it sleeps, by what the last waits taught.
#[derive(Debug)]
pub(super) struct SpinBudget {
    spins: u32,
    waits: u32,
    limit: SpinLimit,
}

impl SpinBudget {
    const LEAST: u32 = 4;
    /// Of so many waits, one is a trial.
    const TRIAL: u32 = 32;

    /// Ranks that have processors of their own watch some microseconds, and in all longer than it takes to wake: two
    /// ranks that each fall asleep while the other wakes up would go on like that. Others give way at once.
    pub(super) fn new(config: &ShmConfig) -> Self {
        let is_crowded = config.size > processors();
        let usual = if is_crowded {
            SpinLimit { spins: 20, yields: 32 }
        } else {
            SpinLimit { spins: 200, yields: 256 }
        };
        let limit = config.spin.unwrap_or(usual);
        Self { spins: limit.spins, waits: 0, limit }
    }
}

/// One call's waits.
pub(super) struct Watch<'a> {
    pub(super) job: &'a Attached,
    pub(super) config: &'a ShmConfig,
    pub(super) operation: &'static str,
    /// Parity of the call, under which the ranks' calls lie.
    pub(super) parity: usize,
    pub(super) budget: &'a mut SpinBudget,
    /// When the rank began to sleep for this step, and when it tells next that it does.
    pub(super) asleep: Option<(u32, Instant, Duration)>,
    pub(super) yielding_since: Option<Instant>,
}

impl Watch<'_> {
    /// How long a rank gives way before it sleeps.
    const YIELDING: Duration = Duration::from_millis(1);

    fn missing(&self, step: u32) -> Vec<usize> {
        let segment = &self.job.segment;
        peers(self.config.rank, self.config.size)
            .filter(|&rank| !has_begun(segment.epoch(rank).load(std::sync::atomic::Ordering::Acquire), step))
            .collect()
    }

    /// Poisons the job, and the error of whatever cause came first.
    fn fail(&mut self, cause: Cause, error: CommError) -> CommError {
        let segment = &self.job.segment;
        if poison(segment, cause.encode()) {
            return error;
        }
        self.poisoned(segment.poison().load(std::sync::atomic::Ordering::Acquire))
    }

    /// The error of a rank whose call is another than this rank's.
    pub(super) fn mismatch(&mut self, peer: usize, own: u64, other: u64) -> CommError {
        let detail = format!("{} here, {} on rank {peer}", describe(own), describe(other));
        let error = CommError::Mismatch { operation: self.operation, rank: Some(peer), detail };
        let cause = Cause::Mismatch { ranks: [self.config.rank, peer] };
        poison(&self.job.segment, cause.encode());
        error
    }
}

impl Patience for Watch<'_> {
    type Fault = CommError;

    fn spins(&mut self) -> u32 {
        self.budget.waits = self.budget.waits.wrapping_add(1);
        // Now and then the whole budget, to find out whether the others have processors of their own by now.
        if self.budget.waits.is_multiple_of(SpinBudget::TRIAL) {
            self.budget.limit.spins
        } else {
            self.budget.spins
        }
    }

    fn goes_on_yielding(&mut self, round: u32) -> bool {
        if round == 0 {
            self.yielding_since = Some(Instant::now());
        }
        // Where others want the processor, few rounds take long.
        let is_long =
            round % 16 == 15 && self.yielding_since.is_some_and(|since| since.elapsed() > Self::YIELDING);
        round < self.budget.limit.yields && !is_long
    }

    fn learn(&mut self, was_short: bool) {
        let limit = self.budget.limit.spins;
        self.budget.spins =
            if was_short { limit } else { (self.budget.spins / 2).max(SpinBudget::LEAST.min(limit)) };
    }

    fn after_slice(&mut self, _: usize, step: u32) -> Option<CommError> {
        let now = Instant::now();
        let (began, notice) = match self.asleep {
            Some((asleep_in, began, notice)) if asleep_in == step => (began, notice),
            _ => (now, self.config.stall_notice),
        };
        self.asleep = Some((step, began, notice));
        for rank in self.missing(step) {
            let file = self.job.file.as_fd();
            if !matches!(is_locked(file, rank_byte(rank)), Ok(false)) {
                continue;
            }
            // It may have begun the step and gone after that.
            if self.missing(step).contains(&rank) {
                let has_left = self.job.segment.standing(rank) == Standing::Left;
                let cause = if has_left { Cause::Left { rank } } else { Cause::Died { rank } };
                let error = error_of(cause, self.operation, &[]);
                return Some(self.fail(cause, error));
            }
        }
        let waited = now - began;
        let missing = self.missing(step);
        if let (Some(timeout), Some(&rank)) = (self.config.timeout, missing.first())
            && waited >= timeout
        {
            let waited_ms = waited.as_millis() as u64;
            let error = CommError::Timeout { operation: self.operation, waited_ms, missing };
            return Some(self.fail(Cause::Stalled { rank }, error));
        }
        if waited >= notice && !missing.is_empty() {
            self.asleep = Some((step, began, notice + self.config.stall_notice));
            self.config.tell(&Stall { operation: self.operation, waited, missing });
        }
        None
    }

    fn poisoned(&mut self, word: u64) -> CommError {
        let cause = Cause::decode(word);
        let calls = match cause {
            Cause::Mismatch { ranks } => ranks.to_vec(),
            _ => Vec::new(),
        };
        let call_of =
            |rank| self.job.segment.call(rank, self.parity).load(std::sync::atomic::Ordering::Relaxed);
        let own = call_of(self.config.rank);
        let calls: Vec<(usize, u64)> = calls
            .into_iter()
            .filter(|&rank| rank < self.config.size)
            .map(|rank| (rank, call_of(rank)))
            .collect();
        let texts: Vec<String> =
            calls.iter().map(|&(rank, call)| format!("{} on rank {rank}", describe(call))).collect();
        match error_of(cause, self.operation, &texts) {
            CommError::Mismatch { operation, rank, detail } => {
                // A rank that has not published its call yet cannot tell with whom it agrees.
                let agrees = calls.iter().any(|(_, call)| *call == own);
                let other = calls.iter().find(|(_, call)| agrees && *call != own).map(|(rank, _)| *rank);
                CommError::Mismatch { operation, rank: rank.or(other), detail }
            }
            CommError::Timeout { operation, missing, .. } => {
                let waited_ms = self.asleep.map_or(0, |(_, began, _)| began.elapsed().as_millis() as u64);
                CommError::Timeout { operation, waited_ms, missing }
            }
            error => error,
        }
    }
}

/// The error of a rank that learns the cause.
fn error_of(cause: Cause, operation: &'static str, calls: &[String]) -> CommError {
    match cause {
        Cause::Died { rank } => CommError::PeerLost { rank, how: "its process ended".into() },
        Cause::Left { rank } => CommError::PeerLost { rank, how: "it left the job".into() },
        Cause::Aborted { rank, code } => {
            CommError::PeerLost { rank, how: format!("it ended the job with code {code}") }
        }
        Cause::Stalled { rank } => CommError::Timeout { operation, waited_ms: 0, missing: vec![rank] },
        // The calls tell which of the two ranks differs from this one.
        Cause::Mismatch { .. } => CommError::Mismatch { operation, rank: None, detail: calls.join(", ") },
        Cause::Refused { rank } => {
            let detail = format!("rank {rank} refused its own arguments");
            CommError::Mismatch { operation, rank: Some(rank), detail }
        }
    }
}
