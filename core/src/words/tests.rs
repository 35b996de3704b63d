use super::*;
use proptest::prelude::*;

fn read(sql: &str) -> Words {
    let mut words = Words::default();
    words.read(sql);
    words
}

#[test]
fn names_are_folded_and_unquoted() {
    let words = read("ALTER TABLE T ALTER c TYPE int USING public.\"My \"\"F\"(C) -- nothing(here)");
    for name in ["t", "c", "int", "public", "My \"F"] {
        assert!(words.names.contains(name), "{name}");
    }
    assert!(!words.names.contains("nothing"));
}

#[test]
fn where_a_string_ends_is_not_relied_upon_where_a_backslash_may_escape() {
    let words = read("DELETE FROM t WHERE v = E'a'\n'\\' -- ' AND hidden(id) AND a @@@ b");
    assert!(words.names.contains("hidden") && words.operators.contains("@@@"));
    let words = read("SELECT '\\' /* ' */, other(id)");
    assert!(words.names.contains("other"));
    let words = read("DELETE FROM t WHERE v = E'a'\n'\\' -- ' AND \"g g\"(id) AND \"g\"\"h\"(id) AND g$G(id)");
    for name in ["g g", "g\"h", "g$g"] {
        assert!(words.names.contains(name), "{name}");
    }
    let words = read("DO E'BEGIN PERFORM\\rgg(1), x\\fhh(2), \\qq(3); END'");
    for name in ["gg", "hh", "qq"] {
        assert!(words.names.contains(name), "{name}");
    }
}

#[test]
fn names_count_as_postgresql_cuts_them_off() {
    let long = "n".repeat(70);
    let umlauts = "ä".repeat(40);
    for (text, name) in
        [(long.clone(), &long[..63]), (format!("\"{umlauts}\""), &umlauts[..62]), (format!("'{long}'"), &long[..63])]
    {
        assert!(read(&text).names.contains(name), "{text}");
    }
}

#[test]
fn what_reads_views_without_naming_them_can_not_be_known() {
    for text in ["schema_to_xml('s', true, true, '')", "database_to_xml_and_xmlschema(true, true, '')"] {
        assert!(!read(text).dynamic.is_empty(), "{text}");
    }
    assert!(read("E'a\\n'").dynamic.is_empty());
}

#[test]
fn bodies_and_strings_are_read_as_sql() {
    let words = read(
        "DO $do$ BEGIN PERFORM 'x' || $a$ inner(1) $a$; EXECUTE 'SELECT deep(''deeper()'')'; FOR i IN 1..f(x) LOOP END $do$",
    );
    for name in ["inner", "deep", "deeper", "f"] {
        assert!(words.names.contains(name), "{name}");
    }
    assert!(words.dynamic.contains("EXECUTE"));
}

#[test]
fn execute_of_triggers_and_grants_is_not_dynamic() {
    assert!(
        read("CREATE TRIGGER a BEFORE INSERT ON t EXECUTE FUNCTION f(); GRANT EXECUTE ON FUNCTION f() TO x").dynamic.is_empty()
    );
    assert!(!read("DO $$ BEGIN EXECUTE x; END $$").dynamic.is_empty());
}

#[test]
fn operators_are_taken_apart_and_words_for_them_are_known() {
    let words = read("SELECT a<-b, c != d, e LIKE f, x::text");
    for operator in ["<-", "<", "-", "!=", "<>", "~~"] {
        assert!(words.operators.contains(operator), "{operator}");
    }
}

