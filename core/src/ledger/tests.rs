use super::*;
use crate::canonical::is_plain;
use crate::terms::{term, terms};
use crate::vocabulary::judgement::Judgement;
use crate::vocabulary::object_kind::ObjectKind;
use crate::vocabulary::verb::Verb;
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
fn a_payload_is_read_or_it_is_none() {
    assert_eq!(readable(r#"{"a": "\\u0000"}"#).unwrap()["a"], "\\u0000");
    for text in ["", "{", r#"{"a": "\u0000"}"#, r#"{"\u0000": 1}"#, r#"["x", {"y": ["\u0000"]}]"#, r#""\ud800""#, "1e400"] {
        assert_eq!(readable(text), None, "{text}");
    }
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
fn an_entry_about_a_statement_is_canonical_whichever_way_it_is_built() {
    use crate::action::Class;
    use crate::command::Name;
    use crate::identity::Address;
    let name = Name { schema: Some("pub\"lic".into()), identity: Identity::Is(Address::relation(7)), ..Name::bare("t\n") };
    let actions = [
        Action::on(Verb::Create, Class::Additive, ObjectKind::Table, &name),
        Action::on(Verb::Alter, Class::Blocking, ObjectKind::Table, &Name::bare("u")),
    ];
    let circumstances = Circumstances {
        entry_id: "id".into(),
        recorded_at: "now".into(),
        session_role: "a".into(),
        application: "\u{1}é".into(),
        xid: "7".into(),
        ..Default::default()
    };
    for (glass, statement) in [(None, Some("CREATE TABLE \"x\"")), (Some("g"), None)] {
        let facts = StatementFacts {
            break_glass: glass,
            mode: glass,
            permit: glass,
            replication_role: glass,
            authenticated_role: glass,
            statement,
            actions: &actions,
            tag: "CREATE TABLE",
            verdict: Judgement::Record,
        };
        let built = Entry::of_statement(Kind::DdlExecuted, circumstances.clone(), &facts);
        let objects: Vec<Value> = actions.iter().map(listed).collect();
        let general = json!({"tag": "CREATE TABLE", "objects": objects, "objects_total": 2, "verdict": "record", "reason": "",
            "statement": statement, "break_glass": glass, "mode": glass, "permit": glass, "authenticated_role": glass, "session_replication_role": glass});
        assert_eq!(built.payload, Entry::new(Kind::DdlExecuted, circumstances.clone(), general).payload);
        assert_eq!(built.leaf_hash, leaf_hash(&built.payload));
    }
}

#[test]
fn an_entry_is_found_by_its_objects_and_by_what_contains_them() {
    let payload = json!({"kind": "ddl.executed", "session_role": "al.ice", "revision": "3f2a", "objects": [
        {"identity": "public.\"a.b\".note"}, {"identity": "public.\"a.b\""}, {"identity": "app"}, {"no": 1}]});
    assert_eq!(
        terms(&payload.to_string()),
        [
            "kind:ddl.executed",
            "object:app",
            "object:public",
            "object:public.\"a.b\"",
            "object:public.\"a.b\".note",
            "revision:3f2a",
            "role:al.ice"
        ]
    );
    assert!(terms("[]").is_empty() && terms("no json").is_empty() && terms("{\"objects\": 3}").is_empty());
}

#[test]
fn what_is_too_long_to_be_looked_up_is_cut_off_and_still_found() {
    let long = "é".repeat(30_000);
    let payload = json!({"kind": "ddl.executed", "objects": [{"identity": long}, {"identity": format!("a.{long}.b.c")}]});
    let terms = terms(&payload.to_string());
    assert!(terms.iter().all(|term| term.len() < 500) && terms.contains(&term("object", &long)), "{terms:?}");
    assert_ne!(term("object", &long), term("object", &(long.clone() + "x")));
    assert_eq!(bounded("short", 10), "short");
    let entry = Entry::new(Kind::DdlBlocked, Circumstances::default(), json!({"reason": long.repeat(9)}));
    assert!(entry.payload.len() < 70_000);
}

#[test]
fn leaf_hash_of_nothing_is_the_one_of_rfc_6962() {
    assert_eq!(hex::encode(leaf_hash("")), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

#[test]
fn an_entry_hashes_exactly_its_payload() {
    let circumstances = Circumstances { entry_id: "id".into(), session_role: "alice".into(), ..Default::default() };
    let entry = Entry::new(Kind::RevisionApproved, circumstances, json!({"revision": "a", "reason": null}));
    assert_eq!(entry.payload, r#"{"entry_id":"id","kind":"revision.approved","revision":"a","session_role":"alice","v":1}"#);
    assert_eq!(entry.leaf_hash, leaf_hash(&entry.payload));
}

#[test]
fn what_holds_data_is_listed_where_not_everything_can_be() {
    use crate::action::Class;
    use crate::command::Name;
    let drop = |kind: ObjectKind, name: String| Action::on(Verb::Drop, Class::Destructive, kind, &Name::bare(name));
    let mut actions: Vec<Action> = (0..60).map(|at| drop(ObjectKind::Type, format!("row_{at}"))).collect();
    actions.extend((0..60).map(|at| drop(ObjectKind::View, format!("view_{at}"))));
    actions.push(drop(ObjectKind::Table, "precious".into()));
    let few: Vec<Action> = actions.iter().skip(100).cloned().collect();
    assert_eq!(most_telling(&few).into_iter().cloned().collect::<Vec<_>>(), few);
    let told = most_telling(&actions);
    assert!(told.len() == LISTED && told[0].object.path == ["precious"], "{told:?}");
    assert_eq!(told.iter().filter(|action| action.object.kind == ObjectKind::View).count(), 60);
}
