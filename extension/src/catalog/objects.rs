//! Which objects a statement touched, what goes along with them, and what would be lost.

use crate::catalog::relations::{address, path_of};
use crate::error::Result;
use crate::pg::session::extension_members::is_own_table;
use crate::pg::session::identity::{current_role, session_role};
use crate::pg::srf;
use crate::spi::read;
use pgrx::pg_sys::Oid;
use runbook_core::action::{Action, Class};
use runbook_core::identity::{Address, Identity, RELATIONS};
use runbook_core::vocabulary::object_kind::ObjectKind;
use runbook_core::vocabulary::verb::Verb;
use std::collections::HashSet;

/// An object that `ddl_command_end` reports: the tag of the command that touched it, which it is, and where, schema first.
pub type Touched = (String, Address, Vec<String>);

/// What the statement at hand has touched; inside `ddl_command_end` only. Every statement of a revision asks.
pub fn touched() -> Result<Vec<Touched>> {
    // classid, objid, objsubid, command_tag, …
    let rows = srf::ddl_commands(|row| {
        let found = address(row.get(0)?, row.get(1)?, row.get(2).unwrap_or(0));
        Some((row.get::<String>(3).unwrap_or_default(), found))
    });
    rows.into_iter().flatten().map(|(tag, found)| Ok((tag, found, path_of(found)?))).collect()
}

