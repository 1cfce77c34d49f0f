//! The contents of `policy.json`.

use serde::{Deserialize, Serialize};

use crate::fingerprint::sha256;

const FORMAT: &str = "cobre-policy";
const VERSION: u64 = 1;

/// `policy.json`. Numbers are written so that they read back to the same bits.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) format: String,
    pub(crate) version: u64,
    pub(crate) cobre_version: String,
    pub(crate) iterations: u64,
    #[serde(with = "exact")]
    pub(crate) lower_bound: f64,
    pub(crate) seed: Option<u64>,
    pub(crate) problem_sha256: Option<String>,
    pub(crate) states: Vec<StateEntry>,
    pub(crate) nodes: Vec<NodeEntry>,
    pub(crate) cuts_sha256: String,
    /// SHA-256 of this document with this field empty.
    pub(crate) own_sha256: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateEntry {
    pub(crate) name: String,
    #[serde(with = "exact")]
    pub(crate) initial: f64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeEntry {
    pub(crate) name: String,
    pub(crate) stage: usize,
    pub(crate) has_successors: bool,
    #[serde(with = "exact")]
    pub(crate) cost_to_go_bound: f64,
    pub(crate) cuts: usize,
    pub(crate) active_cuts: usize,
    /// The basis' bytes in hexadecimal.
    pub(crate) basis: String,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            cobre_version: crate::VERSION.to_owned(),
            iterations: 0,
            lower_bound: f64::NEG_INFINITY,
            seed: None,
            problem_sha256: None,
            states: Vec::new(),
            nodes: Vec::new(),
            cuts_sha256: String::new(),
            own_sha256: String::new(),
        }
    }
}

impl Document {
    /// The text of `policy.json`, its checksum filled in.
    pub(crate) fn into_json(mut self) -> Vec<u8> {
        self.own_sha256 = self.checksum();
        let mut text = serde_json::to_vec_pretty(&self).expect("a document of strings and numbers is JSON");
        text.push(b'\n');
        text
    }

    /// Reads `policy.json`, or says in words what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        // Format and version first: another version may have other fields.
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| format!("the policy is no JSON: {error}"))?;
        if value["format"] != FORMAT {
            return Err("the file does not describe a policy of Cobre".to_owned());
        }
        if value["version"] != VERSION {
            return Err(format!(
                "version {} of policies is not known, this Cobre reads {VERSION}",
                value["version"]
            ));
        }
        let mut document: Self =
            serde_json::from_slice(text).map_err(|error| format!("the policy is damaged: {error}"))?;
        let stated = std::mem::take(&mut document.own_sha256);
        if stated == document.checksum() { Ok(document) } else { Err("the policy is damaged".to_owned()) }
    }

    fn checksum(&self) -> String {
        sha256(&serde_json::to_vec(self).expect("a document of strings and numbers is JSON"))
    }
}

/// Numbers as JSON numbers, the non-finite ones, which JSON has not, as words.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Figure {
        Number(f64),
        Word(String),
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            serializer.serialize_f64(*value)
        } else {
            serializer.serialize_str(&value.to_string())
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        match Figure::deserialize(deserializer)? {
            Figure::Number(number) => Ok(number),
            Figure::Word(word) => word.parse().map_err(D::Error::custom),
        }
    }
}
