//! PostgreSQL's own catalog, as far as the guard needs it.

use crate::error::Result;
use crate::pg::parse::names::relation_named;
use crate::pg::parse::objects::relation_path;
use crate::pg::session::identity::current_oid;
use crate::pg::session::latest::event_triggers_version as schemas_version;
use crate::pg::session::pinned::relation_oid;
use crate::pg::session::scans;
use crate::pg::srf;
use crate::spi::read;
use pgrx::pg_sys::Oid;
use runbook_core::action::Action;
use runbook_core::identity::{Address, Identity, RELATIONS};
use runbook_core::policy::Pattern;
use std::cell::RefCell;

/// An object that `sql_drop` reports.
#[derive(Debug)]
pub struct Dropped {
    /// Dropping it.
    pub action: Action,
    /// Whether the statement named it.
    pub original: bool,
    /// Whether it depended on something dropped without belonging to it, so that only CASCADE took it along.
    pub normal: bool,
}

/// What the statement at hand dropped; inside `sql_drop` only.
pub fn dropped_objects() -> Vec<Dropped> {
    srf::dropped_objects(|row| {
        // classid, objid, objsubid, original, normal, is_temporary, object_type, schema_name, object_name, object_identity,
        // address_names, address_args
        let kind: String = row.get(6).unwrap_or_default();
        let path: Vec<String> = match kind.as_str() {
            // A type's address is one quoted word.
            "type" | "domain" => [row.get(7), row.get(8)].into_iter().flatten().collect(),
            _ => row.get::<Vec<Option<String>>>(10).unwrap_or_default().into_iter().flatten().collect(),
        };
        let flag = |column| row.get(column).unwrap_or(false);
        let owner = match (&path[..], kind.as_str()) {
            ([schema, table, _], "table constraint") => relation_named(vec![schema.clone(), table.clone()]).identity,
            _ => Identity::Unknown,
        };
        let action = Action { owner, ..Action::dropped(kind.as_str().into(), path, flag(5), address_in(row)) };
        Dropped { action, original: flag(3), normal: flag(4) }
    })
}

/// Whether there is a schema, or a relation, function or type in one, that the pattern is about or reaches into.
pub fn any_matches(pattern: &Pattern) -> Result<bool> {
    let paths = read(
        "SELECT n.nspname::pg_catalog.text, m.name FROM pg_catalog.pg_namespace AS n LEFT JOIN LATERAL ( \
             SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class AS c WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid \
             UNION SELECT p.proname::pg_catalog.text FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid \
             UNION SELECT t.typname::pg_catalog.text FROM pg_catalog.pg_type AS t WHERE t.typnamespace OPERATOR(pg_catalog.=) n.oid \
         ) AS m (name) ON true",
        &[],
        |row| Ok([Some(row.get::<String>(1)?), row.maybe::<String>(2)?]),
    )?;
    Ok(paths.into_iter().any(|path| {
        let path: Vec<String> = path.into_iter().flatten().collect();
        pattern.matches(&path) || pattern.reaches_into(&path)
    }))
}

/// The address in the first three columns.
fn address_in(row: &srf::Row) -> Address {
    let oid = |column| row.get::<Oid>(column).unwrap_or(Oid::INVALID);
    address(oid(0), oid(1), row.get(2).unwrap_or(0))
}

/// An address from the columns of `pg_depend`, `pg_event_trigger_dropped_objects()` and their like.
pub fn address(class: Oid, object: Oid, part: i32) -> Address {
    Address { class: class.to_u32(), object: object.to_u32(), part }
}

/// What the statement at hand created or altered; inside `ddl_command_end` only. Temporary objects are left out.
pub fn created_objects(tag: &str) -> Result<Vec<Action>> {
    // classid, objid, objsubid, command_tag, object_type, schema_name, object_identity, in_extension, command
    let rows = srf::ddl_commands(|row| {
        let temporary = row.get::<String>(5).is_some_and(|schema| schema == "pg_temp");
        let found = row.get::<Oid>(1).map(|_| address_in(row));
        (!temporary).then(|| (row.get::<String>(4).unwrap_or_default(), found))
    });
    let action = |(kind, found): (String, Option<Address>)| {
        let (identity, path) = match found {
            Some(found) => (Identity::Is(found), path_of(found)?),
            None => (Identity::Unknown, vec![]),
        };
        Ok(Action::executed(tag, kind.as_str().into(), path, identity))
    };
    rows.into_iter().flatten().map(action).collect()
}

thread_local! {
    /// The temporary schemas, as of a version of the schemas: every DDL statement asks.
    static TEMPORARY_SCHEMAS: RefCell<Option<(u64, Vec<u32>)>> = const { RefCell::new(None) };
}

