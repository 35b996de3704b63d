//! The extension's own objects, as the catalog has them now.

use crate::error::{Result, internal};
use crate::pg::execute::subtransaction;
use crate::pg::failure::Failure;
use crate::spi::{execute, read};

/// What does not belong to the extension's tables, views and functions, or is not as the extension has made it; a sentence each, without
/// a full stop.
pub fn strangers() -> Result<Vec<String>> {
    read(STRANGERS, &[], |row| row.get(1))
}

/// The version of the extension in this database.
pub fn version() -> Result<Option<String>> {
    let sql = "SELECT x.extversion FROM pg_catalog.pg_extension AS x WHERE x.extname OPERATOR(pg_catalog.=) 'pg_runbook'";
    Ok(read(sql, &[], |row| row.get(1))?.pop())
}

/// The version that the server's control file makes the default.
pub fn default_version() -> Result<Option<String>> {
    let sql = "SELECT a.default_version FROM pg_catalog.pg_available_extensions() AS a WHERE a.name OPERATOR(pg_catalog.=) 'pg_runbook'";
    Ok(read(sql, &[], |row| row.get(1))?.pop())
}

/// Names and bodies of our functions that are not in the library.
pub fn bodies() -> Result<Vec<(String, String)>> {
    read(
        "SELECT p.proname::pg_catalog.text, p.prosrc FROM pg_catalog.pg_proc AS p \
         JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace \
         WHERE n.nspname OPERATOR(pg_catalog.=) ANY ('{runbook,runbook_internal}'::pg_catalog.name[]) AND l.lanname OPERATOR(pg_catalog.<>) 'c'",
        &[],
        |row| Ok((row.get(1)?, row.get(2)?)),
    )
}

/// A view as the extension makes it.
pub struct View {
    name: String,
    /// Makes a temporary view of the same query.
    copy: &'static str,
}

impl View {
    /// The view of that name and query. Called once for each in the life of a process.
    pub fn new(name: &str, query: &str) -> Self {
        let copy = format!("CREATE TEMPORARY VIEW runbook_copy_of_{name} AS {query}");
        Self { name: name.to_owned(), copy: Box::leak(copy.into_boxed_str()) }
    }
}

/// The views whose queries are not those that the extension has made. PostgreSQL itself is asked how it writes the one and the other.
pub fn changed_views(views: &[View]) -> Result<Vec<String>> {
    let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    let mut changed = Ok(vec![]);
    // What is made here goes again.
    let undone = subtransaction::within(|| {
        for view in views {
            execute(view.copy, &[])?;
        }
        changed = read(CHANGED, &[names.into()], |row| row.get(1));
        Err::<(), Failure>(internal("rolled back").into())
    });
    match undone {
        Err(Failure::PgError(caught)) => Err(internal(format!("a view could not be compared: {}", caught.message()))),
        _ => changed,
    }
}

const CHANGED: &str = "SELECT n.name FROM pg_catalog.unnest($1) AS n (name) \
     JOIN pg_catalog.pg_class AS t ON t.oid OPERATOR(pg_catalog.=) \
         pg_catalog.to_regclass(pg_catalog.concat('pg_temp.runbook_copy_of_', n.name))::pg_catalog.oid \
     LEFT JOIN pg_catalog.pg_class AS v ON v.oid OPERATOR(pg_catalog.=) \
         pg_catalog.to_regclass(pg_catalog.concat('runbook.', n.name))::pg_catalog.oid \
     WHERE v.oid IS NULL OR pg_catalog.pg_get_viewdef(v.oid) OPERATOR(pg_catalog.<>) pg_catalog.pg_get_viewdef(t.oid) \
         OR v.reloptions IS DISTINCT FROM t.reloptions";

