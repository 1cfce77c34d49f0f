//! The threads of one process and what each of them owns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cobre_core::{CancelToken, Error, ErrorKind, Result};
use cobre_lp::{Certifier, Counts, LpSolver};
use rayon::prelude::*;

use crate::problem::Problem;

/// One thread's solvers, made when a node is first visited, and scratch memory.
pub(crate) struct Worker<S> {
    solvers: Vec<Option<S>>,
    pub(crate) certifier: Certifier,
}

impl<S: LpSolver> Worker<S> {
    /// The solver of a node, with the certifier beside it.
    pub(crate) fn solver(&mut self, problem: &Problem, node: usize) -> Result<(&mut S, &mut Certifier)> {
        let slot = &mut self.solvers[node];
        if slot.is_none() {
            let node = &problem.nodes[node];
            *slot = Some(S::new(Arc::clone(&node.lp), node.cost_to_go())?);
        }
        Ok((slot.as_mut().expect("made above"), &mut self.certifier))
    }

    /// What all solvers did so far.
    fn counts(&self) -> Counts {
        self.solvers.iter().flatten().map(LpSolver::counts).sum()
    }
}

/// A pool of threads with one [`Worker`] each. Which thread does which unit of work never shows in a result:
/// units begin from a state that does not depend on what the worker did before.
pub(crate) struct Workers<S> {
    pool: rayon::ThreadPool,
    workers: Vec<Mutex<Worker<S>>>,
}

impl<S: LpSolver> Workers<S> {
    pub(crate) fn new(threads: usize, nodes: usize) -> Result<Self> {
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("cobre-{index}"))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::InternalPanic, "threads could not be started").caused_by(error)
            })?;
        let worker =
            || Worker { solvers: (0..nodes).map(|_| None).collect(), certifier: Certifier::default() };
        let workers = (0..threads).map(|_| Mutex::new(worker())).collect();
        Ok(Self { pool, workers })
    }

    /// Runs `count` independent units and returns their results in order; the first error in that order wins.
    ///
    /// # Errors
    /// That of a unit, or [`ErrorKind::Cancelled`] when the token was cancelled before the last unit began.
    pub(crate) fn run<T: Send>(
        &self,
        count: usize,
        cancel: &CancelToken,
        unit: impl Fn(&mut Worker<S>, usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        // The lowest failed unit is the one that is reported: those above it need not begin, those below must.
        let failed = AtomicUsize::new(usize::MAX);
        let results: Vec<Result<T>> = self.pool.install(|| {
            (0..count)
                .into_par_iter()
                .with_max_len(1)
                .map(|index| {
                    cancel.check()?;
                    if failed.load(Ordering::Relaxed) < index {
                        return Err(Error::new(ErrorKind::Cancelled, "an earlier unit failed"));
                    }
                    let thread = rayon::current_thread_index().expect("inside the pool");
                    let mut worker =
                        self.workers[thread].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    let result = unit(&mut worker, index);
                    if result.is_err() {
                        failed.fetch_min(index, Ordering::Relaxed);
                    }
                    result
                })
                .collect()
        });
        results.into_iter().collect()
    }

    /// What all threads did so far.
    pub(crate) fn counts(&self) -> Counts {
        let lock = |worker: &Mutex<Worker<S>>| {
            worker.lock().unwrap_or_else(std::sync::PoisonError::into_inner).counts()
        };
        self.workers.iter().map(lock).sum()
    }
}
