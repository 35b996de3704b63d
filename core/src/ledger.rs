//! The ledger's encoding: canonical payloads and their hashes.
//!
//! A payload is one line of canonical JSON (RFC 8785); its leaf hash is SHA-256 over a zero byte and the
//! payload (RFC 6962, section 2.1). Nothing here knows where entries are kept or in what order.
//! Invariant: payloads hold strings, integers, booleans, arrays and objects, never floating-point numbers.

use crate::action::Action;
use crate::canonical::canonical;
use crate::identity::Identity;
use crate::merkle;
use crate::vocabulary::judgement::Judgement;
pub use crate::vocabulary::ledger_kind::Kind;
use crate::vocabulary::object_kind::ObjectKind;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// SHA-256(0x00 ‖ payload): the hash of a leaf of the Merkle tree (RFC 6962, section 2.1).
pub fn leaf_hash(payload: &str) -> [u8; 32] {
    merkle::leaf(payload.as_bytes())
}

/// A text of at most so many bytes: a longer one is cut off, and ends with the SHA-256 of the whole. Whoever names a library of thirty
/// megabytes must not fill the ledger with it.
pub fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let hash: String = leaf_hash(text).iter().map(|byte| format!("{byte:02x}")).collect();
    Cow::Owned(format!("{}…{hash}", &text[..text.floor_char_boundary(most.saturating_sub(hash.len() + 3))]))
}

/// Bytes of an object's identity in a payload.
const LONGEST_IDENTITY: usize = 2_000;
/// Bytes of a reason, a detail or a statement in a payload.
const LONGEST_TEXT: usize = 64 << 10;

/// A payload as a value; `None` for what is no JSON that PostgreSQL can hold as jsonb, which has no NUL in strings.
pub fn readable(payload: &str) -> Option<Value> {
    let value = serde_json::from_str(payload).ok()?;
    (!payload.contains("\\u0000") || !holds_nul(&value)).then_some(value)
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

/// Who did it, from where, when, in which transaction; filled in by the server, never by a caller.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// A UUID (version 7) that names the entry.
    pub entry_id: String,
    /// Wall-clock time, UTC, microseconds, `2026-11-23T13:05:00.123456Z`.
    pub recorded_at: String,
    /// The login.
    pub session_role: String,
    /// The role in effect for the caller.
    pub current_role: String,
    /// Address of the client; empty for a unix socket.
    pub client_addr: String,
    /// `application_name`, as the client claims it.
    pub application: String,
    /// The 64-bit transaction id, as text; empty where there is none.
    pub xid: String,
}

/// A ledger entry ready to be stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// See [`Circumstances::entry_id`].
    pub entry_id: String,
    /// See [`Circumstances::recorded_at`].
    pub recorded_at: String,
    /// See [`Kind::as_str`].
    pub kind: &'static str,
    /// Canonical JSON.
    pub payload: String,
    /// [`leaf_hash`] of the payload.
    pub leaf_hash: [u8; 32],
}

/// What an entry says of one statement, in the order of the payload's keys. Every DDL statement waits for this one to be written,
/// which takes a third of the time that it takes as a [`Value`].
#[derive(Clone, Debug, Default)]
pub struct StatementFacts<'a> {
    /// Id of the broken glass under which it ran.
    pub break_glass: Option<&'a str>,
    /// `record`, where it would have been refused otherwise.
    pub mode: Option<&'a str>,
    /// What it did.
    pub actions: &'a [Action],
    /// Id of the permit that covered it.
    pub permit: Option<&'a str>,
    /// The login that opened the session, where a superuser has put on another since.
    pub authenticated_role: Option<&'a str>,
    /// `session_replication_role`, where ordinary triggers did not fire.
    pub replication_role: Option<&'a str>,
    /// The client's text.
    pub statement: Option<&'a str>,
    /// The command tag.
    pub tag: &'a str,
    /// What was decided.
    pub verdict: Judgement,
}

/// How many objects an entry lists; more are counted.
pub const LISTED: usize = 100;

