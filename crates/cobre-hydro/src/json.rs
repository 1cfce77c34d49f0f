//! JSON documents, with keys that stand twice in one object reported instead of dropped.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a document; the second part lists the paths of duplicate keys.
pub(crate) fn parse(text: &str) -> Result<(Value, Vec<String>), serde_json::Error> {
    let duplicates = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Element { path: String::new(), duplicates: &duplicates }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates.into_inner()))
}

struct Element<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            match access.next_element_seed(Element { path, duplicates: self.duplicates })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            if map.contains_key(&key) {
                self.duplicates.borrow_mut().push(path.clone());
            }
            let value = access.next_value_seed(Element { path, duplicates: self.duplicates })?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Puts the values of `overrides` into `target`, object by object; `null` removes a key (RFC 7386).
pub(crate) fn merge(target: &mut Value, overrides: &Value) {
    let Value::Object(overrides) = overrides else {
        *target = overrides.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in overrides {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicates_are_named_by_their_path() {
        let (value, duplicates) = parse(r#"{"a": [{"b": 1, "b": 2}], "c": 1, "c": 1.5}"#).unwrap();
        assert_eq!(value, json!({"a": [{"b": 2}], "c": 1.5}));
        assert_eq!(duplicates, ["a[0].b", "c"]);
        assert!(parse("{} x").is_err());
    }

    #[test]
    fn merging_is_deep_and_null_removes() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge(&mut target, &json!({"a": {"b": 5, "c": null}, "e": {"f": null, "g": 1}}));
        assert_eq!(target, json!({"a": {"b": 5}, "d": 3, "e": {"g": 1}}));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), any::<bool>().prop_map(Value::from)];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn merging_keeps_what_is_not_overridden_and_sets_what_is(base in value(), change in value()) {
            let mut merged = base.clone();
            merge(&mut merged, &change);
            let mut again = merged.clone();
            merge(&mut again, &change);
            prop_assert_eq!(&again, &merged);
            let (parsed, duplicates) = parse(&merged.to_string()).unwrap();
            prop_assert_eq!(&parsed, &merged);
            prop_assert!(duplicates.is_empty());
            if let (Some(base), Some(change), Some(merged)) = (base.as_object(), change.as_object(), merged.as_object()) {
                for (key, value) in base {
                    prop_assert!(change.contains_key(key) || merged[key] == *value);
                }
                for (key, value) in change {
                    prop_assert!(value.is_object() || merged[key] == *value);
                }
            }
        }
    }
}