/// Whether anything at all lies in a temporary schema, this session's or another's. A session that uses an object of one has taken a lock
/// before, and with it PostgreSQL's notice of the new schema.
pub fn has_temporary_objects() -> bool {
    let version = schemas_version();
    TEMPORARY_SCHEMAS.with_borrow_mut(|known| {
        if known.as_ref().is_none_or(|(then, _)| *then != version) {
            *known = Some((version, scans::temporary_schemas()));
        }
        let schemas = known.iter().flat_map(|(_, schemas)| schemas);
        schemas.into_iter().any(|schema| scans::is_used(*schema))
    })
}

/// The lasting objects that what the statement at hand created or altered ties to something in a temporary schema, of
/// whichever session: they depend on it, directly or not, by way of what the statement touched, and go when that session ends.
/// Inside `ddl_command_end` only.
pub fn tied_to_temporary() -> Result<Vec<Address>> {
    read(
        "WITH RECURSIVE touched AS MATERIALIZED ( \
             SELECT c.classid, c.objid FROM pg_catalog.pg_event_trigger_ddl_commands() AS c WHERE c.classid IS NOT NULL), \
         reached (classid, objid, via) AS ( \
             SELECT d.classid, d.objid, EXISTS (SELECT FROM touched AS t WHERE t.classid OPERATOR(pg_catalog.=) d.classid \
                 AND t.objid OPERATOR(pg_catalog.=) d.objid) \
             FROM pg_catalog.pg_namespace AS n JOIN pg_catalog.pg_depend AS d ON d.refclassid OPERATOR(pg_catalog.=) 2615 \
                 AND d.refobjid OPERATOR(pg_catalog.=) n.oid WHERE n.nspname OPERATOR(pg_catalog.~) '^pg_temp_[0-9]' \
             UNION SELECT x.classid, x.objid, r.via OR EXISTS (SELECT FROM touched AS t \
                 WHERE t.classid OPERATOR(pg_catalog.=) x.classid AND t.objid OPERATOR(pg_catalog.=) x.objid) \
             FROM reached AS r CROSS JOIN LATERAL ( \
                 SELECT d.classid, d.objid FROM pg_catalog.pg_depend AS d \
                 WHERE d.refclassid OPERATOR(pg_catalog.=) r.classid AND d.refobjid OPERATOR(pg_catalog.=) r.objid \
                 UNION ALL SELECT i.refclassid, i.refobjid FROM pg_catalog.pg_depend AS i \
                 WHERE i.classid OPERATOR(pg_catalog.=) r.classid AND i.objid OPERATOR(pg_catalog.=) r.objid \
                     AND i.deptype OPERATOR(pg_catalog.=) 'i') AS x) \
         SELECT DISTINCT r.classid, r.objid FROM reached AS r \
         LEFT JOIN pg_catalog.pg_attrdef AS d ON r.classid OPERATOR(pg_catalog.=) 2604 AND d.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_trigger AS g ON r.classid OPERATOR(pg_catalog.=) 2620 AND g.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_rewrite AS w ON r.classid OPERATOR(pg_catalog.=) 2618 AND w.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_policy AS p ON r.classid OPERATOR(pg_catalog.=) 3256 AND p.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_constraint AS k ON r.classid OPERATOR(pg_catalog.=) 2606 AND k.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_class AS l ON l.oid OPERATOR(pg_catalog.=) COALESCE(d.adrelid, g.tgrelid, w.ev_class, p.polrelid, \
             CASE r.classid WHEN 1259::pg_catalog.oid THEN r.objid END) \
         LEFT JOIN pg_catalog.pg_type AS t ON r.classid OPERATOR(pg_catalog.=) 1247 AND t.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_proc AS f ON r.classid OPERATOR(pg_catalog.=) 1255 AND f.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_statistic_ext AS s ON r.classid OPERATOR(pg_catalog.=) 3381 AND s.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_operator AS o ON r.classid OPERATOR(pg_catalog.=) 2617 AND o.oid OPERATOR(pg_catalog.=) r.objid \
         LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) COALESCE(l.relnamespace, k.connamespace, t.typnamespace, \
             f.pronamespace, s.stxnamespace, o.oprnamespace) \
         WHERE r.via AND (n.oid IS NULL OR n.nspname OPERATOR(pg_catalog.!~) '^pg_(toast_)?temp_[0-9]') \
             AND (n.oid IS NOT NULL OR r.classid OPERATOR(pg_catalog.=) ANY ('{2601,2605,3466,6104,3576}'::pg_catalog.oid[]))",
        &[],
        |row| Ok(address(row.get(1)?, row.get(2)?, 0)),
    )
}

