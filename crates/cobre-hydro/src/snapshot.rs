//! What was read of a case, to make the same case again without its directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

/// A case as it was read: every byte that decides what it is.
///
/// [`Case::from_snapshot`](crate::Case::from_snapshot) reads and validates it as
/// [`Case::load`](crate::Case::load) does a directory, but touches no file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The directory, as given.
    pub directory: PathBuf,
    /// The name of the case.
    pub name: String,
    /// Every file of the format that the directory held, relative to it, with slashes.
    pub present: BTreeSet<String>,
    /// Contents of the files that were read, by their path as in `present`.
    pub files: BTreeMap<String, Arc<[u8]>>,
    /// What was merged over `config.json`.
    pub overrides: Option<Value>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<&str, usize> =
            self.files.iter().map(|(file, bytes)| (file.as_str(), bytes.len())).collect();
        formatter
            .debug_struct("Snapshot")
            .field("directory", &self.directory)
            .field("name", &self.name)
            .field("present", &self.present)
            .field("bytes", &sizes)
            .field("overrides", &self.overrides)
            .finish()
    }
}
