//! The error of a stage problem that could not be solved.

use std::path::{Path, PathBuf};

use cobre_core::{Error, ErrorKind};
use cobre_lp::{Failure, LpSolver, Status};

use crate::problem::Node;

/// Where in a job a stage problem failed.
pub(crate) struct Place<'a> {
    pub(crate) node: &'a Node,
    pub(crate) iteration: u64,
    pub(crate) path: u64,
    pub(crate) opening: usize,
    pub(crate) directory: Option<&'a Path>,
}

impl Place<'_> {
    /// Saves the linear program and says all that is known.
    pub(crate) fn error<S: LpSolver>(&self, failure: &Failure, solver: &mut S) -> Error {
        let Self { node, iteration, path, opening, .. } = *self;
        let status = failure.status.as_str();
        let message =
            format!("the stage problem of {} is {status} on path {path} under opening {opening}", node.name);
        let mut error = Error::new(ErrorKind::SolverFailure, message)
            .with("stage", node.stage)
            .with("node", node.name.as_str())
            .with("iteration", iteration)
            .with("path", path)
            .with("noise", opening)
            .with("solver_status", status)
            .with("attempts", failure.attempts.join("; "));
        if failure.status == Status::Infeasible {
            let rows = solver.conflicting_rows();
            if !rows.is_empty() {
                error = error.with("conflicting_rows", rows.join(", "));
            }
            error = error.suggesting(
                "every stage needs a feasible point for every state and outcome: \
                 give hard limits a slack with a penalty",
            );
        }
        let file = self.file();
        match solver.save(&file) {
            Ok(()) => error.with("lp_file", file.display().to_string()),
            Err(reason) => error.with("lp_file_error", reason.to_string()),
        }
    }

    fn file(&self) -> PathBuf {
        let word: String = self
            .node
            .name
            .chars()
            .map(|letter| if letter.is_alphanumeric() { letter } else { '_' })
            .collect();
        let name =
            format!("cobre_{word}_path_{}_opening_{}_{}.mps", self.path, self.opening, std::process::id());
        self.directory.map_or_else(std::env::temp_dir, Path::to_path_buf).join(name)
    }
}