/// What is lost with tables, materialized views and columns, as far as statistics tell: `table public.t (about 1000 rows, 24 MB)`.
pub fn losses(actions: &[Action]) -> Result<Vec<String>> {
    let found: Vec<(&Action, Address)> = actions
        .iter()
        .filter(|action| action.class == Class::Destructive && !action.temporary)
        .filter_map(|action| match action.identity {
            Identity::Is(found) if found.class == RELATIONS => Some((action, found)),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Ok(vec![]);
    }
    let rows = read(
        "SELECT o.place, CASE WHEN o.part OPERATOR(pg_catalog.=) 0 THEN pg_catalog.format('about %s rows, %s', \
                 GREATEST(c.reltuples, 0)::pg_catalog.int8, pg_catalog.pg_size_pretty(pg_catalog.pg_total_relation_size(c.oid))) \
             ELSE COALESCE((SELECT pg_catalog.format('about %s values in %s rows', (GREATEST(c.reltuples, 0) OPERATOR(pg_catalog.*) \
                     (1 OPERATOR(pg_catalog.-) s.stanullfrac))::pg_catalog.int8, GREATEST(c.reltuples, 0)::pg_catalog.int8) \
                 FROM pg_catalog.pg_statistic AS s WHERE s.starelid OPERATOR(pg_catalog.=) c.oid \
                     AND s.staattnum::pg_catalog.int4 OPERATOR(pg_catalog.=) o.part \
                 ORDER BY s.stainherit USING OPERATOR(pg_catalog.<) LIMIT 1), \
                 pg_catalog.format('in about %s rows, no statistics of its values yet', GREATEST(c.reltuples, 0)::pg_catalog.int8)) END, c.reltuples OPERATOR(pg_catalog.<) 0 \
         FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS o (oid, part, place) \
         JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) o.oid \
         WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,f}'::pg_catalog.\"char\"[]) ORDER BY o.place USING OPERATOR(pg_catalog.<)",
        &[
            found.iter().map(|(_, one)| Oid::from(one.object)).collect::<Vec<_>>().into(),
            found.iter().map(|(_, one)| one.part).collect::<Vec<_>>().into(),
        ],
        |row| Ok((row.get::<i64>(1)?, row.get::<String>(2)?, row.get::<bool>(3)?)),
    )?;
    let line = |(place, amount, unknown): (i64, String, bool)| {
        let (action, _) = found.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        let amount = if unknown { "no statistics yet".to_owned() } else { amount };
        Some(format!("{} ({amount})", action.object))
    };
    let mut lines: Vec<String> = rows.into_iter().filter_map(line).collect();
    lines.dedup();
    Ok(lines)
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
/// what is dropped; the same column of tables that inherit it; tables that are emptied together with others.
pub fn implied(actions: &[Action]) -> Result<Vec<Action>> {
    let mut all = gone_along(actions)?;
    if actions.iter().any(Action::empties) {
        all.extend(emptied_along(actions)?);
    }
    Ok(all)
}

/// Partitions and heirs of tables that are emptied, and the tables that refer to them as far as TRUNCATE … CASCADE or ON
/// DELETE CASCADE reaches.
fn emptied_along(actions: &[Action]) -> Result<Vec<Action>> {
    let roots: Vec<(i64, Oid, bool)> = actions
        .iter()
        .enumerate()
        .filter(|(_, action)| action.empties() && !action.temporary)
        .filter_map(|(at, action)| match action.identity {
            Identity::Is(found) => {
                Some((i64::try_from(at).unwrap_or(i64::MAX), Oid::from(found.object), action.verb == Verb::TruncateCascade))
            }
            _ => None,
        })
        .collect();
    let rows = read(
        "WITH RECURSIVE emptied (place, oid, cascades, deletes) AS ( \
             SELECT r.place, r.oid, r.cascades, r.deletes FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), \
                 pg_catalog.unnest($3), pg_catalog.unnest($4)) AS r (place, oid, cascades, deletes) \
             UNION SELECT e.place, x.oid, e.cascades, e.deletes FROM emptied AS e CROSS JOIN LATERAL ( \
                 SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent OPERATOR(pg_catalog.=) e.oid \
                 UNION ALL SELECT k.conrelid FROM pg_catalog.pg_constraint AS k \
                 WHERE k.confrelid OPERATOR(pg_catalog.=) e.oid AND k.contype OPERATOR(pg_catalog.=) 'f' \
                     AND (e.cascades OR (e.deletes AND k.confdeltype OPERATOR(pg_catalog.=) 'c'))) AS x (oid)) \
         SELECT e.place, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.oid \
         FROM emptied AS e JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) e.oid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace",
        &[
            roots.iter().map(|root| root.0).collect::<Vec<_>>().into(),
            roots.iter().map(|root| root.1).collect::<Vec<_>>().into(),
            roots.iter().map(|root| root.2).collect::<Vec<_>>().into(),
            roots
                .iter()
                .map(|root| {
                    usize::try_from(root.0).is_ok_and(|at| matches!(actions[at].verb, Verb::Empty | Verb::ChangeManyRows))
                })
                .collect::<Vec<_>>()
                .into(),
        ],
        |row| Ok((row.get::<i64>(1)?, vec![row.get(2)?, row.get(3)?], Address::relation(row.get::<Oid>(4)?.to_u32()))),
    )?;
    let implied = rows.into_iter().filter_map(|(at, path, found)| {
        let root = actions.get(usize::try_from(at).ok()?)?;
        (root.identity != Identity::Is(found)).then(|| root.implying(ObjectKind::Table, path, found))
    });
    Ok(implied.collect())
}

/// The members of extensions and their parts: DROP EXTENSION drops them.
pub fn members(extensions: &[u32]) -> Result<HashSet<Address>> {
    if extensions.is_empty() {
        return Ok(HashSet::new());
    }
    let found = read(
        "WITH RECURSIVE gone (classid, objid) AS ( \
             SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d WHERE d.refclassid OPERATOR(pg_catalog.=) 3079 \
                 AND d.refobjid OPERATOR(pg_catalog.=) ANY ($1) AND d.deptype OPERATOR(pg_catalog.=) 'e' \
             UNION SELECT d.classid, d.objid FROM gone AS g JOIN pg_catalog.pg_depend AS d \
                 ON d.refclassid OPERATOR(pg_catalog.=) g.classid AND d.refobjid OPERATOR(pg_catalog.=) g.objid \
                 AND d.deptype OPERATOR(pg_catalog.=) ANY ('{a,i}'::pg_catalog.\"char\"[])) \
         SELECT g.classid, g.objid FROM gone AS g",
        &[extensions.iter().map(|oid| Oid::from(*oid)).collect::<Vec<_>>().into()],
        |row| Ok(Address { class: row.get::<Oid>(1)?.to_u32(), object: row.get::<Oid>(2)?.to_u32(), part: 0 }),
    )?;
    Ok(found.into_iter().collect())
}

/// Whether a LOCK of these views locks a table of the extension: PostgreSQL also locks the relations that a view reads.
pub fn reaches_own_by_lock(relations: &[Address]) -> Result<bool> {
    let rows = read(
        "WITH RECURSIVE locked (oid) AS ( \
             SELECT pg_catalog.unnest($1) \
             UNION SELECT d.refobjid FROM locked AS l JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) l.oid \
                 AND c.relkind OPERATOR(pg_catalog.=) 'v' \
                 JOIN pg_catalog.pg_rewrite AS r ON r.ev_class OPERATOR(pg_catalog.=) l.oid \
                 JOIN pg_catalog.pg_depend AS d ON d.classid OPERATOR(pg_catalog.=) 2618 AND d.objid OPERATOR(pg_catalog.=) r.oid \
                 AND d.refclassid OPERATOR(pg_catalog.=) 1259 AND d.refobjid OPERATOR(pg_catalog.<>) l.oid) \
         SELECT l.oid FROM locked AS l JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) l.oid \
         WHERE c.relkind OPERATOR(pg_catalog.<>) 'v'",
        &[relations.iter().map(|found| Oid::from(found.object)).collect::<Vec<_>>().into()],
        |row| Ok(row.get::<Oid>(1)?.to_u32()),
    )?;
    Ok(rows.into_iter().any(is_own_table))
}

/// What goes along with objects that are dropped, and the columns that heirs have of a column.
const GONE_ALONG: &str = "WITH RECURSIVE root (place, classid, objid, objsubid, drops) AS ( \
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
         SELECT g.place, 'schema', n.nspname::pg_catalog.text, NULL::pg_catalog.text, NULL::pg_catalog.text, n.oid, 0, 2615::pg_catalog.oid \
         FROM gone AS g JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) g.objid \
         WHERE g.classid OPERATOR(pg_catalog.=) 2615 \
         UNION SELECT g.place, CASE c.relkind WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' \
                 WHEN 'f' THEN 'foreign table' WHEN 'v' THEN 'view' ELSE 'table' END, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
             NULL::pg_catalog.text, c.oid, 0, 1259::pg_catalog.oid \
         FROM gone AS g JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) g.objid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE g.classid OPERATOR(pg_catalog.=) 1259 AND g.objsubid OPERATOR(pg_catalog.=) 0 \
             AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m,S,f,v}'::pg_catalog.\"char\"[]) \
         UNION SELECT i.place, 'column', n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text, \
             c.oid, i.attnum::pg_catalog.int4, 1259::pg_catalog.oid \
         FROM inherited AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.objid \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.=) i.attnum";

