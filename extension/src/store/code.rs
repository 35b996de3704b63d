//! Code in the catalogs: what names mean, what belongs to what, and what defines it. Owns table `code_change`.
//!
//! Everything is read as it is now, whatever snapshot the transaction has: what runs is found by PostgreSQL in the same way. What is
//! ours, what PostgreSQL brings along, and what is temporary is left out.

use crate::error::{Result, internal};
use crate::pg::hooks::entry::Parameter;
use crate::spi::{execute, read, texts};
use pgrx::pg_sys::Oid;
use runbook_core::code::{Bound, Change, Key};
use runbook_core::plan::Direction;
use std::collections::BTreeSet;

/// The body of a function.
#[derive(Debug)]
pub struct Body {
    /// Its language.
    pub language: String,
    /// Its text; empty where PostgreSQL keeps a tree.
    pub text: String,
    /// The function, as a message says it.
    pub name: String,
    /// The extension that it belongs to.
    pub extension: Option<String>,
}

/// Functions, operators, types and relations of these names, in any schema.
pub fn named(names: &[String], operators: &[String]) -> BTreeSet<Key> {
    keys(NAMED, &[names.to_vec().into(), operators.to_vec().into()])
}

/// What runs without being named: event triggers, and with `casts` those between types of PostgreSQL.
pub fn everywhere(casts: bool) -> BTreeSet<Key> {
    keys(EVERYWHERE, &[casts.into()])
}

/// What these objects depend on, and what belongs to them and runs with them; true for heirs and what refers to them.
pub fn around(objects: &[Key]) -> BTreeSet<(Key, bool)> {
    let (_, oids) = columns(objects);
    let classes: BTreeSet<u32> = objects.iter().map(|key| key.0).collect();
    let classes: Vec<Oid> = classes.into_iter().map(Oid::from).collect();
    let of = |class: u32| objects.iter().filter(|key| key.0 == class).map(|key| Oid::from(key.1)).collect::<Vec<_>>();
    let [relations, types, operator_classes, families] = [1259, 1247, 2616, 2753].map(of);
    let parameters = [classes.into(), oids.into(), relations.into(), types.into(), operator_classes.into(), families.into()];
    let around = |row: Vec<Option<String>>| Some((key(&row)?, row.get(2)?.as_deref() == Some("t")));
    texts(AROUND, &parameters).into_iter().filter_map(around).collect()
}

/// The bodies of these functions.
pub fn bodies(functions: &[u32]) -> Vec<Body> {
    let oids: Vec<Oid> = functions.iter().copied().map(Oid::from).collect();
    let body = |mut row: Vec<Option<String>>| {
        let mut text = |at: usize| row.get_mut(at).and_then(Option::take);
        Some(Body { language: text(1)?, text: text(2)?, name: text(3)?, extension: text(4) })
    };
    texts(BODIES, &[oids.into()]).into_iter().filter_map(body).collect()
}

/// Of these objects, those that are code, in the order of their keys, each with the transaction that has written it.
pub fn hashed(objects: &[Key]) -> Vec<(Bound, u32)> {
    if objects.is_empty() {
        return vec![];
    }
    let (_, oids) = columns(objects);
    let bound = |row: Vec<Option<String>>| {
        let [class, object, hash, name, written] = <[Option<String>; 5]>::try_from(row).ok()?;
        let bound = Bound { class: class?.parse().ok()?, object: object?.parse().ok()?, hash: hash?, name: name?, also: false };
        Some((bound, written?.parse().ok()?))
    };
    // Two catalogs may have an OID in common.
    let wanted: BTreeSet<&Key> = objects.iter().collect();
    let rows = texts(HASHED, &[oids.into()]).into_iter().filter_map(bound);
    rows.filter(|(bound, _)| wanted.contains(&bound.key())).collect()
}

/// Of these objects, those whose stored expressions and queries call functions that run a text, by name.
pub fn run_text(objects: &[Key]) -> Vec<String> {
    let (_, oids) = columns(objects);
    let wanted: BTreeSet<&Key> = objects.iter().collect();
    let name = |row: Vec<Option<String>>| {
        let found = key(&row)?;
        wanted.contains(&found).then(|| row.get(2)?.clone()).flatten()
    };
    texts(RUN_TEXT, &[oids.into()]).into_iter().filter_map(name).collect()
}

