#[test]
fn parameters_are_told_from_constants() {
    assert_eq!(super::parameter("DELETE FROM t WHERE a = $$x$$ AND b = '$1' AND c = $2"), Some("$2".to_owned()));
    assert_eq!(super::parameter("DELETE FROM t -- $1"), None);
}

#[test]
fn constants_and_null_can_be_read_in_two_ways() {
    for (sql, one_way) in [
        ("DELETE FROM t WHERE id < 5", true),
        ("DROP TABLE nullable", true),
        ("DELETE FROM t WHERE d < '02/01/2024'", false),
        ("DELETE FROM t WHERE d < $$02/01/2024$$", false),
        ("DELETE FROM t WHERE v =NULL", false),
    ] {
        assert_eq!(super::is_read_one_way(sql), one_way, "{sql}");
    }
}

use super::*;
use proptest::prelude::*;

#[test]
fn comments_layout_and_case_do_not_matter() {
    let plain = normal_form("DROP TABLE public.orders, b CASCADE").unwrap();
    for same in [
        "drop table public.orders,b cascade;",
        "  DROP /* a /* nested */ one */ TABLE\n\tpublic . orders -- the end\n, B CASCADE ; ",
    ] {
        assert_eq!(normal_form(same).unwrap(), plain);
    }
}

#[test]
fn everything_else_does() {
    let texts = [
        "DROP TABLE orders",
        "DROP TABLE \"Orders\"",
        "DROP TABLE orders CASCADE",
        "DROP TABLE IF EXISTS orders",
        "ALTER TABLE t ALTER c TYPE text USING 'a'",
        "ALTER TABLE t ALTER c TYPE text USING 'A'",
        "ALTER TABLE t ALTER c TYPE text USING E'a'",
        "ALTER TABLE t ALTER c TYPE text USING 'a -- b'",
        "ALTER TABLE t ALTER c TYPE text USING 'a /* b */'",
        "ALTER TABLE t ALTER c TYPE text USING $$a$$",
        "ALTER TABLE t ALTER c TYPE text USING $x$a$$b$x$",
        "ALTER TABLE t ALTER c TYPE text USING c - -1",
        "ALTER TABLE t ALTER c TYPE text USING c -1",
        "ALTER TABLE t ALTER c TYPE text USING 1.5",
        "ALTER TABLE t ALTER c TYPE text USING 1 .5",
    ];
    let forms: std::collections::HashSet<String> = texts.iter().map(|text| normal_form(text).unwrap()).collect();
    assert_eq!(forms.len(), texts.len());
}

#[test]
fn what_can_carry_a_password_is_told_by_its_tag_or_its_words() {
    assert!(may_hold_a_secret("ALTER USER MAPPING", "ALTER USER MAPPING FOR a SERVER s OPTIONS (x 'y')"));
    assert!(may_hold_a_secret("DO", "DO $$ BEGIN EXECUTE $q$ALTER ROLE a PassWord 'x'$q$; END $$"));
    assert!(!may_hold_a_secret("ALTER TABLE", "ALTER TABLE orders ADD COLUMN note text"));
}

#[test]
fn a_quote_inside_a_string_does_not_end_it() {
    assert_eq!(normal_form("x 'it''s -- no' Y").unwrap(), "x 'it''s -- no' y");
    assert_eq!(normal_form(r"x E'it\'s -- no' Y").unwrap(), r"x E'it\'s -- no' y");
    assert_eq!(normal_form("a+--b\nC").unwrap(), "a + c");
}

#[test]
fn a_string_that_goes_on_in_the_next_line_has_no_normal_form() {
    assert_eq!(normal_form("USING f(E'\\r'\n'\\' -- '\n, '')"), None);
    assert_eq!(normal_form("USING f('a' -- b\n 'c')"), None);
    assert!(normal_form("USING f('a', 'c')").is_some());
}

#[test]
fn a_call_is_in_the_text_or_it_is_not() {
    let constant = |text: &str| Argument::Constant(text.to_owned());
    let at = |sql: &str, offset| call_at(sql, offset, "approve");
    assert_eq!(at("SELECT runbook.approve('it''s', 1)", 7), Some(vec![constant("it's"), constant("1")]));
    assert_eq!(at("\"runbook\" . \"approve\" /* x */ ($q$a$q$)", 0), Some(vec![constant("a")]));
    let named = Argument::Named("revision".to_owned(), Box::new(constant("a")));
    assert_eq!(at("Approve (revision => 'a'::text)", 0), Some(vec![named]), "the schema may be on the search path");
    assert_eq!(argument_of("NULL::text"), Argument::Null);
    assert_eq!(argument_of("'head'::text"), constant("head"));
    assert_eq!(
        at("SELECT runbook.approve($1, x || 'a', NULL)", 7),
        Some(vec![Argument::Unknown, Argument::Unknown, Argument::Null])
    );
    assert_eq!(at("SELECT runbook.approve('a')", 8), None, "the middle of a word");
    assert_eq!(at("SELECT 'runbook.approve(1)'", 8), None, "the middle of a string");
    assert_eq!(at("SELECT 1 -- runbook.approve('a')", 12), None, "the middle of a comment");
    assert_eq!(at("alices.approve('a')", 0), None);
    assert_eq!(at("\"Approve\"('a')", 0), None);
    assert_eq!(at("approve_permit('a')", 0), None);
    assert_eq!(at("approve", 0), None);
    assert_eq!(at("", 0), None);
    let block = |sql: &str| block_calls(sql, "upgrade");
    assert_eq!(block("DO $x$ BEGIN PERFORM runbook.upgrade('a'); END $x$;"), [vec![constant("a")]]);
    assert_eq!(block("do language plpgsql 'BEGIN PERFORM runbook.upgrade(''a''); END'"), [vec![constant("a")]]);
    assert!(block("SELECT f($$runbook.upgrade('a')$$)").is_empty());
    assert!(block("DO $$ BEGIN PERFORM f('runbook.upgrade('); END $$").is_empty());
    assert!(block("DO $$ BEGIN PERFORM runbook.upgrade('a'); END $$; SELECT f()").is_empty());
}

proptest! {
    #[test]
    fn any_text_has_a_normal_form_that_is_its_own(text in "\\PC{0,60}") {
        if let Some(once) = normal_form(&text) {
            prop_assert_eq!(normal_form(&once), Some(once));
        }
    }
}
