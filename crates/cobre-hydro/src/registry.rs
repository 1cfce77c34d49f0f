//! Lists of entities with ids.

use std::collections::BTreeSet;

use cobre_core::ErrorKind;
use serde_json::Value;

use crate::problems::{Place, Problems, suggesting};
use crate::reader::Fields;

/// The ids that a file declares, readable entities or not: what references are checked against.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    /// The word for one entity, e.g. `hydro`.
    pub(crate) noun: &'static str,
    declared: BTreeSet<i32>,
    /// False when the file could not be read at all: then nothing can be said about references.
    readable: bool,
}

impl Ids {
    /// Nothing known: every reference passes.
    pub(crate) fn unknown(noun: &'static str) -> Self {
        Self { noun, declared: BTreeSet::new(), readable: false }
    }

    /// These ids and no others.
    pub(crate) fn of(noun: &'static str, ids: impl IntoIterator<Item = i32>) -> Self {
        Self { noun, declared: ids.into_iter().collect(), readable: true }
    }

    /// False when a reference to the id leads nowhere.
    pub(crate) fn allows(&self, id: i32) -> bool {
        !self.readable || self.declared.contains(&id)
    }

    /// True when the ids are known.
    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    /// The known ids, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = i32> + '_ {
        self.declared.iter().copied()
    }

    /// Records a problem when the id leads nowhere; true when it leads somewhere.
    pub(crate) fn check(&self, id: i32, place: &Place, field: &str, problems: &Problems) -> bool {
        if self.allows(id) {
            return true;
        }
        let expected = format!("the id of a {}", self.noun);
        let problem = place.problem(ErrorKind::MissingReference, field, id, expected);
        problems.add(suggesting(problem, self.known_words()));
        false
    }

    fn known_words(&self) -> String {
        let listed: Vec<String> = self.declared.iter().take(10).map(i32::to_string).collect();
        let more = if self.declared.len() > listed.len() { ", …" } else { "" };
        if listed.is_empty() {
            format!("there is no {}", self.noun)
        } else {
            format!("known ids: {}{more}", listed.join(", "))
        }
    }
}

/// The entities of a file, sorted by id.
#[derive(Clone, Debug)]
pub(crate) struct Registry<T> {
    /// The entities that could be read.
    pub(crate) entities: Vec<T>,
    /// Every id that is declared.
    pub(crate) ids: Ids,
}

/// Anything with an id.
pub(crate) trait Entity {
    /// The id.
    fn id(&self) -> i32;
}

impl<T: Entity> Registry<T> {
    /// Reads the list `key` of a document; `parse` gets each entity with its id.
    pub(crate) fn read(
        document: Option<&Value>,
        source: RegistrySource,
        problems: &Problems,
        parse: impl FnMut(&mut Fields<'_>, i32) -> Option<T>,
    ) -> Self {
        let root = document.and_then(|document| Fields::root(document, source.file, problems));
        let Some(mut root) = root else {
            return Self { entities: Vec::new(), ids: Ids::unknown(source.noun) };
        };
        let before = problems.count();
        let list = root.list(source.key);
        let readable = problems.count() == before;
        root.finish();
        let mut registry = Self::read_list(list, source, problems, parse);
        registry.ids.readable &= readable;
        registry
    }

    /// Reads the entities of a list.
    pub(crate) fn read_list(
        list: &[Value],
        source: RegistrySource,
        problems: &Problems,
        mut parse: impl FnMut(&mut Fields<'_>, i32) -> Option<T>,
    ) -> Self {
        let mut registry = Self { entities: Vec::new(), ids: Ids::of(source.noun, []) };
        for (index, value) in list.iter().enumerate() {
            let place = Place::entity(source.file, format!("{}[{index}]", source.key));
            let Some(mut fields) = Fields::open(value, place, problems) else {
                registry.ids.readable = false;
                continue;
            };
            if let Some(id) = fields.id("id") {
                fields.name_entity(format!("{}[{index}] (id {id})", source.key));
                if registry.ids.declared.insert(id) {
                    registry.entities.extend(parse(&mut fields, id));
                } else {
                    fields.problem(ErrorKind::DuplicateId, "id", &id.to_string(), "an id of its own");
                    parse(&mut fields, id);
                }
            } else {
                // Its other keys are checked all the same; whether references to it are right cannot be known.
                registry.ids.readable = false;
                parse(&mut fields, 0);
            }
            fields.finish();
        }
        registry.entities.sort_by_key(Entity::id);
        registry
    }

    /// Position of an entity among the sorted ones.
    pub(crate) fn index(&self, id: i32) -> Option<usize> {
        self.entities.binary_search_by_key(&id, Entity::id).ok()
    }
}

/// Where a registry stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegistrySource {
    /// File relative to the case directory.
    pub(crate) file: &'static str,
    /// Key of the list.
    pub(crate) key: &'static str,
    /// The word for one entity.
    pub(crate) noun: &'static str,
}
