//! Typed reading of JSON objects that records every problem and goes on.
//!
//! A number that cannot be read becomes NaN and a list becomes empty: the problem is recorded, later checks
//! compare false, and the case is refused in the end, with everything else that is wrong in it.

use cobre_core::ErrorKind;
use serde_json::{Map, Value};

use crate::problems::{Place, Problems, did_you_mean};

/// Larger numbers are taken for mistakes: no plant, cost or horizon needs them.
const ABSURD: f64 = 1e15;

/// Which numbers a field takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Range {
    /// Any finite number.
    Any,
    /// Zero or more.
    NonNegative,
    /// More than zero.
    Positive,
    /// From zero to one.
    Unit,
    /// More than zero, at most one.
    PositiveUnit,
}

impl Range {
    /// True when the number is within the range.
    pub(crate) fn holds(self, value: f64) -> bool {
        value.is_finite()
            && value.abs() <= ABSURD
            && match self {
                Self::Any => true,
                Self::NonNegative => value >= 0.0,
                Self::Positive => value > 0.0,
                Self::Unit => (0.0..=1.0).contains(&value),
                Self::PositiveUnit => value > 0.0 && value <= 1.0,
            }
    }

    /// The range in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Any => "a finite number",
            Self::NonNegative => "a number of at least 0",
            Self::Positive => "a number above 0",
            Self::Unit => "a number from 0 to 1",
            Self::PositiveUnit => "a number above 0 and at most 1",
        }
    }
}

/// A JSON value as shown in a problem.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 { text } else { text.chars().take(57).chain("...".chars()).collect() }
}