fn gone_along(actions: &[Action]) -> Result<Vec<Action>> {
    let drops = |action: &Action| action.verb == Verb::Drop;
    let bound: Vec<(usize, Address)> = actions
        .iter()
        .enumerate()
        .filter(|(_, action)| !action.temporary && (drops(action) || action.object.kind == ObjectKind::Column))
        .filter_map(|(at, action)| if let Identity::Is(found) = action.identity { Some((at, found)) } else { None })
        .collect();
    if bound.is_empty() {
        return Ok(vec![]);
    }
    let column = |get: &dyn Fn(&(usize, Address)) -> i64| bound.iter().map(get).collect::<Vec<i64>>();
    let drops = bound.iter().map(|(at, _)| drops(&actions[*at])).collect::<Vec<bool>>();
    read(
        GONE_ALONG,
        &[
            column(&|(at, _)| i64::try_from(*at).unwrap_or(i64::MAX)).into(),
            column(&|(_, found)| found.class.into()).into(),
            column(&|(_, found)| found.object.into()).into(),
            column(&|(_, found)| found.part.into()).into(),
            drops.into(),
        ],
        |row| {
            let root = usize::try_from(row.get::<i64>(1)?).ok().and_then(|at| actions.get(at));
            let found = address(row.get(8)?, row.get(6)?, row.get(7)?);
            let path = [row.maybe(3)?, row.maybe(4)?, row.maybe(5)?].into_iter().flatten().collect();
            let kind: String = row.get(2)?;
            Ok(root
                .filter(|root| root.identity != Identity::Is(found))
                .map(|root| root.implying(kind.as_str().into(), path, found)))
        },
    )
    .map(|rows| rows.into_iter().flatten().collect())
}

