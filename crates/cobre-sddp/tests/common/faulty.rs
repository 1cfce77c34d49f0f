//! A solver that does something else at a chosen solve of a chosen rank.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use cobre_core::{CancelToken, Result};
use cobre_lp::{
    CostToGo, Counts, CutStore, Failure, Highs, Instance, LpSolver, Outcome, Solution, StageLp, Status,
};
use cobre_sddp::Problem;

/// What happens at the chosen solve.
#[derive(Clone, Debug)]
pub enum Action {
    /// Somebody cancels the rank's job.
    Cancel(CancelToken),
    /// The solve fails.
    Fail,
}

struct Fault {
    left: AtomicU64,
    action: Action,
}

/// Faults by the address of the stage problems they are for: the one thing that a solver is told of its rank.
static FAULTS: Mutex<BTreeMap<usize, Arc<Fault>>> = Mutex::new(BTreeMap::new());

/// A copy of a problem in which the solve of a number, counted from 1 over all nodes, is faulty.
pub struct Trap {
    /// The copy.
    pub problem: Problem,
}

impl Trap {
    pub fn new(problem: &Problem, solve: u64, action: Action) -> Self {
        let fault = Arc::new(Fault { left: AtomicU64::new(solve), action });
        let mut problem = problem.clone();
        for node in &mut problem.nodes {
            node.lp = Arc::new(StageLp::clone(&node.lp));
            let address = Arc::as_ptr(&node.lp).addr();
            FAULTS.lock().unwrap().insert(address, Arc::clone(&fault));
        }
        Self { problem }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        for node in &self.problem.nodes {
            FAULTS.lock().unwrap().remove(&Arc::as_ptr(&node.lp).addr());
        }
    }
}

/// `HiGHS`, with the fault of its stage problem.
pub struct Faulty {
    solver: Highs,
    fault: Option<Arc<Fault>>,
}

impl LpSolver for Faulty {
    type State = <Highs as LpSolver>::State;

    fn new(lp: Arc<StageLp>, cost_to_go: Option<CostToGo>) -> Result<Self> {
        let address = Arc::as_ptr(&lp).addr();
        let fault = FAULTS.lock().unwrap().get(&address).cloned();
        Ok(Self { solver: Highs::new(lp, cost_to_go)?, fault })
    }

    fn crash_state(&self) -> Self::State {
        self.solver.crash_state()
    }

    fn begin_unit(&mut self, state: &Self::State, cuts: &CutStore) -> Result<()> {
        self.solver.begin_unit(state, cuts)
    }

    fn set(&mut self, incoming: &[f64], outcome: &Outcome) {
        self.solver.set(incoming, outcome);
    }

    fn solve(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure> {
        if let Some(fault) = &self.fault
            && fault.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            match &fault.action {
                Action::Cancel(token) => token.cancel(),
                Action::Fail => {
                    let attempts = vec!["fault: injected".to_owned()];
                    return Err(Failure { status: Status::Failed, attempts });
                }
            }
        }
        self.solver.solve(cuts)
    }

    fn solve_cold(&mut self, cuts: &CutStore) -> std::result::Result<(), Failure> {
        self.solver.solve_cold(cuts)
    }

    fn solution(&self) -> &Solution {
        self.solver.solution()
    }

    fn instance(&self) -> &Instance {
        self.solver.instance()
    }

    fn state(&self) -> Self::State {
        self.solver.state()
    }

    fn counts(&self) -> Counts {
        self.solver.counts()
    }

    fn conflicting_rows(&mut self) -> Vec<String> {
        self.solver.conflicting_rows()
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        self.solver.save(path)
    }
}
