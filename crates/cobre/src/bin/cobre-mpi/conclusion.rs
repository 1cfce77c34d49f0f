//! How a job of several ranks ends: with one exit code, and one message.

use cobre::Communicator;
use cobre_core::{Error, ErrorClass, ErrorKind};

use crate::interruption::Interruption;
use crate::report;

/// How a job that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It did what was asked.
    Complete,
    /// A case has problems, which were printed.
    Invalid,
    /// A signal stopped it.
    Interrupted,
}

/// The exit code of a rank, and whether all ranks know how the job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conclusion {
    pub(crate) code: u8,
    pub(crate) is_settled: bool,
}

/// What a rank has to say about the end, in the order of weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Weight {
    Fine = 0,
    Interrupted = 1,
    /// An error that another rank caused.
    Consequence = 2,
    Cause = 3,
}

const INTERRUPTED: u8 = 130;

/// The exit code of an error.
pub(crate) fn exit_code(error: &Error) -> u8 {
    match error.kind().class() {
        ErrorClass::Validation => 2,
        ErrorClass::Solver => 3,
        ErrorClass::Io => 4,
        ErrorClass::Worker => 5,
        ErrorClass::Other => 1,
    }
}

/// Agrees on the end and prints its error on one rank: the lowest of those with the weightiest thing to say.
/// Where ranks no longer hear each other, each speaks for itself.
pub(crate) fn conclude<C: Communicator>(
    comm: &C,
    outcome: Result<Ending, Error>,
    interruption: &Interruption,
) -> Conclusion {
    let signal = interruption.code();
    let (weight, code) = match &outcome {
        Ok(Ending::Complete) => (Weight::Fine, 0),
        Ok(Ending::Invalid) => (Weight::Cause, 2),
        Ok(Ending::Interrupted) => (Weight::Interrupted, signal),
        Err(error) if error.kind() == ErrorKind::Cancelled => (Weight::Interrupted, signal),
        Err(error) if error.kind() == ErrorKind::WorkerFailed => (Weight::Consequence, exit_code(error)),
        Err(error) => (Weight::Cause, exit_code(error)),
    };
    let (rank, size) = (comm.rank(), comm.size());
    let mut all = vec![0u8; 2 * size];
    let displs: Vec<usize> = (0..size).map(|rank| 2 * rank).collect();
    if let Err(error) = comm.allgatherv(&[weight as u8, code], &mut all, &vec![2; size], &displs) {
        // What happened first is what counts.
        let error = outcome.err().unwrap_or_else(|| error.into());
        report::failure(&error, rank, size);
        return Conclusion { code: exit_code(&error), is_settled: false };
    }
    let (speaker, code) = settle(&all);
    if speaker == rank {
        match &outcome {
            Err(error) if weight > Weight::Interrupted => report::failure(error, 0, size),
            Err(_) => report::complain("interrupted: what is not complete was not written; run it again"),
            Ok(_) => {}
        }
    }
    Conclusion { code, is_settled: true }
}

/// The rank that speaks and the exit code of all, from every rank's weight and code.
fn settle(all: &[u8]) -> (usize, u8) {
    let heaviest = all.chunks_exact(2).map(|said| said[0]).max().unwrap_or(0);
    let mut heard = all.chunks_exact(2).enumerate().filter(|(_, said)| said[0] == heaviest);
    let (speaker, first) = heard.next().map_or((0, 0), |(rank, said)| (rank, said[1]));
    if heaviest != Weight::Interrupted as u8 {
        return (speaker, first);
    }
    // Only ranks that got the signal know which one it was.
    let code = all.chunks_exact(2).map(|said| said[1]).find(|&code| code > 2);
    (speaker, code.unwrap_or(INTERRUPTED))
}

#[cfg(test)]
mod tests {
    use cobre::LocalBackend;

    use super::*;

    #[test]
    fn the_cause_decides_whoever_has_it() {
        assert_eq!(settle(&[0, 0, 0, 0]), (0, 0));
        assert_eq!(settle(&[2, 5, 3, 3, 3, 4]), (1, 3));
        assert_eq!(settle(&[2, 5, 1, 143]), (0, 5));
        assert_eq!(settle(&[1, 0, 1, 143, 1, 130]), (0, 143));
        assert_eq!(settle(&[1, 0, 1, 0]), (0, INTERRUPTED));
        assert_eq!(settle(&[0, 2, 0, 2]), (0, 2));
    }

    #[test]
    fn codes_follow_the_class() {
        for (kind, code) in [
            (ErrorKind::ParseError, 2),
            (ErrorKind::IncompatibleRuns, 2),
            (ErrorKind::SolverFailure, 3),
            (ErrorKind::BackendFailure, 4),
            (ErrorKind::WorkerFailed, 5),
            (ErrorKind::InternalPanic, 1),
        ] {
            let outcome = Err(Error::new(kind, "a test of exit codes"));
            let conclusion = conclude(&LocalBackend, outcome, &Interruption::default());
            assert_eq!(conclusion, Conclusion { code, is_settled: true });
        }
    }
}
