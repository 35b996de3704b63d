//! Which objects a statement touched, what goes along with them, and which of them revisions created.
//!
//! Owns table `made`.

use super::catalog::address;
use super::{Result, execute, read};
use pgrx::pg_sys::Oid;
use runbook_core::action::Action;
use runbook_core::identity::{Address, Identity, RELATIONS};
use std::collections::{HashMap, HashSet};

/// An object that `ddl_command_end` reports: the tag of the command that touched it, and which it is.
pub fn touched() -> Result<Vec<(String, Address)>> {
    read(
        "SELECT c.command_tag, c.classid, c.objid, c.objsubid FROM pg_catalog.pg_event_trigger_ddl_commands() AS c \
         WHERE c.objid IS NOT NULL",
        &[],
        |row| Ok((row.get(1)?, address(row.get(2)?, row.get(3)?, row.get(4)?))),
    )
}

/// Functions, relations, triggers and rules of that bare name, which CREATE OR REPLACE may find.
pub fn named(name: &str) -> Result<HashSet<Address>> {
    let rows = read(
        "SELECT 1255::pg_catalog.oid, p.oid FROM pg_catalog.pg_proc AS p WHERE p.proname OPERATOR(pg_catalog.=) $1::pg_catalog.name \
         UNION ALL SELECT 1259, c.oid FROM pg_catalog.pg_class AS c WHERE c.relname OPERATOR(pg_catalog.=) $1::pg_catalog.name \
         UNION ALL SELECT 2620, t.oid FROM pg_catalog.pg_trigger AS t WHERE t.tgname OPERATOR(pg_catalog.=) $1::pg_catalog.name \
         UNION ALL SELECT 2618, r.oid FROM pg_catalog.pg_rewrite AS r WHERE r.rulename OPERATOR(pg_catalog.=) $1::pg_catalog.name",
        &[name.into()],
        |row| Ok(address(row.get(1)?, row.get(2)?, 0)),
    )?;
    Ok(rows.into_iter().collect())
}

