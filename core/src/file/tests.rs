use super::*;

const SAMPLE: &str = "-- revision: 3f2a9c1b7d04\n-- parents: 1c0ffee00aa1\n-- message: add orders.note\n-- phase: expand\n\n\
                      -- runbook: upgrade\nALTER TABLE orders ADD COLUMN note text;\n\n\
                      -- runbook: downgrade\nALTER TABLE orders DROP COLUMN note;\n\n-- runbook: verify\nSELECT note FROM orders LIMIT 0;\n";

#[test]
fn what_is_written_is_read_back_to_the_same_digest() {
    let revision = parse("a.sql", SAMPLE.as_bytes()).unwrap();
    assert_eq!(revision.phase, Some(Phase::Expand));
    let again = parse("b.sql", write(&revision).as_bytes()).unwrap();
    assert_eq!(revision, again);
    assert_eq!(revision.digest(), again.digest());
}

#[test]
fn refuses_to_write_what_would_be_read_otherwise() {
    let json = |upgrade: &str| serde_json::json!({"revision": "a", "upgrade": upgrade, "downgrade": "SELECT 2"});
    let revision = |json: serde_json::Value| Revision::from_json(&json).unwrap();
    // A string may hold whatever it wants, unless the file would begin a section there, or almost.
    assert!(write_faithfully(&revision(json("SELECT '\n  -- the runbook: verify\n'\n\n"))).is_ok());
    for sql in [
        "SELECT '\n  -- runbook: verify\n'",
        "SELECT 1;\n-- runbook: downgrade\nDROP TABLE t",
        "SELECT 1;\n-- runbook: verify\nSELECT 3",
        "SELECT 'a\r\nb'",
    ] {
        let error = write_faithfully(&revision(json(sql))).unwrap_err();
        assert_eq!(error.sqlstate(), "22023", "{sql}");
        assert!(error.hint().is_some_and(|hint| hint.contains("runbook show a")));
    }
    let mut two_labels = json("SELECT 1");
    two_labels["backfill"] = serde_json::json!("public.t by id");
    two_labels["message"] = serde_json::json!("one\ntwo");
    assert!(write_faithfully(&revision(two_labels)).unwrap().contains("-- message: one two\n"));
}

#[test]
fn windows_line_ends_do_not_change_the_digest() {
    let windows = SAMPLE.replace('\n', "\r\n");
    assert_eq!(parse("a", windows.as_bytes()).unwrap().digest(), parse("a", SAMPLE.as_bytes()).unwrap().digest());
}

#[test]
fn errors_give_file_line_and_fix() {
    let cases: [(&[u8], usize, &str); 9] = [
        (b"-- revision: a\n-- reviewer: x\n", 2, "unknown header"),
        (b"-- revision: a\nCREATE TABLE t();\n", 2, "SQL before"),
        (b"-- revision: a\n-- runbook: up\n", 2, "unknown section"),
        (b"-- revision: a\n-- runbook: upgrade\n-- runbook: upgrade\n", 3, "twice"),
        (b"-- message: x\n-- runbook: upgrade\n", 1, "no revision id"),
        (b"-- revision: a\n-- phase: later\n-- runbook: upgrade\n", 2, "unknown phase"),
        (b"-- revision: a-b\n-- runbook: upgrade\n", 1, "invalid revision id"),
        (b"-- revision: a\n-- runbook: upgrade\nSELECT '\xff';\n", 3, "not UTF-8"),
        (b"-- revision: a\n-- runbook: upgrade\nSELECT 1;\0\n", 3, "NUL"),
    ];
    for (bytes, line, problem) in cases {
        let error = parse("f.sql", bytes).unwrap_err();
        assert!(error.to_string().starts_with(&format!("f.sql:{line}: ")), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
        assert!(error.hint().is_some_and(|hint| !hint.is_empty()));
    }
}

#[test]
fn a_way_back_behind_a_misspelt_marker_never_joins_the_way_forth() {
    let file = |marker: &str| {
        parse("f.sql", format!("-- revision: a\n-- runbook: upgrade\nSELECT 1;\n{marker}\nDROP VIEW v;\n").as_bytes())
    };
    for marker in ["--runbook: downgrade", " -- runbook: downgrade", "-- Runbook : downgrade", "-- +goose Down", "-- rollback"]
    {
        let error = file(marker).unwrap_err();
        assert!(error.to_string().starts_with(&format!("f.sql:4: \"{marker}\" is ")), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.ends_with(": -- runbook: downgrade")), "{marker}");
    }
    assert!(file("-- see the runbook before you go on").is_ok());
    assert_eq!(file("-- runbook:\u{a0}downgrade").unwrap().downgrade.as_deref(), Some("DROP VIEW v;\n"));
    let error = parse("f.sql", b"-- revision: a\n--runbook: upgrade\nSELECT 1;\n").unwrap_err();
    assert!(error.to_string().contains("almost a section marker"), "{error}");
}

#[test]
fn refuses_fifty_megabytes_without_reading_them() {
    let error = parse("big.sql", &vec![b' '; 50 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.sqlstate(), "54000");
}

#[test]
fn an_empty_downgrade_is_a_way_back_and_a_missing_one_is_not() {
    let empty = parse("a", b"-- revision: a\n-- runbook: upgrade\nSELECT 1;\n-- runbook: downgrade\n").unwrap();
    assert_eq!(empty.downgrade.as_deref(), Some(""));
    let missing = parse("a", b"-- revision: a\n-- runbook: upgrade\nSELECT 1;\n").unwrap();
    assert_eq!(missing.downgrade, None);
}

proptest::proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        id in "[a-z0-9_]{1,12}",
        parents in proptest::collection::vec("[g-z]{4}", 0..3),
        message in "[ -~é]{0,30}",
        sql in "[ -~é\n]{0,80}",
        has_way_back in proptest::bool::ANY,
    ) {
        let Ok(revision) = RevisionId::new(id) else { return Ok(()) };
        let parents: Vec<RevisionId> = parents.into_iter().map(|parent| RevisionId::new(parent).unwrap()).collect();
        let text = format!("-- revision: {revision}\n-- parents: {}\n-- message: {message}\n\n-- runbook: upgrade\n{}\n{}",
            parents.iter().map(RevisionId::as_str).collect::<Vec<_>>().join(","),
            sql.replace("-- runbook:", "--"),
            if has_way_back { "-- runbook: downgrade\n" } else { "" });
        let first = parse("first", text.as_bytes()).unwrap();
        let again = parse("again", write(&first).as_bytes()).unwrap();
        proptest::prop_assert_eq!(first.digest(), again.digest());
        proptest::prop_assert_eq!(first.downgrade.is_some(), has_way_back);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = parse("noise", &bytes);
    }
}
