//! The protocol under a model checker: every order in which two or three ranks can run, up to a number of preemptions
//! where that is too many, and every value that the memory model lets them see.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p cobre-comm --features shm --lib model`
//!
//! A futex is a lock and a condition here. The kernel ends a sleep after a slice of time; that matters only when the
//! job is poisoned while a rank falls asleep, so the sleep of a poisoned job ends at once. A lost wake-up is a
//! deadlock, which the checker reports.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};

use super::protocol::{Board, Patience, Progress, await_rank, peers, poison};

struct Seat {
    epoch: AtomicU32,
    sleepers: AtomicU32,
    calls: [AtomicU64; 2],
    bed: Mutex<()>,
    alarm: Condvar,
    /// What a rank gives to the others: the checker reports an access that races with a write.
    slots: [UnsafeCell<u64>; 2],
}

struct Model {
    seats: Vec<Seat>,
    poison: AtomicU64,
    /// Steps that are over when the model begins.
    start: u32,
}

impl Model {
    fn new(ranks: usize, start: u32) -> Arc<Self> {
        let seat = |_| Seat {
            epoch: AtomicU32::new(start),
            sleepers: AtomicU32::new(0),
            calls: [AtomicU64::new(0), AtomicU64::new(0)],
            bed: Mutex::new(()),
            alarm: Condvar::new(),
            slots: [UnsafeCell::new(0), UnsafeCell::new(0)],
        };
        Arc::new(Self { seats: (0..ranks).map(seat).collect(), poison: AtomicU64::new(0), start })
    }

    fn write(&self, rank: usize, slot: usize, value: u64) {
        self.seats[rank].slots[slot].with_mut(|at| set(at, value));
    }

    fn read(&self, rank: usize, slot: usize) -> u64 {
        self.seats[rank].slots[slot].with(get)
    }
}

fn set(at: *mut u64, value: u64) {
    #![allow(unsafe_code, reason = "the checker's cell hands out a pointer")]
    // SAFETY: the checker fails the test when another thread uses the cell meanwhile.
    unsafe { *at = value }
}

fn get(at: *const u64) -> u64 {
    #![allow(unsafe_code, reason = "the checker's cell hands out a pointer")]
    // SAFETY: as above.
    unsafe { *at }
}

impl Board for Model {
    fn size(&self) -> usize {
        self.seats.len()
    }

    fn epoch(&self, rank: usize) -> &AtomicU32 {
        &self.seats[rank].epoch
    }

    fn sleepers(&self, rank: usize) -> &AtomicU32 {
        &self.seats[rank].sleepers
    }

    fn call(&self, rank: usize, parity: usize) -> &AtomicU64 {
        &self.seats[rank].calls[parity]
    }

    fn poison(&self) -> &AtomicU64 {
        &self.poison
    }

    fn sleep(&self, rank: usize, seen: u32) {
        let seat = &self.seats[rank];
        let bed = seat.bed.lock().unwrap();
        if seat.epoch.load(Ordering::Relaxed) == seen && self.poison.load(Ordering::Relaxed) == 0 {
            drop(seat.alarm.wait(bed).unwrap());
        }
    }

    fn wake(&self, rank: usize) {
        let seat = &self.seats[rank];
        let bed = seat.bed.lock().unwrap();
        seat.alarm.notify_all();
        drop(bed);
    }
}

/// Looks so often before it sleeps.
struct Looks(u32);

impl Patience for Looks {
    type Fault = u64;

    fn spins(&mut self) -> u32 {
        self.0
    }

    fn goes_on_yielding(&mut self, round: u32) -> bool {
        round < self.0
    }

    fn learn(&mut self, _: bool) {}

    fn after_slice(&mut self, _: usize, _: u32) -> Option<u64> {
        None
    }

    fn poisoned(&mut self, word: u64) -> u64 {
        word
    }
}

/// Checks all orders of `ranks` threads that do `work`; rank 0 is the checker's first thread.
fn check(
    ranks: usize,
    preemptions: Option<usize>,
    work: impl Fn(&Model, usize) + Clone + Send + Sync + 'static,
) {
    check_from(0, ranks, preemptions, work);
}

