//! How ranks wait for each other: one counter of each rank, which only that rank advances.
//!
//! A rank's epoch says how many steps it has begun. What belongs to a step is written before the epoch moves, and
//! what was read in a step is done with when the epoch moves on: so buffers may be written again without a second
//! barrier. Nothing here knows where the words lie; the same code runs over a mapped segment and over the model
//! checker's atomics.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// The words the ranks share.
pub(super) trait Board {
    /// Number of ranks.
    fn size(&self) -> usize;
    /// Steps begun by a rank.
    fn epoch(&self, rank: usize) -> &AtomicU32;
    /// Number of ranks that sleep until that rank's epoch moves.
    fn sleepers(&self, rank: usize) -> &AtomicU32;
    /// What a rank calls, for calls of even and odd number.
    fn call(&self, rank: usize, parity: usize) -> &AtomicU64;
    /// Not zero once the job has failed.
    fn poison(&self) -> &AtomicU64;
    /// Sleeps while the epoch of a rank is `seen`: until woken, for a slice of time, or less.
    fn sleep(&self, rank: usize, seen: u32);
    /// Wakes everybody that sleeps on the epoch of a rank.
    fn wake(&self, rank: usize);
}

/// How long a rank watches before it sleeps, and what it looks after between two slices of sleep.
pub(super) trait Patience {
    /// Why a wait is given up.
    type Fault;
    /// Looks before the processor is given away.
    fn spins(&mut self) -> u32;
    /// Whether to give the processor away once more and look again, after `round` times.
    fn goes_on_yielding(&mut self, round: u32) -> bool;
    /// A wait ended while the rank kept its processor, or it had to give it away.
    fn learn(&mut self, was_short: bool);
    /// A slice of sleep is over and the rank is not there. The wait goes on unless there is a fault.
    fn after_slice(&mut self, rank: usize, step: u32) -> Option<Self::Fault>;
    /// The job is poisoned.
    fn poisoned(&mut self, word: u64) -> Self::Fault;
}

/// Whether a rank whose epoch is `epoch` has begun `step`. Epochs wrap; no two are ever half the range apart.
pub(super) fn has_begun(epoch: u32, step: u32) -> bool {
    epoch.wrapping_sub(step) as i32 >= 0
}

/// Makes the job unusable; the first cause stays. Returns whether this is the first.
pub(super) fn poison(board: &impl Board, word: u64) -> bool {
    let is_first = board.poison().compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire).is_ok();
    (0..board.size()).for_each(|rank| board.wake(rank));
    is_first
}

/// Where one rank is. `step` counts what it has begun, `confirmed` is a step that all ranks are known to have begun.
#[derive(Debug, Default)]
pub(super) struct Progress {
    step: u32,
    confirmed: u32,
    /// Number of the call, of which only the parity matters.
    calls: usize,
    /// Number of times the buffers were used.
    turns: usize,
    /// The step whose end frees each buffer of this rank.
    last_use: [Option<u32>; 2],
}

impl Progress {
    /// As if so many steps were over.
    #[cfg(all(test, loom))]
    pub(super) fn after(step: u32) -> Self {
        Self { step, confirmed: step, ..Self::default() }
    }

    /// The parity of the call that is made or comes next.
    pub(super) fn parity(&self) -> usize {
        self.calls % 2
    }

    /// The step that was begun last.
    pub(super) fn step(&self) -> u32 {
        self.step
    }

    /// Begins the first step of a call. Slots of this [`parity`](Self::parity) are written before.
    ///
    /// They are free: the ranks read them two calls ago, and they all have begun the call between.
    pub(super) fn begin_call(&mut self, board: &impl Board, rank: usize, call: u64) {
        board.call(rank, self.parity()).store(call, Ordering::Relaxed);
        self.begin_step(board, rank);
    }

    /// Begins a step: what was written before is visible to ranks that see it.
    pub(super) fn begin_step(&mut self, board: &impl Board, rank: usize) {
        self.step = self.step.wrapping_add(1);
        board.epoch(rank).store(self.step, Ordering::Release);
        // Either this rank sees the sleeper, or the sleeper sees the epoch.
        fence(Ordering::SeqCst);
        if board.sleepers(rank).load(Ordering::Relaxed) != 0 {
            board.wake(rank);
        }
    }