/// What goes along with the objects of `actions`, as implied actions: partitions, owned sequences and extension members of
/// what is dropped; the same column of tables that inherit it. What is renamed counts as dropped where a name is dropped
/// that means nothing yet.
pub fn implied(actions: &[Action]) -> Result<Vec<Action>> {
    let later = actions.iter().any(|action| action.verb == "drop" && action.identity == Identity::Missing);
    let drops = |action: &Action| action.verb == "drop" || (later && action.is_move());
    let bound: Vec<(usize, Address)> = actions
        .iter()
        .enumerate()
        .filter(|(_, action)| !action.temporary && (drops(action) || action.object.kind == "column"))
        .filter_map(|(at, action)| if let Identity::Is(found) = action.identity { Some((at, found)) } else { None })
        .collect();
    if bound.is_empty() {
        return Ok(vec![]);
    }
    let column = |get: &dyn Fn(&(usize, Address)) -> i64| bound.iter().map(get).collect::<Vec<i64>>();
    let drops = bound.iter().map(|(at, _)| drops(&actions[*at])).collect::<Vec<bool>>();
    read(
        "WITH RECURSIVE root (place, classid, objid, objsubid, drops) AS ( \
             SELECT r.place, r.classid::pg_catalog.oid, r.objid::pg_catalog.oid, r.objsubid::pg_catalog.int4, r.drops \
             FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), \
                  pg_catalog.unnest($5)) AS r (place, classid, objid, objsubid, drops)), \
         heir (place, objid, attname, drops) AS ( \
             SELECT r.place, r.objid, a.attname, r.drops FROM root AS r JOIN pg_catalog.pg_attribute AS a \
                 ON a.attrelid OPERATOR(pg_catalog.=) r.objid AND a.attnum::pg_catalog.int4 OPERATOR(pg_catalog.=) r.objsubid \
             WHERE r.classid OPERATOR(pg_catalog.=) 1259 AND r.objsubid OPERATOR(pg_catalog.>) 0 \
             UNION SELECT h.place, i.inhrelid, h.attname, h.drops FROM heir AS h \
                 JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) h.objid), \
         inherited (place, objid, attnum, drops) AS ( \
             SELECT h.place, h.objid, a.attnum, h.drops FROM heir AS h JOIN pg_catalog.pg_attribute AS a \
                 ON a.attrelid OPERATOR(pg_catalog.=) h.objid AND a.attname OPERATOR(pg_catalog.=) h.attname), \
         gone (place, classid, objid, objsubid) AS ( \
             SELECT r.place, r.classid, r.objid, r.objsubid FROM root AS r WHERE r.drops \
             UNION SELECT i.place, 1259::pg_catalog.oid, i.objid, i.attnum::pg_catalog.int4 FROM inherited AS i WHERE i.drops \
             UNION SELECT g.place, d.classid, d.objid, d.objsubid FROM gone AS g JOIN pg_catalog.pg_depend AS d \
                 ON d.refclassid OPERATOR(pg_catalog.=) g.classid AND d.refobjid OPERATOR(pg_catalog.=) g.objid \
                 AND (g.objsubid OPERATOR(pg_catalog.=) 0 OR d.refobjsubid OPERATOR(pg_catalog.=) g.objsubid) \
                 AND d.deptype OPERATOR(pg_catalog.=) ANY ('{a,i,P,S,e}'::pg_catalog.\"char\"[])) \
         SELECT g.place, CASE c.relkind WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
                 WHEN 'f' THEN 'foreign table' ELSE 'table' END, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
             NULL::pg_catalog.text, c.oid, 0 \
         FROM gone AS g JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) g.objid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE g.classid OPERATOR(pg_catalog.=) 1259 AND g.objsubid OPERATOR(pg_catalog.=) 0 \
             AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,S,f}'::pg_catalog.\"char\"[]) \
         UNION SELECT i.place, 'column', n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text, \
             c.oid, i.attnum::pg_catalog.int4 \
         FROM inherited AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.objid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) i.attnum",
        &[
            column(&|(at, _)| i64::try_from(*at).unwrap_or(i64::MAX)).into(),
            column(&|(_, found)| found.class.into()).into(),
            column(&|(_, found)| found.object.into()).into(),
            column(&|(_, found)| found.part.into()).into(),
            drops.into(),
        ],
        |row| {
            let root = usize::try_from(row.get::<i64>(1)?).ok().and_then(|at| actions.get(at));
            let found = address(Oid::from(RELATIONS), row.get(6)?, row.get(7)?);
            let path = [row.maybe(3)?, row.maybe(4)?, row.maybe(5)?].into_iter().flatten().collect();
            let kind: String = row.get(2)?;
            Ok(root.filter(|root| root.identity != Identity::Is(found)).map(|root| root.implying(&kind, path, found)))
        },
    )
    .map(|rows| rows.into_iter().flatten().collect())
}

/// When revisions created these objects, in microseconds since 1970; those that none created are left out.
pub fn made_by_revisions(objects: &[Address]) -> Result<HashMap<Address, i64>> {
    if objects.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = read(
        "SELECT m.classid, m.objid, (EXTRACT(epoch FROM pg_catalog.max(m.made_at)) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 \
         FROM runbook.made AS m WHERE m.objid OPERATOR(pg_catalog.=) ANY ($1) GROUP BY m.classid, m.objid",
        &[objects.iter().map(|one| Oid::from(one.object)).collect::<Vec<_>>().into()],
        |row| Ok((address(row.get(1)?, row.get(2)?, 0), row.get(3)?)),
    )?;
    Ok(rows.into_iter().collect())
}

/// Remembers that revisions created these objects.
pub fn remember_made(made: &[(String, Address)]) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    execute(
        "INSERT INTO runbook.made (classid, objid, revision, made_at) \
         SELECT m.classid, m.objid, m.revision, pg_catalog.clock_timestamp() \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS m (classid, objid, revision)",
        &[
            made.iter().map(|(_, one)| Oid::from(one.class)).collect::<Vec<_>>().into(),
            made.iter().map(|(_, one)| Oid::from(one.object)).collect::<Vec<_>>().into(),
            made.iter().map(|(revision, _)| revision.clone()).collect::<Vec<_>>().into(),
        ],
    )
}