const STRANGERS: &str = "WITH extension AS ( \
         SELECT x.oid, x.extowner FROM pg_catalog.pg_extension AS x WHERE x.extname OPERATOR(pg_catalog.=) 'pg_runbook'), \
     member AS ( \
         SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d JOIN extension AS x ON d.refobjid OPERATOR(pg_catalog.=) x.oid \
         WHERE d.refclassid OPERATOR(pg_catalog.=) 3079 AND d.deptype OPERATOR(pg_catalog.=) 'e'), \
     relation AS ( \
         SELECT c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity FROM pg_catalog.pg_class AS c \
         JOIN member AS m ON m.classid OPERATOR(pg_catalog.=) 1259 AND m.objid OPERATOR(pg_catalog.=) c.oid) \
     SELECT pg_catalog.format('%s inherits from runbook.%I', i.inhrelid::pg_catalog.regclass, r.relname) \
     FROM pg_catalog.pg_inherits AS i JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) i.inhparent \
     UNION ALL SELECT pg_catalog.format('runbook.%I inherits from %s', r.relname, i.inhparent::pg_catalog.regclass) \
     FROM pg_catalog.pg_inherits AS i JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) i.inhrelid \
         AND r.relkind OPERATOR(pg_catalog.=) 'r' \
     UNION ALL SELECT pg_catalog.format('foreign key %I of %s refers to runbook.%I', k.conname, k.conrelid::pg_catalog.regclass, r.relname) \
     FROM pg_catalog.pg_constraint AS k JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) k.confrelid \
     UNION ALL SELECT pg_catalog.format('trigger %I on runbook.%I is not pg_runbook''s', t.tgname, r.relname) \
     FROM pg_catalog.pg_trigger AS t JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) t.tgrelid \
     WHERE NOT t.tgisinternal AND NOT EXISTS (SELECT FROM member AS m WHERE m.classid OPERATOR(pg_catalog.=) 1255 \
         AND m.objid OPERATOR(pg_catalog.=) t.tgfoid) \
     UNION ALL SELECT pg_catalog.format('trigger %I on runbook.%I is not enabled always', t.tgname, r.relname) \
     FROM pg_catalog.pg_trigger AS t JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) t.tgrelid \
     WHERE NOT t.tgisinternal AND t.tgenabled OPERATOR(pg_catalog.<>) 'A' \
     UNION ALL SELECT pg_catalog.format('trigger %I on runbook.%I does not fire as it should', t.tgname, r.relname) \
     FROM pg_catalog.pg_trigger AS t JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) t.tgrelid \
     WHERE NOT t.tgisinternal AND (t.tgqual IS NOT NULL OR NOT EXISTS ( \
             SELECT FROM pg_catalog.pg_proc AS p WHERE p.oid OPERATOR(pg_catalog.=) t.tgfoid \
                 AND pg_catalog.concat_ws(' ', t.tgname, t.tgtype, p.proname) OPERATOR(pg_catalog.=) ANY ('{\"a_runbook_own 62 guard_own_table\",\
                     \"a_runbook_own_row 31 guard_own_table\",\"append_only 58 refuse_change\",\"append_only_row 27 refuse_change\"}'::pg_catalog.text[])) \
         OR pg_catalog.cardinality(t.tgattr::pg_catalog.int2[]) OPERATOR(pg_catalog.<>) 0) \
     UNION ALL SELECT pg_catalog.format('runbook.%I is not logged', r.relname) FROM relation AS r \
     WHERE r.relkind OPERATOR(pg_catalog.=) 'r' AND (SELECT c.relpersistence FROM pg_catalog.pg_class AS c \
         WHERE c.oid OPERATOR(pg_catalog.=) r.oid) OPERATOR(pg_catalog.<>) 'p' \
     UNION ALL SELECT pg_catalog.format('runbook.%I lacks its triggers', r.relname) FROM relation AS r \
     WHERE r.relkind OPERATOR(pg_catalog.=) 'r' AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t \
         WHERE t.tgrelid OPERATOR(pg_catalog.=) r.oid \
             AND t.tgname OPERATOR(pg_catalog.=) ANY ('{a_runbook_own,a_runbook_own_row}'::pg_catalog.name[])) OPERATOR(pg_catalog.<>) 2 \
     UNION ALL SELECT pg_catalog.format('rule %I on runbook.%I is not pg_runbook''s', w.rulename, r.relname) \
     FROM pg_catalog.pg_rewrite AS w JOIN relation AS r ON r.oid OPERATOR(pg_catalog.=) w.ev_class \
     WHERE w.rulename OPERATOR(pg_catalog.<>) '_RETURN' \
     UNION ALL SELECT pg_catalog.format('runbook.%I has row level security', r.relname) FROM relation AS r WHERE r.relrowsecurity \
     UNION ALL SELECT pg_catalog.format('runbook.%I has another owner than the extension', r.relname) \
     FROM relation AS r JOIN extension AS x ON r.relowner OPERATOR(pg_catalog.<>) x.extowner \
     UNION ALL SELECT pg_catalog.format('runbook.%I does not belong to pg_runbook', c.relname) FROM pg_catalog.pg_class AS c \
     JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace AND n.nspname OPERATOR(pg_catalog.=) ANY ('{runbook,runbook_internal}'::pg_catalog.name[]) \
     WHERE c.relkind OPERATOR(pg_catalog.<>) ALL ('{i,I,t,c}'::pg_catalog.\"char\"[]) \
         AND NOT EXISTS (SELECT FROM relation AS r WHERE r.oid OPERATOR(pg_catalog.=) c.oid) \
     UNION ALL SELECT pg_catalog.format('function %s does not belong to pg_runbook', p.oid::pg_catalog.regprocedure) \
     FROM pg_catalog.pg_proc AS p \
     JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace AND n.nspname OPERATOR(pg_catalog.=) ANY ('{runbook,runbook_internal}'::pg_catalog.name[]) \
     WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid OPERATOR(pg_catalog.=) 1255 AND m.objid OPERATOR(pg_catalog.=) p.oid) \
     UNION ALL SELECT pg_catalog.format('function %s has a changed body', p.oid::pg_catalog.regprocedure) \
     FROM pg_catalog.pg_proc AS p JOIN member AS m ON m.classid OPERATOR(pg_catalog.=) 1255 AND m.objid OPERATOR(pg_catalog.=) p.oid \
     JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
     WHERE CASE p.proname WHEN 'mark_guarded' THEN l.lanname OPERATOR(pg_catalog.<>) 'plpgsql' \
             WHEN 'fingerprint' THEN l.lanname OPERATOR(pg_catalog.<>) 'sql' \
             ELSE l.lanname OPERATOR(pg_catalog.<>) 'c' OR p.probin IS DISTINCT FROM '$libdir/pg_runbook' \
                 OR p.prosrc OPERATOR(pg_catalog.<>) ALL (ARRAY[pg_catalog.concat(p.proname, '_wrapper'), \
                     pg_catalog.concat('runbook_', p.proname)]) END \
     UNION ALL SELECT pg_catalog.format('function %s has other settings or privileges', p.oid::pg_catalog.regprocedure) \
     FROM pg_catalog.pg_proc AS p JOIN member AS m ON m.classid OPERATOR(pg_catalog.=) 1255 AND m.objid OPERATOR(pg_catalog.=) p.oid \
     WHERE p.prosecdef AND p.proname OPERATOR(pg_catalog.<>) ALL ('{branches,consistency_proof,current,fingerprint,guard_status,heads,history,\
             inclusion_proof,jobs_in_force,permits_in_force,plan,policy_in_force,require,settings_in_force,show,tree_frontier,tree_head,verify_ledger}'\
             ::pg_catalog.name[]) \
         OR COALESCE(pg_catalog.array_to_string(p.proconfig, ';'), 'search_path=pg_catalog, pg_temp') OPERATOR(pg_catalog.<>) ALL \
             ('{\"search_path=pg_catalog, pg_temp\",\"search_path=pg_catalog, runbook, pg_temp\"}'::pg_catalog.text[])";