/// As [`check`], after `start` steps.
fn check_from(
    start: u32,
    ranks: usize,
    preemptions: Option<usize>,
    work: impl Fn(&Model, usize) + Clone + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let model = Model::new(ranks, start);
        let others: Vec<_> = (1..ranks)
            .map(|rank| {
                let (model, work) = (Arc::clone(&model), work.clone());
                loom::thread::spawn(move || work(&model, rank))
            })
            .collect();
        work(&model, 0);
        others.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Calls in which every rank gives a value and reads all: the slots of two calls ago are written again.
fn exchanges(model: &Model, rank: usize, calls: u64, looks: u32) {
    let mut progress = Progress::after(model.start);
    for number in 1..=calls {
        let slot = progress.parity();
        model.write(rank, slot, 10 * number + rank as u64);
        progress.begin_call(model, rank, number);
        progress.await_all(model, rank, &mut Looks(looks)).unwrap();
        for peer in peers(rank, model.size()) {
            assert_eq!(model.read(peer, slot), 10 * number + peer as u64);
            assert_eq!(model.call(peer, slot).load(Ordering::Relaxed), number);
        }
        progress.end_call();
    }
}

#[test]
fn two_ranks_exchange() {
    check(2, Some(4), |model, rank| exchanges(model, rank, 2, 0));
}

#[test]
fn two_ranks_write_slots_again() {
    check(2, Some(3), |model, rank| exchanges(model, rank, 4, 0));
}

#[test]
fn two_ranks_watch_before_they_sleep() {
    check(2, Some(3), |model, rank| exchanges(model, rank, 2, 1));
}

#[test]
fn three_ranks_exchange() {
    check(3, Some(2), |model, rank| exchanges(model, rank, 1, 0));
}

#[test]
fn three_ranks_write_slots_again() {
    check(3, Some(1), |model, rank| exchanges(model, rank, 3, 0));
}

/// A broadcast in pieces: the root runs ahead of the others until both buffers are in use.
fn pieces(model: &Model, rank: usize, number: u64) {
    let mut progress = Progress::after(model.start);
    for piece in 0..number {
        let buffer = progress.turn();
        if rank == 0 {
            progress.await_free(model, rank, buffer, &mut Looks(0)).unwrap();
            model.write(0, buffer, 100 + piece);
        }
        progress.begin_step(model, rank);
        if rank == 0 {
            progress.note_use(buffer);
        } else {
            await_rank(model, 0, progress.step(), &mut Looks(0)).unwrap();
            assert_eq!(model.read(0, buffer), 100 + piece);
        }
    }
}

#[test]
fn a_root_waits_for_its_readers() {
    check(2, Some(4), |model, rank| pieces(model, rank, 3));
    check(2, Some(2), |model, rank| pieces(model, rank, 5));
    check(3, Some(1), |model, rank| pieces(model, rank, 4));
}

/// The last rank poisons the job instead of a second call: all others complete the first and fail in the second.
fn poisoned(model: &Model, rank: usize) {
    let mut progress = Progress::after(model.start);
    progress.begin_call(model, rank, 1);
    progress.await_all(model, rank, &mut Looks(0)).expect("all ranks began the first call");
    progress.end_call();
    if rank + 1 == model.size() {
        assert!(poison(model, 7));
        return;
    }
    progress.begin_call(model, rank, 2);
    assert_eq!(progress.await_all(model, rank, &mut Looks(0)), Err(7));
}

#[test]
fn poison_reaches_sleepers() {
    check(2, None, poisoned);
    check(3, Some(1), poisoned);
}

#[test]
fn the_first_cause_stays() {
    check(2, None, |model, rank| {
        let is_first = poison(model, 1 + rank as u64);
        let word = model.poison().load(Ordering::Acquire);
        assert_eq!(is_first, word == 1 + rank as u64);
    });
}

#[test]
fn epochs_wrap() {
    check_from(u32::MAX - 1, 2, Some(2), |model, rank| exchanges(model, rank, 3, 0));
    check_from(u32::MAX - 1, 2, Some(2), |model, rank| pieces(model, rank, 5));
}