    /// Ends a call.
    pub(super) fn end_call(&mut self) {
        self.calls = self.calls.wrapping_add(1);
    }

    /// Turns to the other buffer, which all ranks do together.
    pub(super) fn turn(&mut self) -> usize {
        self.turns = self.turns.wrapping_add(1);
        self.turns % 2
    }

    /// Waits until nobody reads the buffer any more that this rank is about to write.
    ///
    /// # Errors
    /// A fault while waiting.
    pub(super) fn await_free<B: Board, P: Patience>(
        &mut self,
        board: &B,
        rank: usize,
        buffer: usize,
        patience: &mut P,
    ) -> Result<(), P::Fault> {
        let Some(last_use) = self.last_use[buffer] else { return Ok(()) };
        let needed = last_use.wrapping_add(1);
        if !has_begun(self.confirmed, needed) {
            for peer in peers(rank, board.size()) {
                await_rank(board, peer, needed, patience)?;
            }
            self.confirmed = needed;
        }
        Ok(())
    }

    /// Notes that the ranks read this rank's buffer in the step that was begun last.
    pub(super) fn note_use(&mut self, buffer: usize) {
        self.last_use[buffer] = Some(self.step);
    }

    /// Waits until all ranks have begun the step that this one has.
    ///
    /// # Errors
    /// A fault while waiting.
    pub(super) fn await_all<B: Board, P: Patience>(
        &mut self,
        board: &B,
        rank: usize,
        patience: &mut P,
    ) -> Result<(), P::Fault> {
        for peer in peers(rank, board.size()) {
            await_rank(board, peer, self.step, patience)?;
        }
        self.confirmed = self.step;
        Ok(())
    }

    /// Notes that all ranks were awaited one by one.
    pub(super) fn confirm(&mut self) {
        self.confirmed = self.step;
    }
}

/// All other ranks, beginning with the next: no two ranks begin with the same.
pub(super) fn peers(rank: usize, size: usize) -> impl Iterator<Item = usize> {
    (rank + 1..size).chain(0..rank)
}

/// Waits until a rank has begun a step.
///
/// # Errors
/// A fault while waiting. A rank that has begun the step is never a fault, whatever happened to it since.
pub(super) fn await_rank<B: Board, P: Patience>(
    board: &B,
    rank: usize,
    step: u32,
    patience: &mut P,
) -> Result<(), P::Fault> {
    let epoch = board.epoch(rank);
    let is_there = || has_begun(epoch.load(Ordering::Acquire), step);
    if is_there() {
        return Ok(());
    }
    for _ in 0..patience.spins() {
        spin();
        if is_there() {
            patience.learn(true);
            return Ok(());
        }
    }
    patience.learn(false);
    let mut round = 0;
    while patience.goes_on_yielding(round) {
        give_way();
        if is_there() {
            return Ok(());
        }
        round += 1;
    }
    loop {
        let word = board.poison().load(Ordering::Acquire);
        if word != 0 {
            // Whoever poisoned the job may have seen the rank begin the step.
            return if is_there() { Ok(()) } else { Err(patience.poisoned(word)) };
        }
        board.sleepers(rank).fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let seen = epoch.load(Ordering::Acquire);
        if !has_begun(seen, step) {
            board.sleep(rank, seen);
        }
        board.sleepers(rank).fetch_sub(1, Ordering::Relaxed);
        if is_there() {
            return Ok(());
        }
        if let Some(fault) = patience.after_slice(rank, step) {
            return Err(fault);
        }
    }
}

#[cfg(not(loom))]
fn spin() {
    std::hint::spin_loop();
}

#[cfg(not(loom))]
fn give_way() {
    rustix::thread::sched_yield();
}

#[cfg(loom)]
fn spin() {
    loom::thread::yield_now();
}

#[cfg(loom)]
fn give_way() {
    loom::thread::yield_now();
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn epochs_wrap() {
        assert!(has_begun(5, 5) && has_begun(6, 5) && !has_begun(4, 5));
        assert!(has_begun(2, u32::MAX) && !has_begun(u32::MAX, 2));
        assert_eq!(peers(1, 4).collect::<Vec<_>>(), [2, 3, 0]);
    }
}
