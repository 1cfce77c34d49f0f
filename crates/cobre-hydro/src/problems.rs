//! The list of everything wrong with a case, filled by every layer of validation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

use cobre_core::{Error, ErrorKind, Problem, Result};

/// So many problems of one kind in one field of one file are listed; the rest is counted.
const LISTED: usize = 20;

/// Where a value stands: a file and an entity in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// File relative to the case directory.
    pub(crate) file: String,
    /// Entity, empty for the file as a whole.
    pub(crate) entity: String,
}

impl Place {
    /// A file as a whole.
    pub(crate) fn file(file: &str) -> Self {
        Self { file: file.to_owned(), entity: String::new() }
    }

    /// An entity of a file.
    pub(crate) fn entity(file: &str, entity: impl Into<String>) -> Self {
        Self { file: file.to_owned(), entity: entity.into() }
    }

    /// A problem at this place.
    pub(crate) fn problem(
        &self,
        kind: ErrorKind,
        field: &str,
        value: impl Display,
        expected: impl Into<String>,
    ) -> Problem {
        Problem {
            kind,
            file: self.file.clone(),
            entity: self.entity.clone(),
            field: field.to_owned(),
            value: value.to_string(),
            expected: expected.into(),
            suggestion: None,
        }
    }

    /// A feature of the format that Cobre does not model, at this place.
    pub(crate) fn refused(&self, field: &str, value: impl Display, feature: &str) -> Problem {
        let expected = format!("a case without it: {feature} is not supported");
        self.problem(ErrorKind::SchemaViolation, field, value, expected)
    }
}

/// Adds a suggestion to a problem.
pub(crate) fn suggesting(mut problem: Problem, suggestion: impl Into<String>) -> Problem {
    problem.suggestion = Some(suggestion.into());
    problem
}

/// "did you mean …", when one of the known words is close enough.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    cobre_core::suggest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Every problem found so far. Shared by all readers of one case.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: RefCell<Vec<Problem>>,
    counts: RefCell<BTreeMap<(String, ErrorKind, String), usize>>,
}

impl Problems {
    /// Adds a problem.
    pub(crate) fn add(&self, problem: Problem) {
        let mut counts = self.counts.borrow_mut();
        let count = counts.entry((problem.file.clone(), problem.kind, problem.field.clone())).or_default();
        *count += 1;
        if *count <= LISTED {
            self.list.borrow_mut().push(problem);
        }
    }

    /// How many problems there are.
    pub(crate) fn count(&self) -> usize {
        self.counts.borrow().values().sum()
    }

    /// One error for all problems, if there are any.
    pub(crate) fn into_result(self, subject: &str) -> Result<()> {
        let mut list = self.list.into_inner();
        for ((file, kind, field), count) in self.counts.into_inner() {
            if count > LISTED {
                let value = format!("{} more of this kind", count - LISTED);
                list.push(Place::file(&file).problem(kind, &field, value, "none"));
            }
        }
        if list.is_empty() { Ok(()) } else { Err(Error::from_problems(subject, list)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_listed() {
        let problems = Problems::default();
        for row in 0..1000 {
            problems.add(Place::file("a.csv").problem(ErrorKind::OutOfRange, "x", row, "less"));
        }
        assert_eq!(problems.count(), 1000);
        let error = problems.into_result("case").unwrap_err();
        assert_eq!(error.problems().len(), LISTED + 1);
        assert_eq!(error.problems()[LISTED].value, "980 more of this kind");
    }
}