struct Listed<'a>(&'a Action);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let action = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("action", &action.verb)?;
        map.serialize_entry("class", action.class.as_str())?;
        map.serialize_entry("identity", bounded(&action.object.identity(), LONGEST_IDENTITY).as_ref())?;
        map.serialize_entry("kind", &action.object.kind)?;
        if let Identity::Is(address) = action.identity {
            map.serialize_entry("oid", &address.object)?;
        }
        map.end()
    }
}

/// An action as it stands in payloads.
pub fn listed(action: &Action) -> Value {
    serde_json::to_value(Listed(action)).expect("texts and numbers can be written as JSON")
}

/// A statement's payload, its keys in order.
struct StatementPayload<'a> {
    kind: Kind,
    circumstances: &'a Circumstances,
    facts: &'a StatementFacts<'a>,
}

/// Writes a member that may be missing.
pub fn text<M: SerializeMap>(map: &mut M, key: &'static str, value: Option<&str>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, value))
}

fn known(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

impl Serialize for StatementPayload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (who, what) = (self.circumstances, self.facts);
        let mut map = serializer.serialize_map(None)?;
        text(&mut map, "application", known(&who.application))?;
        text(&mut map, "authenticated_role", what.authenticated_role)?;
        text(&mut map, "break_glass", what.break_glass)?;
        text(&mut map, "client_addr", known(&who.client_addr))?;
        text(&mut map, "current_role", known(&who.current_role))?;
        text(&mut map, "entry_id", known(&who.entry_id))?;
        text(&mut map, "kind", Some(self.kind.as_str()))?;
        text(&mut map, "mode", what.mode)?;
        map.serialize_entry("objects", &Objects(what.actions))?;
        map.serialize_entry("objects_total", &what.actions.len())?;
        text(&mut map, "permit", what.permit)?;
        text(&mut map, "reason", Some(""))?;
        text(&mut map, "recorded_at", known(&who.recorded_at))?;
        text(&mut map, "session_replication_role", what.replication_role)?;
        text(&mut map, "session_role", known(&who.session_role))?;
        text(&mut map, "statement", what.statement)?;
        text(&mut map, "tag", Some(what.tag))?;
        map.serialize_entry("v", &1)?;
        map.serialize_entry("verdict", what.verdict.as_str())?;
        text(&mut map, "xid", known(&who.xid))?;
        map.end()
    }
}

/// The objects that an entry lists: all of them, or, where there are too many, those that say most. What holds data comes first then, and
/// what comes and goes with something else last.
pub fn most_telling(actions: &[Action]) -> Vec<&Action> {
    let mut listed: Vec<&Action> = actions.iter().collect();
    if listed.len() > LISTED {
        listed.sort_by_key(|action| match &action.object.kind {
            kind if kind.holds_data() => 0,
            ObjectKind::Type | ObjectKind::Index | ObjectKind::IndexOfConstraint | ObjectKind::Constraint => 2,
            _ => 1,
        });
        listed.truncate(LISTED);
    }
    listed
}

struct Objects<'a>(&'a [Action]);

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(most_telling(self.0).into_iter().map(Listed))
    }
}

impl Entry {
    /// Builds an entry about one statement that passes.
    pub fn of_statement(kind: Kind, circumstances: Circumstances, facts: &StatementFacts) -> Self {
        let payload = StatementPayload { kind, circumstances: &circumstances, facts };
        let payload = serde_json::to_string(&payload).expect("texts and numbers can be written as JSON");
        let leaf_hash = leaf_hash(&payload);
        let Circumstances { entry_id, recorded_at, .. } = circumstances;
        Self { entry_id, recorded_at, kind: kind.as_str(), payload, leaf_hash }
    }

