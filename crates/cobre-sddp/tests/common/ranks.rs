//! Ranks that are threads of the test's process and talk over shared memory.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use cobre_comm::{ShmBackend, ShmConfig};

/// No group of these tests works for as long as this: one that does has ranks that wait for each other for ever.
const WATCHDOG: Duration = Duration::from_mins(3);

/// Runs `work` on every rank of a group and returns the results in rank order. Ranks that never return end the test.
pub fn on_ranks<T: Send>(size: usize, work: impl Fn(&ShmBackend) -> T + Sync) -> Vec<T> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("/cobre-engine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (done, waiting) = channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(WATCHDOG) == Err(RecvTimeoutError::Timeout) {
            writeln!(std::io::stderr(), "the ranks wait for each other").expect("standard error is open");
            std::process::abort();
        }
    });
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                let (name, work) = (name.as_str(), &work);
                scope.spawn(move || {
                    let comm = ShmBackend::connect(&ShmConfig::new(name, rank, size));
                    work(&comm.expect("the ranks meet"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank panicked")).collect()
    });
    drop(done);
    results
}