/// The schemas of the database, each with the transaction that has written it: who renames one gives other meanings to names.
pub fn schemas() -> Vec<(Key, u32)> {
    let sql = "SELECT 2615, n.oid, n.xmin FROM pg_catalog.pg_namespace AS n WHERE NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_')";
    let version = |row: Vec<Option<String>>| Some((key(&row)?, row.get(2)?.as_ref()?.parse().ok()?));
    texts(sql, &[]).into_iter().filter_map(version).collect()
}

/// Of these objects, those that are there no more.
pub fn gone(objects: &[Key]) -> BTreeSet<Key> {
    if objects.is_empty() {
        return BTreeSet::new();
    }
    let (classes, oids) = columns(objects);
    keys(GONE, &[classes.into(), oids.into()])
}

fn columns(objects: &[Key]) -> (Vec<Oid>, Vec<Oid>) {
    objects.iter().map(|&(class, object)| (Oid::from(class), Oid::from(object))).unzip()
}

fn keys(sql: &'static str, parameters: &[Parameter]) -> BTreeSet<Key> {
    texts(sql, parameters).iter().filter_map(|row| key(row)).collect()
}

fn key(row: &[Option<String>]) -> Option<Key> {
    let number = |at: usize| row.get(at)?.as_ref()?.parse::<u32>().ok();
    Some((number(0)?, number(1)?))
}

/// Whether an approval or permit may be relied upon later, so that it matters which code revisions change.
pub fn matters() -> Result<bool> {
    let rows = read(
        "SELECT EXISTS (SELECT FROM runbook.approval AS a WHERE a.binds AND a.void_reason IS NULL \
             AND a.expires_at OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp()) \
         OR EXISTS (SELECT FROM runbook.permit AS p WHERE p.used_at IS NULL AND p.void_reason IS NULL \
             AND p.expires_at OPERATOR(pg_catalog.>) pg_catalog.statement_timestamp())",
        &[],
        |row| row.get::<bool>(1),
    )?;
    Ok(rows.first() == Some(&true))
}

/// The texts of revisions that are still to be applied, of the latest thousand of them up to `revision`.
pub fn open_texts(revision: &str) -> Result<Vec<String>> {
    read(
        "SELECT r.source::pg_catalog.jsonb OPERATOR(pg_catalog.->>) 'upgrade' FROM runbook.revision AS r \
         WHERE r.status OPERATOR(pg_catalog.<>) 'applied' AND r.ordinal OPERATOR(pg_catalog.<=) (SELECT o.ordinal \
             FROM runbook.revision AS o WHERE o.revision OPERATOR(pg_catalog.=) $1) \
         ORDER BY r.ordinal USING OPERATOR(pg_catalog.>) LIMIT 1000",
        &[revision.into()],
        |row| row.maybe::<String>(1),
    )
    .map(|texts| texts.into_iter().flatten().collect())
}

/// What a revision did to code.
#[derive(Debug)]
pub struct Done {
    /// The revision.
    pub by: String,
    /// What it did.
    pub change: Change,
    /// The code that it could run itself, by its hashes; `None` where the change before says so.
    pub reached: Option<Vec<(u32, u32, String)>>,
}

/// What revisions that had been submitted by a moment did to code after it, in that order.
pub fn changes_since(moment: i64) -> Result<Vec<Done>> {
    // What this transaction has written counts.
    read(
        "SELECT c.classid, c.objid, c.before, c.after, c.changed_at, c.revision, c.reached FROM ( \
             SELECT c.*, (EXTRACT(epoch FROM c.made_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 AS changed_at \
             FROM runbook.code_change AS c WHERE c.made_at OPERATOR(pg_catalog.>=) \
                 pg_catalog.to_timestamp($1::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000 OPERATOR(pg_catalog.-) 1)) AS c \
         JOIN runbook.revision AS r ON r.revision OPERATOR(pg_catalog.=) c.revision \
             AND (EXTRACT(epoch FROM r.submitted_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 OPERATOR(pg_catalog.<=) $1 \
         WHERE c.changed_at OPERATOR(pg_catalog.>) $1 ORDER BY c.made_at USING OPERATOR(pg_catalog.<)",
        &[moment.into()],
        |row| {
            let change = Change {
                key: (row.get::<Oid>(1)?.to_u32(), row.get::<Oid>(2)?.to_u32()),
                before: row.maybe(3)?,
                after: row.maybe(4)?,
                at: row.get(5)?,
            };
            let reached: Option<String> = row.maybe(7)?;
            Ok(Done { by: row.get(6)?, change, reached: reached.map(|json| serde_json::from_str(&json).unwrap_or_default()) })
        },
    )
}

