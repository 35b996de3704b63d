use super::*;
use serde_json::json;

fn sample() -> serde_json::Value {
    json!({"revision": "3f2a9c1b7d04", "parents": ["1c0ffee00aa1"], "upgrade": "SELECT 1", "downgrade": ""})
}

#[test]
fn digest_changes_with_the_sql_and_not_with_the_message() {
    let base = Revision::from_json(&sample()).unwrap();
    let mut other = base.clone();
    other.message = "reworded".into();
    assert_eq!(base.digest(), other.digest());
    other.upgrade.push(' ');
    assert_ne!(base.digest(), other.digest());
}

#[test]
fn an_absent_downgrade_is_not_an_empty_one() {
    let base = Revision::from_json(&sample()).unwrap();
    let mut other = base.clone();
    other.downgrade = None;
    assert_ne!(base.digest(), other.digest());
}

#[test]
fn refuses_unknown_keys_and_names_them() {
    let mut json = sample();
    json["upgrde"] = json!("x");
    let error = Revision::from_json(&json).unwrap_err();
    assert_eq!(error.sqlstate(), "22023");
    assert!(error.to_string().contains("upgrde"), "{error}");
}

#[test]
fn refuses_ids_that_targets_could_not_name() {
    for id in ["", "a@b", "a-b", "a+1", "a:b", "a,b", "head", "a b", "a\0", &"a".repeat(129)] {
        assert!(RevisionId::new(id).is_err(), "{id:?}");
    }
    for id in ["3f2a9c1b7d04", "v1.2_orders", "_x", "A", &"a".repeat(128)] {
        assert!(RevisionId::new(id).is_ok(), "{id:?}");
    }
}

#[test]
fn refuses_names_that_differ_only_by_what_nobody_sees() {
    // A zero-width space, a soft hyphen, a Cyrillic а, a full-width digit, é in two pieces, an odd blank.
    for id in ["a\u{200b}b", "a\u{ad}b", "\u{430}b", "a\u{ff11}", "e\u{301}", "a\u{a0}b", "a\u{202e}b", "a\u{3164}"] {
        assert!(RevisionId::new(id).is_err(), "{id:?}");
        for key in ["branch_labels", "depends_on", "parents"] {
            let mut json = sample();
            json[key] = json!([id]);
            assert_eq!(Revision::from_json(&json).unwrap_err().sqlstate(), "22023", "{key} {id:?}");
        }
    }
    let error = RevisionId::new("c\u{43e}de").unwrap_err().to_string();
    assert!(error.contains("U+043E"), "{error}");
    let error = RevisionId::new("a\u{202e}b").unwrap_err().to_string();
    assert!(error.contains("<U+202E>") && !error.contains('\u{202e}'), "{error}");
}

#[test]
fn refuses_ids_that_a_shell_or_a_path_would_read_otherwise() {
    for id in ["../up", ".hidden", "$(id)", "a;b", "a'b", "a`b", "a|b", "(head)"] {
        assert!(RevisionId::new(id).is_err(), "{id:?}");
    }
}

#[test]
fn refuses_headers_that_would_open_lines_of_their_own() {
    for key in ["message", "author", "irreversible_reason", "requires_release", "unused_for", "backfill"] {
        for text in ["a\rb", "a\u{1b}[2Jb", "a\u{85}b"] {
            let mut json = sample();
            json[key] = json!(text);
            let error = Revision::from_json(&json).unwrap_err();
            assert_eq!(error.sqlstate(), "22023", "{key}");
            assert!(error.to_string().contains(key) && !error.to_string().contains(char::is_control), "{error}");
        }
        let mut json = sample();
        json[key] = json!("a\n\tb");
        assert_eq!(Revision::from_json(&json).is_ok(), ["message", "author", "irreversible_reason"].contains(&key), "{key}");
    }
}

#[test]
fn refuses_a_revision_that_follows_itself() {
    let mut json = sample();
    json["parents"] = json!(["3f2a9c1b7d04"]);
    assert_eq!(Revision::from_json(&json).unwrap_err().sqlstate(), "42P17");
}