/// Where an object is, schema first.
pub fn path_of(found: Address) -> Result<Vec<String>> {
    if found.class == RELATIONS
        && found.part == 0
        && let Some(path) = relation_path(found.object)
    {
        return Ok(path);
    }
    let rows = read(
        "SELECT CASE WHEN $1 OPERATOR(pg_catalog.=) 1247::pg_catalog.oid THEN (SELECT ARRAY[n.nspname::pg_catalog.text, \
                 t.typname::pg_catalog.text] FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n \
                     ON n.oid OPERATOR(pg_catalog.=) t.typnamespace WHERE t.oid OPERATOR(pg_catalog.=) $2) \
             ELSE a.object_names END \
         FROM pg_catalog.pg_identify_object_as_address($1, $2, $3) AS a",
        &[Oid::from(found.class).into(), Oid::from(found.object).into(), found.part.into()],
        |row| row.maybe::<Vec<Option<String>>>(1),
    )?;
    Ok(rows.into_iter().flatten().flatten().flatten().collect())
}

/// OID, schema and name of the table that is about to be rewritten; inside `table_rewrite` only.
pub fn rewritten_table() -> Result<Option<(u32, String, String)>> {
    let rows = read(
        "SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text FROM pg_catalog.pg_class AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.pg_event_trigger_table_rewrite_oid()",
        &[],
        |row| Ok((row.get::<Oid>(1)?.to_u32(), row.get(2)?, row.get(3)?)),
    )?;
    Ok(rows.into_iter().next())
}

/// Whether our event trigger of that name is there, calls our function, and fires whenever its event happens.
pub fn is_whole_event_trigger(name: &str, function: &str) -> bool {
    let event = name.replace("a_runbook_command_", "ddl_command_").replace("a_runbook_", "");
    scans::event_trigger(name).is_some_and(|found| {
        found.always && found.schema == "runbook_internal" && found.function == function && found.event == event
    })
}

/// Quoted names of constraints that are INITIALLY DEFERRED.
pub fn deferred_constraints() -> Result<Vec<String>> {
    read(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.conname) FROM pg_catalog.pg_constraint AS c \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.connamespace WHERE c.condeferred",
        &[],
        |row| row.get(1),
    )
}

