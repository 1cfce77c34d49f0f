//! The bound that a node's successors give at a trial point.

use cobre_core::{CancelToken, Error, Result};
use cobre_lp::{Certificate, CutStore, LpSolver};

use crate::chain::Chains;
use crate::exchange::Cut;
use crate::failure::Place;
use crate::problem::{Problem, Transition};
use crate::risk::Risk;
use crate::workers::{Worker, Workers};

/// Openings of one path and node that are solved as one unit. A matter of the problem's size alone: units begin
/// from the starting basis, so another number gives other bits.
const OPENINGS_PER_UNIT: usize = 32;

/// A certificate further below the solver's objective than this (relative, 1 at least) is worth a second solve.
const LOOSE: f64 = 1e-8;

/// A point that violates its stage's rows by more than this (relative) is worth a second solve.
const INFEASIBLE: f64 = 1e-6;

/// A point whose successors are to be evaluated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrialPoint<'a, St> {
    /// Path in global numbering, for messages.
    pub(crate) path: u64,
    pub(crate) state: &'a [f64],
    pub(crate) arcs: &'a [Transition],
    pub(crate) risk: &'a Risk,
    /// The stage that followed on the path, if it did: its node, opening and final basis.
    pub(crate) next: Option<(usize, usize, &'a St)>,
}

/// What evaluations have in common.
pub(crate) struct Backward<'a, S: LpSolver> {
    pub(crate) problem: &'a Problem,
    pub(crate) cuts: &'a [&'a CutStore],
    pub(crate) bases: &'a [S::State],
    pub(crate) chains: &'a [Chains],
    pub(crate) iteration: u64,
    pub(crate) failure_directory: Option<&'a std::path::Path>,
    pub(crate) cancel: &'a CancelToken,
}

/// Some openings of one arc of one trial point.
struct Unit {
    point: usize,
    arc: usize,
    first: usize,
}

impl<S: LpSolver> Backward<'_, S> {
    /// One affine bound per trial point on the risk-adjusted cost of what follows, `None` where an opening gave no
    /// certificate.
    pub(crate) fn evaluate(
        &self,
        workers: &Workers<S>,
        points: &[TrialPoint<'_, S::State>],
    ) -> Result<Vec<Option<Cut>>> {
        let mut units = Vec::new();
        for (point, trial) in points.iter().enumerate() {
            for (arc, transition) in trial.arcs.iter().enumerate() {
                let openings = self.problem.nodes[transition.child].openings.len();
                units.extend((0..openings).step_by(OPENINGS_PER_UNIT).map(|first| Unit {
                    point,
                    arc,
                    first,
                }));
            }
        }
        let solved = workers.run(units.len(), self.cancel, |worker, index| {
            let unit = &units[index];
            self.solve(worker, &points[unit.point], unit)
        })?;
        let mut bounds: Vec<Vec<Vec<Option<Certificate>>>> = points
            .iter()
            .map(|trial| {
                let openings = |arc: &Transition| self.problem.nodes[arc.child].openings.len();
                trial.arcs.iter().map(|arc| vec![None; openings(arc)]).collect()
            })
            .collect();
        for (unit, certificates) in units.iter().zip(solved) {
            for (opening, certificate) in certificates {
                bounds[unit.point][unit.arc][opening] = certificate;
            }
        }
        Ok(points.iter().zip(bounds).map(|(trial, bounds)| self.aggregate(trial, bounds)).collect())
    }

    /// Solves a unit's openings one after the other, each from where the last one ended.
    fn solve(
        &self,
        worker: &mut Worker<S>,
        trial: &TrialPoint<'_, S::State>,
        unit: &Unit,
    ) -> Result<Vec<(usize, Option<Certificate>)>> {
        let child = trial.arcs[unit.arc].child;
        let node = &self.problem.nodes[child];
        let (start, basis) = match trial.next {
            Some((next, opening, basis)) if next == child => (opening, basis),
            _ => (0, &self.bases[child]),
        };
        let end = (unit.first + OPENINGS_PER_UNIT).min(node.openings.len());
        let chain = self.chains[child].part(start, unit.first..end);
        let (solver, certifier) = worker.solver(self.problem, child)?;
        let cuts = self.cuts[child];
        solver.begin_unit(basis, cuts)?;
        let mut certificates = Vec::with_capacity(end - unit.first);
        for opening in chain {
            self.cancel.check()?;
            solver.set(trial.state, &node.openings[opening].outcome);
            let fail = |failure, solver: &mut S| -> Error {
                let (iteration, path, directory) = (self.iteration, trial.path, self.failure_directory);
                Place { node, iteration, path, opening, directory }.error(&failure, solver)
            };
            solver.solve(cuts).map_err(|failure| fail(failure, solver))?;
            let mut certify =
                |solver: &S| certifier.certify(solver.instance(), solver.solution(), cuts, node.cost_to_go());
            let mut certificate = certify(solver);
            if !is_sound(solver, certificate.as_ref(), trial.state) {
                solver.solve_cold(cuts).map_err(|failure| fail(failure, solver))?;
                let height = |certificate: &Certificate| certificate.at(trial.state);
                let again = certify(solver);
                let higher = |a: &Certificate, b: &Certificate| height(a).total_cmp(&height(b));
                certificate = certificate.into_iter().chain(again).max_by(higher);
            }
            certificates.push((opening, certificate));
        }
        Ok(certificates)
    }

    /// Combines the openings' bounds under the measure of risk over (child, opening). The probability that is
    /// missing to one is an outcome that costs nothing.
    fn aggregate(
        &self,
        trial: &TrialPoint<'_, S::State>,
        bounds: Vec<Vec<Option<Certificate>>>,
    ) -> Option<Cut> {
        let largest = trial.arcs.iter().map(|arc| arc.discount).fold(0.0, f64::max);
        let mut certificates = Vec::new();
        let mut costs = Vec::new();
        let mut probabilities = Vec::new();
        for (arc, bounds) in trial.arcs.iter().zip(bounds) {
            let factor = arc.discount / largest;
            for (opening, bound) in self.problem.nodes[arc.child].openings.iter().zip(bounds) {
                let bound = bound?;
                costs.push(factor * bound.at(trial.state));
                probabilities.push(arc.probability * opening.probability);
                certificates.push((factor, bound));
            }
        }
        let ending = 1.0 - trial.arcs.iter().map(|arc| arc.probability).sum::<f64>();
        if ending > 1e-9 {
            costs.push(0.0);
            probabilities.push(ending);
        }
        let weights = trial.risk.adjust(&costs, &probabilities);
        let mut cut = Cut { intercept: 0.0, coefficients: vec![0.0; trial.state.len()] };
        for (weight, (factor, bound)) in weights.iter().zip(&certificates) {
            cut.intercept += weight * factor * bound.constant;
            for (coefficient, slope) in cut.coefficients.iter_mut().zip(&bound.gradient) {
                *coefficient += weight * factor * slope;
            }
        }
        Some(cut)
    }
}

fn is_sound<S: LpSolver>(solver: &S, certificate: Option<&Certificate>, state: &[f64]) -> bool {
    certificate.is_some_and(|certificate| {
        let objective = solver.solution().objective;
        (objective - certificate.at(state)).abs() <= LOOSE * objective.abs().max(1.0)
            && solver.instance().residual(&solver.solution().primal) <= INFEASIBLE
    })
}

impl Cut {
    /// The cut's value at a state, in $.
    pub(crate) fn at(&self, state: &[f64]) -> f64 {
        self.intercept + self.coefficients.iter().zip(state).map(|(slope, value)| slope * value).sum::<f64>()
    }
}
