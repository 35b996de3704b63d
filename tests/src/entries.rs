//! What each kind of entry says, as data: `tests/entries.txt` is compared with entries that are really made by the test `entries`,
//! which generates `docs/entries.md` and `docs/entry.schema.json` from it.
//!
//! A paragraph is a kind: `# kind` (`*` for what is in all), a sentence, then a member a line: `name type: meaning`, the type with a
//! `?` where it may be missing.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A member of a payload.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// `text`, `number`, `flag`, `texts`, `objects`, `any`.
    pub type_name: String,
    /// Whether it may be missing.
    pub optional: bool,
    /// What it means.
    pub meaning: String,
}

/// A kind of entry.
#[derive(Clone, Debug)]
pub struct Kind {
    /// As in payloads; `*` for all of them.
    pub name: String,
    /// When there is one.
    pub when: String,
    /// What it says.
    pub members: Vec<Member>,
}

/// Reads the data.
///
/// # Panics
/// Where a line doesn't follow the format.
pub fn parse(text: &str) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# ") {
            kinds.push(Kind { name: name.to_owned(), when: String::new(), members: Vec::new() });
            continue;
        }
        let kind = kinds.last_mut().expect("a member of nothing");
        if kind.when.is_empty() {
            line.clone_into(&mut kind.when);
            continue;
        }
        let (what, meaning) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let (name, type_name) = what.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        let optional = type_name.ends_with('?');
        kind.members.push(Member {
            name: name.to_owned(),
            type_name: type_name.trim_end_matches('?').to_owned(),
            optional,
            meaning: meaning.to_owned(),
        });
    }
    kinds
}

/// What is wrong with a payload; nothing if it is as described.
pub fn problems(kinds: &[Kind], payload: &Map<String, Value>) -> Vec<String> {
    let name = payload.get("kind").and_then(Value::as_str).unwrap_or_default();
    let (Some(all), Some(own)) =
        (kinds.iter().find(|kind| kind.name == "*"), kinds.iter().find(|kind| kind.name == name && name != "*"))
    else {
        return vec![format!("kind {name} is not described")];
    };
    // What a kind says of itself goes before what is said of all.
    let mut members: BTreeMap<&str, &Member> = BTreeMap::new();
    members.extend(all.members.iter().chain(&own.members).map(|member| (member.name.as_str(), member)));
    let mut problems = Vec::new();
    for (key, value) in payload {
        match members.get(key.as_str()) {
            None => problems.push(format!("{name}: {key} is not described")),
            Some(member) if !fits(&member.type_name, value) => {
                problems.push(format!("{name}: {key} is no {}: {value}", member.type_name))
            }
            Some(_) => {}
        }
    }
    let missing = members.values().filter(|member| !member.optional && !payload.contains_key(&member.name));
    problems.extend(missing.map(|member| format!("{name}: {} is missing", member.name)));
    problems
}

fn fits(type_name: &str, value: &Value) -> bool {
    match type_name {
        "text" => value.is_string(),
        "number" => value.is_i64(),
        "flag" => value.is_boolean(),
        "texts" => value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string)),
        "objects" => value.as_array().is_some_and(|objects| {
            let text = |object: &Value, key: &str| object.get(key).is_some_and(Value::is_string);
            objects.iter().all(|object| ["action", "class", "identity", "kind"].iter().all(|key| text(object, key)))
        }),
        _ => true,
    }
}

fn schema_of(type_name: &str) -> Value {
    match type_name {
        "text" => json!({"type": "string"}),
        "number" => json!({"type": "integer"}),
        "flag" => json!({"type": "boolean"}),
        "texts" => json!({"type": "array", "items": {"type": "string"}}),
        "objects" => json!({"type": "array", "items": {"$ref": "#/$defs/object"}}),
        _ => json!({}),
    }
}

/// The JSON Schema of all payloads.
pub fn schema(kinds: &[Kind]) -> String {
    let all = &kinds.iter().find(|kind| kind.name == "*").expect("there is what is in all").members;
    let of = |kind: &Kind| {
        let mut members: BTreeMap<&str, &Member> = BTreeMap::new();
        members.extend(all.iter().chain(&kind.members).map(|member| (member.name.as_str(), member)));
        let properties: Map<String, Value> = members
            .values()
            .map(|member| {
                let mut schema = if member.name == "kind" { json!({"const": kind.name}) } else { schema_of(&member.type_name) };
                schema["description"] = member.meaning.clone().into();
                (member.name.clone(), schema)
            })
            .collect();
        let required: Vec<&str> =
            members.values().filter(|member| !member.optional).map(|member| member.name.as_str()).collect();
        json!({"title": kind.name, "description": kind.when, "type": "object", "properties": properties, "required": required})
    };
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An entry of the ledger of pg_runbook, version 1",
        "oneOf": kinds.iter().filter(|kind| kind.name != "*").map(of).collect::<Vec<_>>(),
        "$defs": {"object": {
            "type": "object",
            "properties": {
                "action": {"type": "string", "description": "what is done: drop, alter, create, rename, …"},
                "class": {"enum": ["additive", "blocking", "breaking", "destructive", "security", "control"]},
                "identity": {"type": "string", "description": "the quoted path: schema, name, part"},
                "kind": {"type": "string", "description": "PostgreSQL's word for it: table, column, …"},
                "oid": {"type": "integer", "description": "where it exists"},
            },
            "required": ["action", "class", "identity", "kind"],
        }},
    });
    serde_json::to_string_pretty(&schema).expect("texts can be written as JSON") + "\n"
}

/// The page of the docs, with an example of each kind.
pub fn page(kinds: &[Kind], examples: &BTreeMap<String, String>) -> String {
    let mut page = "# Entries\n\nWhat each kind of entry says. Payloads are canonical JSON (RFC 8785); `docs/entry.schema.json` is the same \
                    as JSON Schema. Both are generated from `tests/entries.txt`, and the test `entries` compares every entry that it \
                    makes with them. \"Survives\": the entry stays although the transaction is rolled back.\n\n\
                    An **object** is `{\"action\", \"class\", \"identity\", \"kind\", \"oid\"}`: what is done to it, how grave that is, \
                    its quoted path, PostgreSQL's word for it, and its OID where it exists.\n"
        .to_owned();
    for kind in kinds {
        let title = if kind.name == "*" { "In every entry".to_owned() } else { format!("`{}`", kind.name) };
        page += &format!("\n## {title}\n\n");
        if kind.name != "*" {
            page += &format!("{}\n\n", kind.when);
        }
        if !kind.members.is_empty() {
            page += "| member | | what |\n|---|---|---|\n";
        }
        for member in &kind.members {
            let type_name = match member.type_name.as_str() {
                "texts" => "list of texts",
                "objects" => "list of objects",
                "any" => "any JSON",
                other => other,
            };
            let optional = if member.optional { ", may be missing" } else { "" };
            page += &format!("| `{}` | {type_name}{optional} | {} |\n", member.name, member.meaning);
        }
        if let Some(example) = examples.get(&kind.name) {
            page += &format!("\n```text\n{example}\n```\n");
        }
    }
    page
}