/// Whether a table inherits from another, directly or not.
pub fn inherits(schema: &str, table: &str, parent_schema: &str, parent: &str) -> Result<bool> {
    let rows = read(
        "WITH RECURSIVE ancestor (id) AS ( \
             SELECT i.inhparent FROM pg_catalog.pg_inherits AS i \
             WHERE i.inhrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(pg_catalog.format('%I.%I', $1, $2))::pg_catalog.oid \
             UNION SELECT i.inhparent FROM pg_catalog.pg_inherits AS i, ancestor AS a \
             WHERE i.inhrelid OPERATOR(pg_catalog.=) a.id) \
         SELECT true FROM ancestor AS a \
         WHERE a.id OPERATOR(pg_catalog.=) pg_catalog.to_regclass(pg_catalog.format('%I.%I', $3, $4))::pg_catalog.oid",
        &[schema.into(), table.into(), parent_schema.into(), parent.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Whether a function or relation belongs to an extension, and to a superuser: nobody else can change it.
pub fn is_of_an_extension(found: Address) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_depend AS d WHERE d.classid OPERATOR(pg_catalog.=) $1 AND d.objid OPERATOR(pg_catalog.=) $2 \
             AND d.deptype OPERATOR(pg_catalog.=) 'e' AND EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolsuper AND r.oid OPERATOR(pg_catalog.=) ANY ( \
                 SELECT c.relowner FROM pg_catalog.pg_class AS c WHERE d.classid OPERATOR(pg_catalog.=) 1259 AND c.oid OPERATOR(pg_catalog.=) d.objid \
                 UNION ALL SELECT p.proowner FROM pg_catalog.pg_proc AS p WHERE d.classid OPERATOR(pg_catalog.=) 1255 AND p.oid OPERATOR(pg_catalog.=) d.objid))",
        &[Oid::from(found.class).into(), Oid::from(found.object).into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// The functions in SQL, which plans may inline.
pub fn sql_functions() -> Result<Vec<u32>> {
    let sql = "SELECT p.oid FROM pg_catalog.pg_proc AS p WHERE p.prolang OPERATOR(pg_catalog.=) 14 AND p.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid";
    Ok(read(sql, &[], |row| row.get::<Oid>(1))?.into_iter().map(Oid::to_u32).collect())
}

/// Whether a relation is part of one of these, or tied to one by a foreign key: PostgreSQL's own queries about references read it.
pub fn is_beside(relation: u32, known: &[u32]) -> Result<bool> {
    let known: Vec<Oid> = known.iter().copied().map(Oid::from).collect();
    let rows = read(
        "WITH RECURSIVE ancestor (id) AS (SELECT $1 \
             UNION SELECT i.inhparent FROM pg_catalog.pg_inherits AS i, ancestor AS a WHERE i.inhrelid OPERATOR(pg_catalog.=) a.id) \
         SELECT true FROM ancestor AS a WHERE a.id OPERATOR(pg_catalog.=) ANY ($2) OR EXISTS ( \
             SELECT FROM pg_catalog.pg_constraint AS k WHERE k.contype OPERATOR(pg_catalog.=) 'f' \
             AND (k.conrelid OPERATOR(pg_catalog.=) a.id AND k.confrelid OPERATOR(pg_catalog.=) ANY ($2) \
                 OR k.confrelid OPERATOR(pg_catalog.=) a.id AND k.conrelid OPERATOR(pg_catalog.=) ANY ($2)))",
        &[Oid::from(relation).into(), known.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Forgets what this transaction has seen of others' sessions: it would see no more of them than at first.
pub fn look_anew() -> Result<()> {
    read("SELECT pg_catalog.pg_stat_clear_snapshot()::pg_catalog.text", &[], |_| Ok(())).map(|_| ())
}

/// Who holds the migrator's lock, for a message: `pid 123 (alice, psql), for 00:00:12`.
pub fn migrator() -> Result<Option<String>> {
    let rows = read(
        "SELECT pg_catalog.format('pid %s (%s, %s), for %s', a.pid, a.usename, a.application_name, \
             pg_catalog.date_trunc('second', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.xact_start)) \
         FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_stat_activity AS a ON a.pid OPERATOR(pg_catalog.=) l.pid \
         WHERE l.granted AND l.locktype OPERATOR(pg_catalog.=) 'object' AND l.classid OPERATOR(pg_catalog.=) 1259 \
         AND l.objsubid OPERATOR(pg_catalog.=) 4242 \
         AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d \
             WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())",
        &[],
        |row| row.get(1),
    )?;
    Ok(rows.into_iter().next())
}

/// Whether a role of that name exists.
pub fn role_exists(name: &str) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name",
        &[name.into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// Of these roles, those that exist.
pub fn roles_of(names: &[&str]) -> Result<Vec<String>> {
    read(
        "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles AS r WHERE r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)",
        &[names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().into()],
        |row| row.get(1),
    )
}

/// Why writing to the relation of that unqualified name would run somebody else's code, as a sentence: it belongs to a role that the one
/// in force is no member of, is a view, or has triggers, rules, policies, checks or defaults. `None` if it would not, or there is none.
pub fn code_behind(name: &str) -> Result<Option<String>> {
    let Some(relation) = relation_oid(name) else { return Ok(None) };
    let rows = read(
        "SELECT CASE WHEN c.relkind OPERATOR(pg_catalog.<>) 'r' THEN 'It is no ordinary table.' \
             WHEN NOT pg_catalog.pg_has_role($2, c.relowner, 'MEMBER') THEN \
                 pg_catalog.format('It belongs to role \"%s\", whose code would run as \"%s\".', o.rolname, r.rolname) \
             WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) c.oid AND NOT t.tgisinternal \
                     AND t.tgfoid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) f.pronamespace \
                         WHERE f.oid OPERATOR(pg_catalog.=) t.tgfoid AND n.nspname OPERATOR(pg_catalog.=) 'runbook_internal')) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class OPERATOR(pg_catalog.=) c.oid) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_policy AS p WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid OPERATOR(pg_catalog.=) c.oid) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conrelid OPERATOR(pg_catalog.=) c.oid \
                     AND k.contype OPERATOR(pg_catalog.=) 'c') \
                 OR EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid \
                     AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_opclass AS q \
                         WHERE q.oid OPERATOR(pg_catalog.=) ANY (i.indclass) AND q.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid))) \
                 OR EXISTS (SELECT FROM pg_catalog.pg_attribute AS m WHERE m.attrelid OPERATOR(pg_catalog.=) c.oid \
                     AND m.attnum OPERATOR(pg_catalog.>) 0::pg_catalog.int2 AND NOT m.attisdropped \
                     AND m.atttypid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid) \
                 THEN 'It has triggers, rules, policies, defaults, checks, types or indexes of somebody''s own, whose code would run as the migration role.' END \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_roles AS o ON o.oid OPERATOR(pg_catalog.=) c.relowner \
         JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) $2 WHERE c.oid OPERATOR(pg_catalog.=) $1",
        &[Oid::from(relation).into(), Oid::from(current_oid()).into()],
        |row| row.maybe::<String>(1),
    )?;
    Ok(rows.into_iter().flatten().next())
}