#[test]
fn columns_that_are_meant_without_a_name_are_told() {
    for text in [
        "SELECT * FROM t",
        "INSERT INTO t SELECT a FROM s",
        "INSERT INTO s.t AS x VALUES (1)",
        "INSERT INTO t (SELECT a FROM s)",
        "INSERT INTO t DEFAULT VALUES",
        "CREATE VIEW v AS TABLE t",
        "DO $$ BEGIN INSERT INTO t SELECT 1; END $$",
        "SELECT to_jsonb(t) FROM t",
    ] {
        assert!(read(text).all_columns, "{text}");
    }
    for text in [
        "ALTER TABLE t ALTER a TYPE text USING b",
        "INSERT INTO t (a, b) SELECT a, b FROM s",
        "UPDATE t SET a = b; TRUNCATE TABLE t",
        "CREATE TRIGGER g BEFORE INSERT ON t EXECUTE FUNCTION f(); CREATE TABLE u (a int)",
    ] {
        assert!(!read(text).all_columns, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read(text in "\\PC{0,80}") {
        read(&text);
    }

    #[test]
    fn a_quoted_name_is_found_wherever_it_stands(before in "[a-z (),.;=1]{0,20}", name in "[a-z]{6,12}") {
        let quoted = read(&format!("{before} \"{name}\"(x)"));
        let plain = read(&format!("{before} {name}(x)"));
        prop_assert!(quoted.names.contains(&name));
        prop_assert!(plain.names.contains(&name));
    }
}

#[test]
fn escapes_are_undone_as_postgresql_does() {
    for text in [
        "SELECT U&\"!0067g\" UESCAPE '!' (id)",
        "SELECT U&\"!0067g\" uescape\n/* c */ '!'(id)",
        "SELECT U&\"\\0067g\"(id)",
        "DO U&'BEGIN PERFORM #0067g(1); END' UESCAPE '#'",
        "DO E'BEGIN PERFORM\\rgg(1); END'",
        "DO E'BEGIN PERFORM \\x67g(1); END'",
        "SELECT E'\\147g'::regproc",
    ] {
        assert!(read(text).names.contains("gg"), "{text}");
    }
    assert!(read("DO E'BEGIN PERFORM \\xff(1); END'").dynamic.contains("a name or string with escapes"));
}

#[test]
fn every_part_of_a_long_operator_counts() {
    let long = format!("{}<", "<".repeat(40));
    assert!(read(&format!("SELECT a {long}-20")).operators.contains(&long));
}

#[test]
fn texts_made_to_be_long_are_read_in_no_more_room_than_they_take() {
    for text in ["+".repeat(100_000), "\"".repeat(100_000) + "\\", "<=>~!@#%^&|".repeat(10_000), "a\"\\".repeat(30_000)] {
        let words = read(&text);
        let room: usize = words.names.iter().chain(&words.operators).map(String::len).sum();
        assert!(room <= 3 * text.len(), "{room} bytes of names in {} bytes of text", text.len());
    }
    assert!(!read(&"+".repeat(300_000)).dynamic.is_empty());
    let many: String = (0..150_000).map(|at| format!("n{at} ")).collect();
    assert!(!read(&many).dynamic.is_empty());
}

#[test]
fn a_string_that_goes_on_in_the_next_line_is_read_as_one() {
    for text in [
        "SELECT 'SELECT $1::vc'\n 'ap::text'",
        "SELECT 'SELECT $1::v'\n\t'c'  -- and so on\n'ap::text'",
        "SELECT to_tsvector('vc'\r'ap', v)",
        "SELECT $$SELECT 'vc'\n'ap'$$",
        "SELECT U&'vc'\n'ap'",
    ] {
        assert!(read(text).names.contains("vcap"), "{text}");
    }
    // In one line they are two, and PostgreSQL refuses them.
    assert!(!read("SELECT 'vc' 'ap'").names.contains("vcap"));
    // With escapes besides, nobody can tell.
    assert!(!read("SELECT E'\\'', 'vc'\n'ap'").dynamic.is_empty());
    let parts = "'a'\n".repeat(100_000);
    let begun = std::time::Instant::now();
    read(&parts);
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn an_escape_that_is_given_in_another_way_is_told() {
    assert!(read(r#"SELECT U&"!0076cap" UESCAPE '!'"#).names.contains("vcap"));
    for way in ["$$!$$", "E'!'", "$a$!$a$", "'!!'", "''''", "U&'!'"] {
        assert!(!read(&format!(r#"SELECT U&"!0076cap" UESCAPE {way}"#)).dynamic.is_empty(), "{way}");
    }
}

#[test]
fn text_that_runs_is_told_however_it_is_hidden() {
    let mut nested = "BEGIN EXECUTE (SELECT c FROM cmds); END".to_owned();
    for at in 0..12 {
        nested = format!("BEGIN DO $x{at}$ {nested} $x{at}$; END");
    }
    for text in [
        "BEGIN EXECUTE function; END",
        "BEGIN EXECUTE procedure; END",
        "BEGIN EXECUTE function INTO x; END",
        "BEGIN EXECUTE function USING (x); END",
        "BEGIN EXECUTE function || ' x'; END",
        "BEGIN EXECUTE function(x); END",
        r#"BEGIN EXECUTE "on"; END"#,
        r#"SELECT "query_to_xml"(c, true, false, '')"#,
        &nested,
    ] {
        assert!(!read(text).dynamic.is_empty(), "{text}");
    }
    for text in [
        "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION f()",
        r#"CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW EXECUTE PROCEDURE public . "f" ()"#,
        "GRANT EXECUTE ON FUNCTION f() TO x",
    ] {
        assert!(read(text).dynamic.is_empty(), "{text}");
    }
}