/// Remembers what a revision did to code, in that order, and the code that it could run itself.
pub fn remember(revision: &str, direction: Direction, changes: &[Change], reached: &[(u32, u32, &str)]) -> Result<()> {
    let mut first = Some(serde_json::to_string(reached).map_err(|error| internal(error.to_string()))?);
    for change in changes {
        execute(
            "INSERT INTO runbook.code_change (classid, objid, before, after, revision, direction, made_at, reached) \
             VALUES ($1, $2, $3, $4, $5, $6, pg_catalog.clock_timestamp(), $7)",
            &[
                Oid::from(change.key.0).into(),
                Oid::from(change.key.1).into(),
                change.before.clone().into(),
                change.after.clone().into(),
                revision.into(),
                direction.as_str().into(),
                first.take().into(),
            ],
        )?;
    }
    Ok(())
}

const NAMED: &str = "SELECT DISTINCT f.classid, f.objid FROM ( \
         SELECT 1255::pg_catalog.oid AS classid, p.oid AS objid, p.pronamespace AS home FROM pg_catalog.pg_proc AS p WHERE p.proname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
         UNION ALL SELECT 2617, o.oid, o.oprnamespace FROM pg_catalog.pg_operator AS o WHERE o.oprname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.name[]) \
         UNION ALL SELECT 1247, t.oid, t.typnamespace FROM pg_catalog.pg_type AS t WHERE t.typname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
         UNION ALL SELECT 1259, c.oid, c.relnamespace FROM pg_catalog.pg_class AS c WHERE c.relname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
             AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S,c,i,I}'::pg_catalog.\"char\"[]) \
         UNION ALL SELECT 3602, s.oid, s.cfgnamespace FROM pg_catalog.pg_ts_config AS s WHERE s.cfgname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
         UNION ALL SELECT 3600, s.oid, s.dictnamespace FROM pg_catalog.pg_ts_dict AS s WHERE s.dictname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
         UNION ALL SELECT 3601, s.oid, s.prsnamespace FROM pg_catalog.pg_ts_parser AS s WHERE s.prsname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[]) \
         UNION ALL SELECT 3764, s.oid, s.tmplnamespace FROM pg_catalog.pg_ts_template AS s WHERE s.tmplname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.name[])) AS f \
     JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) f.home \
     WHERE (f.objid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid OR f.classid OPERATOR(pg_catalog.=) ANY ('{3600,3602}'::pg_catalog.oid[])) \
         AND (NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_temp_') OR n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()) AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) m.refobjid \
             AND x.extname OPERATOR(pg_catalog.=) 'pg_runbook' WHERE m.classid OPERATOR(pg_catalog.=) f.classid AND m.objid OPERATOR(pg_catalog.=) f.objid \
             AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.deptype OPERATOR(pg_catalog.=) 'e')";

const EVERYWHERE: &str = "SELECT f.classid, f.objid FROM ( \
         SELECT 3466::pg_catalog.oid AS classid, e.oid AS objid FROM pg_catalog.pg_event_trigger AS e WHERE e.evtenabled OPERATOR(pg_catalog.<>) 'D' \
         UNION ALL SELECT 2605, c.oid FROM pg_catalog.pg_cast AS c WHERE $1 AND c.oid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid \
             AND c.castsource OPERATOR(pg_catalog.<) 16384::pg_catalog.oid AND c.casttarget OPERATOR(pg_catalog.<) 16384::pg_catalog.oid) AS f \
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) m.refobjid \
             AND x.extname OPERATOR(pg_catalog.=) 'pg_runbook' WHERE m.classid OPERATOR(pg_catalog.=) f.classid AND m.objid OPERATOR(pg_catalog.=) f.objid \
             AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.deptype OPERATOR(pg_catalog.=) 'e')";

/// Dependencies; what belongs to a relation, a type, an operator family.
const AROUND: &str = "SELECT DISTINCT f.classid, f.objid, f.weak FROM ( \
         SELECT d.refclassid AS classid, d.refobjid AS objid, false AS weak FROM pg_catalog.pg_depend AS d \
         WHERE d.classid OPERATOR(pg_catalog.=) ANY ($1) AND d.objid OPERATOR(pg_catalog.=) ANY ($2) AND d.deptype OPERATOR(pg_catalog.=) ANY ('{n,a,i}'::pg_catalog.\"char\"[]) \
             AND d.refclassid OPERATOR(pg_catalog.=) ANY ('{1255,2617,1247,2616,2753,1259,2605,2606,3600,3601,3602,3764}'::pg_catalog.oid[]) \
         UNION ALL SELECT 2604, a.oid, false FROM pg_catalog.pg_attrdef AS a WHERE a.adrelid OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 2606, k.oid, false FROM pg_catalog.pg_constraint AS k WHERE k.conrelid OPERATOR(pg_catalog.=) ANY ($3) \
             AND k.contype OPERATOR(pg_catalog.=) ANY ('{c,x}'::pg_catalog.\"char\"[]) \
         UNION ALL SELECT 2620, t.oid, false FROM pg_catalog.pg_trigger AS t WHERE t.tgrelid OPERATOR(pg_catalog.=) ANY ($3) AND NOT t.tgisinternal \
             AND (t.tgqual IS NOT NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS o JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) o.refobjid \
                 AND x.extname OPERATOR(pg_catalog.=) 'pg_runbook' WHERE o.classid OPERATOR(pg_catalog.=) 1255 AND o.objid OPERATOR(pg_catalog.=) t.tgfoid AND o.refclassid OPERATOR(pg_catalog.=) 3079 \
                 AND o.deptype OPERATOR(pg_catalog.=) 'e')) \
         UNION ALL SELECT 2618, w.oid, false FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 3256, p.oid, false FROM pg_catalog.pg_policy AS p WHERE p.polrelid OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 3381, e.oid, false FROM pg_catalog.pg_statistic_ext AS e WHERE e.stxrelid OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 1259, i.indexrelid, false FROM pg_catalog.pg_index AS i WHERE i.indrelid OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 1259, h.inhrelid, true FROM pg_catalog.pg_inherits AS h WHERE h.inhparent OPERATOR(pg_catalog.=) ANY ($3) \
         UNION ALL SELECT 1259, k.conrelid, true FROM pg_catalog.pg_constraint AS k WHERE k.confrelid OPERATOR(pg_catalog.=) ANY ($3) AND k.contype OPERATOR(pg_catalog.=) 'f' \
             AND (k.confdeltype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog.\"char\"[]) OR k.confupdtype OPERATOR(pg_catalog.=) ANY ('{c,n,d}'::pg_catalog.\"char\"[])) \
         UNION ALL SELECT 1247, a.atttypid, false FROM pg_catalog.pg_attribute AS a WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ($3) AND NOT a.attisdropped \
         UNION ALL SELECT 2606, k.oid, false FROM pg_catalog.pg_constraint AS k WHERE k.contypid OPERATOR(pg_catalog.=) ANY ($4) \
         UNION ALL SELECT v.classid, v.objid, false FROM pg_catalog.pg_type AS t CROSS JOIN LATERAL (VALUES \
             (1247::pg_catalog.oid, t.typbasetype), (1247::pg_catalog.oid, t.typelem), (1259::pg_catalog.oid, t.typrelid)) AS v (classid, objid) WHERE t.oid OPERATOR(pg_catalog.=) ANY ($4) \
         UNION ALL SELECT 2616, o.oid, false FROM pg_catalog.pg_opclass AS o WHERE o.opcintype OPERATOR(pg_catalog.=) ANY ($4) \
         UNION ALL SELECT 2605, c.oid, false FROM pg_catalog.pg_cast AS c WHERE c.castsource OPERATOR(pg_catalog.=) ANY ($4) OR c.casttarget OPERATOR(pg_catalog.=) ANY ($4) \
         UNION ALL SELECT 2753, o.opcfamily, false FROM pg_catalog.pg_opclass AS o WHERE o.oid OPERATOR(pg_catalog.=) ANY ($5) \
         UNION ALL SELECT 1255, s.amproc::pg_catalog.oid, false FROM pg_catalog.pg_amproc AS s WHERE s.amprocfamily OPERATOR(pg_catalog.=) ANY ($6) \
         UNION ALL SELECT 2617, s.amopopr, false FROM pg_catalog.pg_amop AS s WHERE s.amopfamily OPERATOR(pg_catalog.=) ANY ($6)) AS f \
     WHERE f.objid OPERATOR(pg_catalog.>=) 16384::pg_catalog.oid AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) m.refobjid \
             AND x.extname OPERATOR(pg_catalog.=) 'pg_runbook' WHERE m.classid OPERATOR(pg_catalog.=) f.classid AND m.objid OPERATOR(pg_catalog.=) f.objid \
             AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.deptype OPERATOR(pg_catalog.=) 'e')";

const BODIES: &str = "SELECT p.oid, l.lanname, CASE WHEN p.prosqlbody IS NULL THEN p.prosrc ELSE pg_catalog.pg_get_function_sqlbody(p.oid) END, i.type OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) i.identity, (SELECT x.extname FROM pg_catalog.pg_depend AS d \
             JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) d.refobjid WHERE d.classid OPERATOR(pg_catalog.=) 1255 AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.refclassid OPERATOR(pg_catalog.=) 3079 \
             AND d.deptype OPERATOR(pg_catalog.=) 'e' LIMIT 1) \
     FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_language AS l ON l.oid OPERATOR(pg_catalog.=) p.prolang \
     CROSS JOIN LATERAL pg_catalog.pg_identify_object(1255, p.oid, 0) AS i WHERE p.oid OPERATOR(pg_catalog.=) ANY ($1)";

/// Of PostgreSQL's own functions nothing says in `pg_depend` that they are called.
const RUN_TEXT: &str = "SELECT t.classid, t.objid, pg_catalog.concat_ws(' ', i.type, i.identity) FROM ( \
         SELECT 2618::pg_catalog.oid AS classid, r.oid AS objid, pg_catalog.concat(r.ev_action, r.ev_qual) AS tree FROM pg_catalog.pg_rewrite AS r WHERE r.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2604, a.oid, a.adbin::pg_catalog.text FROM pg_catalog.pg_attrdef AS a WHERE a.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2606, k.oid, k.conbin::pg_catalog.text FROM pg_catalog.pg_constraint AS k WHERE k.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3256, p.oid, pg_catalog.concat(p.polqual, p.polwithcheck) FROM pg_catalog.pg_policy AS p WHERE p.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2620, g.oid, g.tgqual::pg_catalog.text FROM pg_catalog.pg_trigger AS g WHERE g.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 1255, f.oid, f.proargdefaults::pg_catalog.text FROM pg_catalog.pg_proc AS f WHERE f.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 1259, x.indexrelid, pg_catalog.concat(x.indexprs, x.indpred) FROM pg_catalog.pg_index AS x WHERE x.indexrelid OPERATOR(pg_catalog.=) ANY ($1)) AS t \
     CROSS JOIN LATERAL pg_catalog.pg_identify_object(t.classid, t.objid, 0) AS i \
     WHERE t.tree OPERATOR(pg_catalog.~) (SELECT pg_catalog.format(':(funcid|opfuncid) (%s) ', pg_catalog.string_agg(p.oid::pg_catalog.text, '|')) \
         FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=) 11::pg_catalog.oid \
             AND p.proname OPERATOR(pg_catalog.~) '^(query|schema|database|table|cursor)_to_xml|^ts_(stat|rewrite)$')";

/// A definition is everything that decides what runs, the name of its schema included, and nothing that statistics or grants change.
const HASHED: &str = "WITH d (classid, objid, written, definition) AS ( \
         SELECT 1255::pg_catalog.oid, p.oid, p.xmin, ROW(p.proname, p.pronamespace, p.proowner, p.prolang, p.provariadic, p.prosupport::pg_catalog.oid, p.prokind, p.prosecdef, p.proleakproof, \
                 p.proisstrict, p.proretset, p.provolatile, p.proparallel, p.prorettype, p.proargtypes, p.proallargtypes, p.proargmodes, \
                 p.proargnames, p.proargdefaults, p.prosrc, p.probin, p.prosqlbody, p.proconfig, (SELECT g FROM pg_catalog.pg_aggregate AS g \
                 WHERE g.aggfnoid::pg_catalog.oid OPERATOR(pg_catalog.=) p.oid))::pg_catalog.text FROM pg_catalog.pg_proc AS p WHERE p.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2617::pg_catalog.oid, o.oid, o.xmin, ROW(o.oprname, o.oprnamespace, o.oprleft, o.oprright, o.oprresult, o.oprcode::pg_catalog.oid, o.oprrest::pg_catalog.oid, \
                 o.oprjoin::pg_catalog.oid, o.oprcanmerge, o.oprcanhash)::pg_catalog.text FROM pg_catalog.pg_operator AS o WHERE o.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 1247::pg_catalog.oid, t.oid, (SELECT x.xmin FROM (SELECT t.xmin UNION ALL SELECT e.xmin FROM pg_catalog.pg_enum AS e WHERE e.enumtypid OPERATOR(pg_catalog.=) t.oid) AS x (xmin) \
                 ORDER BY pg_catalog.age(x.xmin) USING OPERATOR(pg_catalog.<) LIMIT 1), ROW(t.typname, t.typnamespace, t.typtype, t.typlen, t.typbyval, t.typinput::pg_catalog.oid, t.typoutput::pg_catalog.oid, t.typreceive::pg_catalog.oid, \
                 t.typsend::pg_catalog.oid, t.typmodin::pg_catalog.oid, t.typmodout::pg_catalog.oid, t.typanalyze::pg_catalog.oid, t.typsubscript::pg_catalog.oid, t.typnotnull, t.typbasetype, \
                 t.typtypmod, t.typcollation, t.typdefaultbin, t.typdefault, \
                 CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'e' THEN ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum AS e WHERE e.enumtypid OPERATOR(pg_catalog.=) t.oid \
                     ORDER BY e.enumsortorder USING OPERATOR(pg_catalog.<)) END, (SELECT g FROM pg_catalog.pg_range AS g WHERE g.rngtypid OPERATOR(pg_catalog.=) t.oid))::pg_catalog.text FROM pg_catalog.pg_type AS t WHERE t.oid OPERATOR(pg_catalog.=) ANY ($1) AND t.typtype OPERATOR(pg_catalog.=) ANY ('{b,d,r,m,e}'::pg_catalog.\"char\"[]) AND t.typcategory OPERATOR(pg_catalog.<>) 'A' \
         UNION ALL SELECT 2616::pg_catalog.oid, o.oid, o.xmin, ROW(o)::pg_catalog.text FROM pg_catalog.pg_opclass AS o WHERE o.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2753::pg_catalog.oid, y.oid, y.xmin, ROW(y.opfname, y.opfnamespace, ARRAY(SELECT s.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc AS s \
                 WHERE s.amprocfamily OPERATOR(pg_catalog.=) y.oid ORDER BY s.oid USING OPERATOR(pg_catalog.<)), ARRAY(SELECT s.amopopr FROM pg_catalog.pg_amop AS s \
                 WHERE s.amopfamily OPERATOR(pg_catalog.=) y.oid ORDER BY s.oid USING OPERATOR(pg_catalog.<)))::pg_catalog.text FROM pg_catalog.pg_opfamily AS y WHERE y.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2605::pg_catalog.oid, c.oid, c.xmin, ROW(c)::pg_catalog.text FROM pg_catalog.pg_cast AS c WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2604::pg_catalog.oid, a.oid, a.xmin, ROW(a)::pg_catalog.text FROM pg_catalog.pg_attrdef AS a WHERE a.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2606::pg_catalog.oid, k.oid, k.xmin, ROW(k.conname, k.contype, k.conrelid, k.contypid, k.conkey, k.conexclop, k.conbin)::pg_catalog.text FROM pg_catalog.pg_constraint AS k WHERE k.oid OPERATOR(pg_catalog.=) ANY ($1) AND k.contype OPERATOR(pg_catalog.=) ANY ('{c,x}'::pg_catalog.\"char\"[]) \
         UNION ALL SELECT 2620::pg_catalog.oid, g.oid, g.xmin, ROW(g.tgname, g.tgrelid, g.tgfoid, g.tgtype, g.tgenabled, g.tgdeferrable, g.tginitdeferred, g.tgattr, g.tgargs, g.tgqual)::pg_catalog.text FROM pg_catalog.pg_trigger AS g WHERE g.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 2618::pg_catalog.oid, w.oid, w.xmin, ROW(w)::pg_catalog.text FROM pg_catalog.pg_rewrite AS w WHERE w.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3256::pg_catalog.oid, b.oid, b.xmin, ROW(b)::pg_catalog.text FROM pg_catalog.pg_policy AS b WHERE b.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3466::pg_catalog.oid, e.oid, e.xmin, ROW(e.evtname, e.evtevent, e.evtfoid, e.evtenabled, e.evttags)::pg_catalog.text FROM pg_catalog.pg_event_trigger AS e WHERE e.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 1259::pg_catalog.oid, i.indexrelid, i.xmin, ROW(i.indrelid, i.indkey, i.indclass, i.indexprs, i.indpred)::pg_catalog.text FROM pg_catalog.pg_index AS i \
        WHERE i.indexrelid OPERATOR(pg_catalog.=) ANY ($1) AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) \
         UNION ALL SELECT 3602::pg_catalog.oid, s.oid, (SELECT x.xmin FROM (SELECT s.xmin UNION ALL SELECT m.xmin FROM pg_catalog.pg_ts_config_map AS m WHERE m.mapcfg OPERATOR(pg_catalog.=) s.oid) AS x (xmin) \
                 ORDER BY pg_catalog.age(x.xmin) USING OPERATOR(pg_catalog.<) LIMIT 1), ROW(s.cfgname, s.cfgnamespace, s.cfgparser, ARRAY(SELECT ROW(m.maptokentype, m.mapseqno, m.mapdict)::pg_catalog.text \
                 FROM pg_catalog.pg_ts_config_map AS m WHERE m.mapcfg OPERATOR(pg_catalog.=) s.oid ORDER BY m.maptokentype USING OPERATOR(pg_catalog.<), m.mapseqno USING OPERATOR(pg_catalog.<)))::pg_catalog.text \
                 FROM pg_catalog.pg_ts_config AS s WHERE s.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3600::pg_catalog.oid, s.oid, s.xmin, ROW(s.dictname, s.dictnamespace, s.dicttemplate, s.dictinitoption)::pg_catalog.text FROM pg_catalog.pg_ts_dict AS s WHERE s.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3601::pg_catalog.oid, s.oid, s.xmin, ROW(s)::pg_catalog.text FROM pg_catalog.pg_ts_parser AS s WHERE s.oid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 3764::pg_catalog.oid, s.oid, s.xmin, ROW(s)::pg_catalog.text FROM pg_catalog.pg_ts_template AS s WHERE s.oid OPERATOR(pg_catalog.=) ANY ($1)) \
     SELECT d.classid, d.objid, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to( \
             pg_catalog.concat(d.definition, ' ', i.schema), 'UTF8')), 'hex'), \
         i.type OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) i.identity, d.written \
     FROM d CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, 0) AS i \
     WHERE i.identity IS NOT NULL \
     ORDER BY d.classid USING OPERATOR(pg_catalog.<), d.objid USING OPERATOR(pg_catalog.<)";

const GONE: &str = "SELECT r.classid, r.objid FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r (classid, objid) \
     WHERE (pg_catalog.pg_identify_object(r.classid, r.objid, 0)).identity IS NULL";