    /// Builds an entry of `kind`; `facts` are the kind's own keys and must hold no floating-point number.
    pub fn new(kind: Kind, circumstances: Circumstances, facts: Value) -> Self {
        let mut object = match facts {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        object.retain(|_, value| !value.is_null());
        for key in ["reason", "detail", "statement"] {
            if let Some(Value::String(text)) = object.get_mut(key)
                && let Cow::Owned(cut) = bounded(text, LONGEST_TEXT)
            {
                *text = cut;
            }
        }
        debug_assert!(!object.values().any(Value::is_f64), "payloads hold no floating-point numbers");
        let Circumstances { entry_id, recorded_at, session_role, current_role, client_addr, application, xid } = circumstances;
        let common = [
            ("entry_id", entry_id.clone()),
            ("recorded_at", recorded_at.clone()),
            ("kind", kind.as_str().to_owned()),
            ("session_role", session_role),
            ("current_role", current_role),
            ("client_addr", client_addr),
            ("application", application),
            ("xid", xid),
        ];
        for (key, text) in common {
            if !text.is_empty() {
                object.insert(key.to_owned(), Value::String(text));
            }
        }
        object.insert("v".to_owned(), Value::from(1));
        let payload = canonical(&Value::Object(object));
        let leaf_hash = leaf_hash(&payload);
        Self { entry_id, recorded_at, kind: kind.as_str(), payload, leaf_hash }
    }

    /// An entry that was built elsewhere, with its hash computed again.
    pub fn restore(entry_id: &str, recorded_at: &str, kind: Kind, payload: &str) -> Self {
        Self {
            entry_id: entry_id.to_owned(),
            recorded_at: recorded_at.to_owned(),
            kind: kind.as_str(),
            leaf_hash: leaf_hash(payload),
            payload: payload.to_owned(),
        }
    }
}

/// An entry as it is kept: the payload, and what is kept beside it to find it by.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Its position in the tree, from 0.
    pub position: u64,
    /// Its epoch, from 1.
    pub epoch: i32,
    /// See [`Circumstances::entry_id`].
    pub entry_id: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// See [`Kind::as_str`].
    pub kind: String,
    /// Canonical JSON.
    pub payload: String,
    /// What is kept as the payload's leaf hash.
    pub leaf_hash: Vec<u8>,
}

/// The members of a payload that are kept beside it, too.
#[derive(Deserialize)]
pub struct Kept<'a> {
    /// See [`Circumstances::entry_id`].
    #[serde(borrow)]
    pub entry_id: Cow<'a, str>,
    /// See [`Circumstances::recorded_at`].
    #[serde(borrow)]
    pub recorded_at: Cow<'a, str>,
    /// See [`Kind::as_str`].
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

impl Sealed {
    /// What is wrong with the entry by itself, in words.
    pub fn problem(&self) -> Option<&'static str> {
        let beside =
            Beside { entry_id: &self.entry_id, recorded_at: self.recorded_at, kind: &self.kind, leaf_hash: &self.leaf_hash };
        beside.problem(self.payload.as_bytes(), &leaf_hash(&self.payload))
    }
}

/// What is kept beside a payload.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// See [`Circumstances::entry_id`].
    pub entry_id: &'a str,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    /// See [`Kind::as_str`].
    pub kind: &'a str,
    /// What is kept as the payload's leaf hash.
    pub leaf_hash: &'a [u8],
}

/// The id in a payload; `None` if the payload is no entry.
pub fn id_of(payload: &[u8]) -> Option<Cow<'_, str>> {
    serde_json::from_slice::<Kept>(payload).ok().map(|kept| kept.entry_id)
}

impl Beside<'_> {
    /// What does not fit a payload, whose leaf hash is `leaf`; in words.
    pub fn problem(&self, payload: &[u8], leaf: &merkle::Hash) -> Option<&'static str> {
        if self.leaf_hash != leaf {
            return Some("the payload does not match its leaf hash");
        }
        let Ok(kept) = serde_json::from_slice::<Kept>(payload) else {
            return Some("the payload is not JSON");
        };
        let recorded_at = chrono::DateTime::parse_from_rfc3339(&kept.recorded_at).map(|at| at.timestamp_micros());
        if kept.entry_id != self.entry_id {
            Some("column entry_id differs from the payload")
        } else if kept.kind != self.kind {
            Some("column kind differs from the payload")
        } else if recorded_at != Ok(self.recorded_at) {
            Some("column recorded_at differs from the payload")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
