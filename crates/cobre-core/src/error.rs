//! The workspace's one error.
//!
//! An error is a kind from a closed list, a sentence for people, a context of named values for programs, and,
//! for inputs, the list of every problem found. Python sees the kind as text and the class as an exception
//! type; the mapping lives in the binding crate alone.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;

/// Result with the workspace's error.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident => $class:ident,)*) => {
        /// What went wrong: a closed list, the same words in Rust, Python and reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The kind's word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            /// The class of exception that carries the kind.
            pub fn class(self) -> ErrorClass {
                match self { $(Self::$kind => ErrorClass::$class,)* }
            }
        }
    };
}

error_kinds! {
    /// A file or directory of the input does not exist.
    MissingFile => Validation,
    /// A file is not what its extension promises.
    ParseError => Validation,
    /// A key is unknown or missing, or a feature is not supported.
    SchemaViolation => Validation,
    /// A value has another type than the key takes.
    TypeMismatch => Validation,
    /// A number outside what the key takes.
    OutOfRange => Validation,
    /// A word outside the list the key takes.
    InvalidEnum => Validation,
    /// Two entities of one registry share an id.
    DuplicateId => Validation,
    /// An id that no entity has.
    MissingReference => Validation,
    /// A series does not cover every entity, stage or block it must.
    CoverageMismatch => Validation,
    /// Stages that do not follow each other, or a stage that does not exist.
    StageMismatch => Validation,
    /// Settings that exclude each other.
    IncompatibleSettings => Validation,
    /// Figures no plant can have.
    PhysicalConstraint => Validation,
    /// A lower limit above its upper limit.
    CapacityViolation => Validation,
    /// Penalties whose order makes no sense.
    PenaltyConsistency => Validation,
    /// A linear program was infeasible, unbounded or beyond the solver.
    SolverFailure => Solver,
    /// A communication backend did not start.
    BackendFailure => Io,
    /// A policy or checkpoint could not be written.
    CheckpointFailed => Io,
    /// A file written by Cobre is damaged or of an unknown version.
    OutputCorrupted => Io,
    /// A file written by Cobre is not there.
    OutputNotFound => Io,
    /// A policy and a problem that do not belong together.
    IncompatibleRuns => Validation,
    /// A worker process died or failed.
    WorkerFailed => Worker,
    /// The job was stopped on request.
    Cancelled => Other,
    /// A defect of Cobre itself.
    InternalPanic => Other,
}

/// Which Python exception carries an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// `cobre.ValidationError`.
    Validation,
    /// `cobre.SolverError`.
    Solver,
    /// `cobre.IOError`.
    Io,
    /// `cobre.WorkerError`.
    Worker,
    /// `cobre.CobreError` itself.
    Other,
}

/// A value of an error's context.
#[derive(Clone, Debug, PartialEq)]
pub enum ContextValue {
    /// A whole number: an index, a count, an id.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A word, a path, a name.
    Text(String),
}

impl fmt::Display for ContextValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl From<usize> for ContextValue {
    fn from(value: usize) -> Self {
        Self::Int(value as i64)
    }
}

impl From<u64> for ContextValue {
    fn from(value: u64) -> Self {
        Self::Int(value as i64)
    }
}

impl From<i64> for ContextValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for ContextValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<String> for ContextValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for ContextValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// One thing wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind this problem would have as an error of its own.
    pub kind: ErrorKind,
    /// File relative to the case directory, e.g. `system/hydros.json`.
    pub file: String,
    /// Which entity, e.g. `hydros[2] (id 7)`; empty for the file as a whole.
    pub entity: String,
    /// Which field, e.g. `reservoir.max_storage_hm3`; empty for the entity as a whole.
    pub field: String,
    /// What was found.
    pub value: String,
    /// What would be right.
    pub expected: String,
    /// What to do, when that can be guessed.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if !self.entity.is_empty() {
            write!(f, ", {}", self.entity)?;
        }
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": ")?;
        if !self.value.is_empty() {
            write!(f, "found {}, ", self.value)?;
        }
        write!(f, "expected {} [{}]", self.expected, self.kind.as_str())?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

/// The error of every fallible function of the workspace.
///
/// ```
/// use cobre_core::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::SolverFailure, "the stage problem is infeasible").with("stage", 3usize);
/// assert_eq!(error.to_string(), "the stage problem is infeasible (stage 3)");
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: BTreeMap<&'static str, ContextValue>,
    problems: Vec<Problem>,
    suggestion: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with a sentence that says what happened.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            context: BTreeMap::new(),
            problems: Vec::new(),
            suggestion: None,
            source: None,
        }))
    }

    /// One error for all the problems of an input; the kind is that of the first.
    ///
    /// # Panics
    /// When there is no problem: that is not an error.
    pub fn from_problems(subject: &str, problems: Vec<Problem>) -> Self {
        let first = problems.first().expect("an input without problems is not an error");
        let count = problems.len();
        let message = format!("{subject}: {count} problem{}", if count == 1 { "" } else { "s" });
        let mut error = Self::new(first.kind, message);
        error.0.problems = problems;
        error
    }

    /// Adds a named value to the context.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<ContextValue>) -> Self {
        self.0.context.insert(name, value.into());
        self
    }

    /// Says what the reader could do about it.
    #[must_use]
    pub fn suggesting(mut self, suggestion: impl Into<String>) -> Self {
        self.0.suggestion = Some(suggestion.into());
        self
    }

    /// Attaches the error that caused this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence, without context and problems.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The named values.
    pub fn context(&self) -> &BTreeMap<&'static str, ContextValue> {
        &self.0.context
    }

    /// Every problem of an input; empty for other errors.
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }

    /// What the reader could do.
    pub fn suggestion(&self) -> Option<&str> {
        self.0.suggestion.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if !self.0.context.is_empty() {
            let parts: Vec<String> = self
                .0
                .context
                .iter()
                .map(|(name, value)| format!("{} {value}", name.replace('_', " ")))
                .collect();
            write!(f, " ({})", parts.join(", "))?;
        }
        for problem in &self.0.problems {
            write!(f, "\n  {problem}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        if let Some(suggestion) = &self.0.suggestion {
            write!(f, "; {suggestion}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The word of `known` most like `word`, when one is close enough to be a misspelling.
///
/// ```
/// assert_eq!(cobre_core::suggest("forward_pases", ["forward_passes", "seed"]), Some("forward_passes"));
/// assert_eq!(cobre_core::suggest("banana", ["forward_passes", "seed"]), None);
/// ```
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