/// The keys of one JSON object.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    place: Place,
    path: String,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Fields<'a> {
    /// Opens an object; records a problem and gives `None` for anything else.
    pub(crate) fn open(value: &'a Value, place: Place, problems: &'a Problems) -> Option<Self> {
        Self::open_at(value, place, String::new(), problems)
    }

    fn open_at(value: &'a Value, place: Place, path: String, problems: &'a Problems) -> Option<Self> {
        let Value::Object(map) = value else {
            problems.add(place.problem(ErrorKind::TypeMismatch, &path, shown(value), "an object"));
            return None;
        };
        Some(Self { map, place, path, known: Vec::new(), problems })
    }

    /// Opens the object at the root of a document, where `$schema` may stand.
    pub(crate) fn root(value: &'a Value, file: &str, problems: &'a Problems) -> Option<Self> {
        let mut fields = Self::open(value, Place::file(file), problems)?;
        fields.known.push("$schema");
        Some(fields)
    }

    /// Where the object stands.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Names the entity better once its id is known.
    pub(crate) fn name_entity(&mut self, entity: String) {
        self.place.entity = entity;
    }

    /// The full name of a key, for problems.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where problems go.
    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Records a problem with a key.
    pub(crate) fn problem(&self, kind: ErrorKind, key: &str, value: &str, expected: &str) {
        self.problems.add(self.place.problem(kind, &self.path(key), value, expected));
    }

    /// The value of a key; `null` counts as absent.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn required(&mut self, key: &'static str, expected: &str) -> Option<&'a Value> {
        let value = self.optional(key);
        if value.is_none() {
            let found = if self.map.contains_key(key) { "null" } else { "nothing" };
            self.problem(ErrorKind::SchemaViolation, key, found, expected);
        }
        value
    }

    fn mismatch(&self, key: &str, value: &Value, expected: &str) {
        self.problem(ErrorKind::TypeMismatch, key, &shown(value), expected);
    }

    fn as_number(&self, key: &str, value: &Value, range: Range) -> f64 {
        let Some(number) = value.as_f64() else {
            self.mismatch(key, value, range.words());
            return f64::NAN;
        };
        if range.holds(number) {
            return number;
        }
        self.problem(ErrorKind::OutOfRange, key, &shown(value), range.words());
        f64::NAN
    }

    /// A number; NaN after a problem.
    pub(crate) fn number(&mut self, key: &'static str, range: Range) -> f64 {
        self.required(key, range.words()).map_or(f64::NAN, |value| self.as_number(key, value, range))
    }

    /// A number that may be absent.
    pub(crate) fn optional_number(&mut self, key: &'static str, range: Range) -> Option<f64> {
        self.optional(key).map(|value| self.as_number(key, value, range))
    }

    fn as_whole(&self, key: &str, value: &Value, at_least: u64) -> Option<u64> {
        let expected = format!("a whole number of at least {at_least}");
        if let Some(whole) = value.as_u64() {
            if whole >= at_least && i64::try_from(whole).is_ok() {
                return Some(whole);
            }
            self.problem(ErrorKind::OutOfRange, key, &shown(value), &expected);
        } else if value.is_i64() {
            self.problem(ErrorKind::OutOfRange, key, &shown(value), &expected);
        } else {
            self.mismatch(key, value, &expected);
        }
        None
    }

    /// A whole number of at least `at_least`.
    pub(crate) fn whole(&mut self, key: &'static str, at_least: u64) -> Option<u64> {
        let value = self.required(key, &format!("a whole number of at least {at_least}"))?;
        self.as_whole(key, value, at_least)
    }

    /// A whole number that may be absent.
    pub(crate) fn optional_whole(&mut self, key: &'static str, at_least: u64) -> Option<u64> {
        let value = self.optional(key)?;
        self.as_whole(key, value, at_least)
    }

    fn as_id(&self, key: &str, value: &Value) -> Option<i32> {
        let id = self.as_whole(key, value, 0)?;
        let id = i32::try_from(id).ok();
        if id.is_none() {
            self.problem(ErrorKind::OutOfRange, key, &shown(value), "an id below 2147483648");
        }
        id
    }

    /// An id: a whole number from 0.
    pub(crate) fn id(&mut self, key: &'static str) -> Option<i32> {
        let value = self.required(key, "an id: a whole number of at least 0")?;
        self.as_id(key, value)
    }

    /// An id that may be absent.
    pub(crate) fn optional_id(&mut self, key: &'static str) -> Option<i32> {
        let value = self.optional(key)?;
        self.as_id(key, value)
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        let value = self.required(key, "a text")?;
        let text = value.as_str();
        if text.is_none() {
            self.mismatch(key, value, "a text");
        }
        text
    }

    /// A text that may be absent.
    pub(crate) fn optional_text(&mut self, key: &'static str) -> Option<&'a str> {
        if self.optional(key).is_some() { self.text(key) } else { None }
    }

    /// True or false, `default` when absent.
    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.optional(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.mismatch(key, value, "true or false");
            default
        })
    }

    /// One of a list of words; `None` after a problem or when absent (a problem too if `required`).
    pub(crate) fn word(
        &mut self,
        key: &'static str,
        words: &[&'static str],
        required: bool,
    ) -> Option<&'static str> {
        let expected = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let value = if required { self.required(key, &expected)? } else { self.optional(key)? };
        let Some(text) = value.as_str() else {
            self.mismatch(key, value, &expected);
            return None;
        };
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let field = self.path(key);
            let mut problem = self.place.problem(ErrorKind::InvalidEnum, &field, shown(value), expected);
            problem.suggestion = did_you_mean(text, words.iter().copied());
            self.problems.add(problem);
        }
        found
    }

    /// An object inside this one.
    pub(crate) fn object(&mut self, key: &'static str) -> Option<Fields<'a>> {
        let value = self.required(key, "an object")?;
        Self::open_at(value, self.place.clone(), self.path(key), self.problems)
    }

    /// An object that may be absent.
    pub(crate) fn optional_object(&mut self, key: &'static str) -> Option<Fields<'a>> {
        if self.optional(key).is_some() { self.object(key) } else { None }
    }

    /// A list; empty after a problem.
    pub(crate) fn list(&mut self, key: &'static str) -> &'a [Value] {
        let Some(value) = self.required(key, "a list") else { return &[] };
        if let Value::Array(list) = value {
            return list;
        }
        self.mismatch(key, value, "a list");
        &[]
    }

    /// A list that may be absent.
    pub(crate) fn optional_list(&mut self, key: &'static str) -> Option<&'a [Value]> {
        if self.optional(key).is_some() { Some(self.list(key)) } else { None }
    }

    /// The objects of a list inside this object, as part of the same entity.
    pub(crate) fn parts(&mut self, key: &'static str, list: &'a [Value]) -> Vec<Fields<'a>> {
        let path = self.path(key);
        let open = |(index, value)| {
            Self::open_at(value, self.place.clone(), format!("{path}[{index}]"), self.problems)
        };
        list.iter().enumerate().filter_map(open).collect()
    }

    /// Refuses a key by the name of the feature it belongs to; absent and `null` are fine.
    pub(crate) fn refuse(&mut self, key: &'static str, feature: &str) {
        if let Some(value) = self.optional(key) {
            self.problems.add(self.place.refused(&self.path(key), shown(value), feature));
        }
    }

    /// Refuses a list unless it is empty or absent.
    pub(crate) fn refuse_list(&mut self, key: &'static str, feature: &str) {
        if self.optional_list(key).is_some_and(|list| !list.is_empty()) {
            self.refuse(key, feature);
        }
    }

    /// Refuses one value of a key: an accepted word whose feature is not modelled.
    pub(crate) fn refuse_value(&self, key: &str, value: &str, feature: &str) {
        self.problems.add(self.place.refused(&self.path(key), value, feature));
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for key in self.map.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let expected = "a key of the format";
            let mut problem =
                self.place.problem(ErrorKind::SchemaViolation, &self.path(key), "an unknown key", expected);
            problem.suggestion = did_you_mean(key, self.known.iter().copied());
            self.problems.add(problem);
        }
    }
}