/// Whether dropping these with CASCADE would reach the extension or a member of it.
pub fn reaches_own(roots: &[Address]) -> Result<bool> {
    let rows = read(
        "WITH RECURSIVE gone (classid, objid) AS ( \
             SELECT r.classid, r.objid FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r (classid, objid) \
             UNION SELECT d.classid, d.objid FROM gone AS g JOIN pg_catalog.pg_depend AS d \
                 ON d.refclassid OPERATOR(pg_catalog.=) g.classid AND d.refobjid OPERATOR(pg_catalog.=) g.objid) \
         SELECT EXISTS (SELECT FROM gone AS g JOIN pg_catalog.pg_extension AS x ON x.extname OPERATOR(pg_catalog.=) 'pg_runbook' \
             WHERE (g.classid OPERATOR(pg_catalog.=) 3079 AND g.objid OPERATOR(pg_catalog.=) x.oid) OR EXISTS ( \
                 SELECT FROM pg_catalog.pg_depend AS m WHERE m.classid OPERATOR(pg_catalog.=) g.classid \
                     AND m.objid OPERATOR(pg_catalog.=) g.objid AND m.deptype OPERATOR(pg_catalog.=) 'e' \
                     AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.refobjid OPERATOR(pg_catalog.=) x.oid))",
        &[
            roots.iter().map(|one| Oid::from(one.class)).collect::<Vec<_>>().into(),
            roots.iter().map(|one| Oid::from(one.object)).collect::<Vec<_>>().into(),
        ],
        |row| row.get::<bool>(1),
    )?;
    Ok(rows.into_iter().any(|reaches| reaches))
}

/// Whether one of these roles owns a part of the extension, or holds privileges on one.
pub fn is_held_by(roles: &[String]) -> Result<bool> {
    has_share(roles, "oa")
}

/// Whether one of these roles owns a part of the extension.
pub fn is_owned_by(roles: &[String]) -> Result<bool> {
    has_share(roles, "o")
}

fn has_share(roles: &[String], kinds: &str) -> Result<bool> {
    let rows = read(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles AS r JOIN pg_catalog.pg_shdepend AS s \
                 ON s.refclassid OPERATOR(pg_catalog.=) 1260 AND s.refobjid OPERATOR(pg_catalog.=) r.oid \
             JOIN pg_catalog.pg_database AS d ON d.oid OPERATOR(pg_catalog.=) s.dbid \
                 AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() \
             JOIN pg_catalog.pg_extension AS x ON x.extname OPERATOR(pg_catalog.=) 'pg_runbook' \
             WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ( \
                     SELECT CASE n.name WHEN 'current_user' THEN $3 WHEN 'session_user' THEN $4 ELSE n.name END \
                     FROM pg_catalog.unnest($1) AS n (name)) \
                 AND pg_catalog.strpos($2, s.deptype::pg_catalog.text) OPERATOR(pg_catalog.>) 0 \
                 AND ((s.classid OPERATOR(pg_catalog.=) 3079 AND s.objid OPERATOR(pg_catalog.=) x.oid) OR EXISTS ( \
                     SELECT FROM pg_catalog.pg_depend AS m WHERE m.classid OPERATOR(pg_catalog.=) s.classid \
                         AND m.objid OPERATOR(pg_catalog.=) s.objid AND m.deptype OPERATOR(pg_catalog.=) 'e' \
                         AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.refobjid OPERATOR(pg_catalog.=) x.oid)))",
        &[roles.to_vec().into(), kinds.into(), current_role().into(), session_role().into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(rows.into_iter().any(|held| held))
}
