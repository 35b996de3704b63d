//! The ledger's encoding: canonical payloads and their hashes.
//!
//! A payload is one line of canonical JSON (RFC 8785); its leaf hash is SHA-256 over a zero byte and the
//! payload (RFC 6962, section 2.1). Nothing here knows where entries are kept or in what order.
//! Invariant: payloads hold strings, integers, booleans, arrays and objects, never floating-point numbers.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The canonical form (RFC 8785) of a JSON value.
pub fn canonical(value: &Value) -> String {
    // serde_json escapes strings as RFC 8785 wants it; for ASCII keys, sorting by bytes is sorting by UTF-16 units. Every DDL
    // statement waits for this, and the general way was a sixth of what the guard costs.
    let text = if is_plain(value) { serde_json::to_string(&Sorted(value)) } else { serde_json_canonicalizer::to_string(value) };
    text.expect("a serde_json::Value has string keys and finite numbers")
}

/// A value whose objects are written with their keys sorted, whatever order the map keeps: that is a feature of serde_json, which any
/// crate of a build can switch on.
struct Sorted<'a>(&'a Value);

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
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() < 1 << 53),
        Value::Array(values) => values.iter().all(is_plain),
        Value::Object(members) => members.iter().all(|(key, value)| key.is_ascii() && is_plain(value)),
    }
}

/// SHA-256(0x00 ‖ payload): the hash of a leaf of the Merkle tree (RFC 6962, section 2.1).
pub fn leaf_hash(payload: &str) -> [u8; 32] {
    Sha256::new().chain_update([0u8]).chain_update(payload.as_bytes()).finalize().into()
}

/// What an entry is about. The text is part of the hashed payload: a variant is never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described by its text")]
pub enum Kind {
    RevisionSubmitted,
    RevisionApproved,
    RevisionRejected,
    RevisionRevoked,
    RevisionApplied,
    RevisionReverted,
    RevisionStamped,
    ApplyStarted,
    ApplyStatement,
    ApplyFailed,
    ApplyFinished,
    DdlExecuted,
    DdlBlocked,
    DdlWouldBlock,
    PolicyChanged,
    GuardActivated,
    GuardDeactivated,
    GuardBypassed,
    PermitRequested,
    PermitApproved,
    PermitRejected,
    PermitUsed,
    BreakGlassOpened,
    BreakGlassClosed,
    CallRefused,
}

impl Kind {
    /// The kind as it stands in payloads and in `runbook.ledger`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RevisionSubmitted => "revision.submitted",
            Self::RevisionApproved => "revision.approved",
            Self::RevisionRejected => "revision.rejected",
            Self::RevisionRevoked => "revision.revoked",
            Self::RevisionApplied => "revision.applied",
            Self::RevisionReverted => "revision.reverted",
            Self::RevisionStamped => "revision.stamped",
            Self::ApplyStarted => "apply.started",
            Self::ApplyStatement => "apply.statement",
            Self::ApplyFailed => "apply.failed",
            Self::ApplyFinished => "apply.finished",
            Self::DdlExecuted => "ddl.executed",
            Self::DdlBlocked => "ddl.blocked",
            Self::DdlWouldBlock => "ddl.would_block",
            Self::PolicyChanged => "policy.changed",
            Self::GuardActivated => "guard.activated",
            Self::GuardDeactivated => "guard.deactivated",
            Self::GuardBypassed => "guard.bypassed",
            Self::PermitRequested => "permit.requested",
            Self::PermitApproved => "permit.approved",
            Self::PermitRejected => "permit.rejected",
            Self::PermitUsed => "permit.used",
            Self::BreakGlassOpened => "break_glass.opened",
            Self::BreakGlassClosed => "break_glass.closed",
            Self::CallRefused => "call.refused",
        }
    }

    /// Reads what [`Kind::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        use Kind::*;
        let all = [
            RevisionSubmitted,
            RevisionApproved,
            RevisionRejected,
            RevisionRevoked,
            RevisionApplied,
            RevisionReverted,
            RevisionStamped,
            ApplyStarted,
            ApplyStatement,
            ApplyFailed,
            ApplyFinished,
            DdlExecuted,
            DdlBlocked,
            DdlWouldBlock,
            PolicyChanged,
            GuardActivated,
            GuardDeactivated,
            GuardBypassed,
            PermitRequested,
            PermitApproved,
            PermitRejected,
            PermitUsed,
            BreakGlassOpened,
            BreakGlassClosed,
            CallRefused,
        ];
        all.into_iter().find(|kind| kind.as_str() == text)
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

impl Entry {
    /// Builds an entry of `kind`; `facts` are the kind's own keys and must hold no floating-point number.
    pub fn new(kind: Kind, circumstances: Circumstances, facts: Value) -> Self {
        let mut object = match facts {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        object.retain(|_, value| !value.is_null());
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_sorts_keys_by_utf16_and_escapes_like_ecmascript() {
        // RFC 8785, section 3.2.3: sorting is by UTF-16 code units, so U+1F600 comes before U+FB33.
        let value =
            json!({"\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew", "1": "One", "\u{1f600}": "Smiley"});
        assert_eq!(
            canonical(&value),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Smiley\",\"\u{fb33}\":\"Hebrew\"}"
        );
    }

    #[test]
    fn the_short_way_gives_what_the_general_way_gives() {
        let every: String = (0..0x300).chain([0xd7ff, 0xe000, 0xffff, 0x1f600]).filter_map(char::from_u32).collect();
        let value = json!({"b": every, "a": [1, -5, 0, 9_007_199_254_740_991_i64, true, null, {"z": {}, "Z": [], "": "\u{7f}"}], "\t": "\u{1}"});
        assert!(is_plain(&value));
        assert_eq!(canonical(&value), serde_json_canonicalizer::to_string(&value).unwrap());
        assert!(!is_plain(&json!({"\u{e9}": 1})) && !is_plain(&json!(1.5)) && !is_plain(&json!(9_007_199_254_740_992_i64)));
    }

    #[test]
    fn leaf_hash_of_nothing_is_the_one_of_rfc_6962() {
        assert_eq!(hex::encode(leaf_hash("")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
    }

    #[test]
    fn an_entry_hashes_exactly_its_payload() {
        let circumstances = Circumstances { entry_id: "id".into(), session_role: "alice".into(), ..Default::default() };
        let entry = Entry::new(Kind::RevisionApproved, circumstances, json!({"revision": "a", "reason": null}));
        assert_eq!(
            entry.payload,
            r#"{"entry_id":"id","kind":"revision.approved","revision":"a","session_role":"alice","v":1}"#
        );
        assert_eq!(entry.leaf_hash, leaf_hash(&entry.payload));
    }
}
