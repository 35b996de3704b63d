//! Canonical JSON (RFC 8785).

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The canonical form (RFC 8785) of a JSON value.
pub fn canonical(value: &Value) -> String {
    // serde_json escapes strings as RFC 8785 wants it; for ASCII keys, sorting by bytes is sorting by UTF-16 units. Every DDL
    // statement waits for this, and the general way was a sixth of what the guard costs.
    let text = if is_plain(value) { serde_json::to_string(&Sorted(value)) } else { serde_json_canonicalizer::to_string(value) };
    text.expect("a serde_json::Value has string keys and finite numbers")
}

/// A value whose objects are written with their keys sorted, whatever order the map keeps: that is a feature of serde_json, which any
/// crate of a build can switch on.
pub struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(values) => serializer.collect_seq(values.iter().map(Sorted)),
            Value::Object(members) => {
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                members.sort_unstable_by_key(|(key, _)| *key);
                serializer.collect_map(members.into_iter().map(|(key, value)| (key, Sorted(value))))
            }
            plain => plain.serialize(serializer),
        }
    }
}

/// Whether all keys are ASCII, and all numbers integers that a double holds exactly.
pub(crate) fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(members) => members.iter().all(|(key, value)| key.is_ascii() && is_plain(value)),
    }
}
