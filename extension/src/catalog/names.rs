//! What names mean to statements besides code: relations, columns, heirs and partitions, unique indexes.
//!
//! None of it runs, but another table under the same name, other columns under theirs, or row security that hides rows makes approved
//! statements do something else. Each has a number in place of a catalog, so that it is bound, compared and remembered as code is.

use crate::spi::texts;
use pgrx::pg_sys::Oid;
use runbook_core::code::{Bound, Key};
use std::collections::BTreeSet;

/// A relation, by its OID. The numbers are in the order in which a message should name what is different.
const RELATION: u32 = 100_000_000;
/// A unique index or one of an exclusion constraint, by its OID.
const UNIQUE: u32 = 100_200_000;
/// A parent of a relation, at a position from 1.
const HEIR: u32 = 100_100_000;
/// A column of a relation, at its number.
const COLUMN: u32 = 100_300_000;
/// Numbers of columns and positions are smaller.
const WIDTH: u32 = 100_000;

/// Where to look.
#[derive(Debug, Default)]
pub struct Places {
    /// Relations whose heirs and unique indexes count.
    pub all: Vec<u32>,
    /// Those that count themselves.
    pub relations: Vec<u32>,
    /// Those whose columns count.
    pub columns: Vec<u32>,
}

/// When statements depend on it.
#[derive(Debug)]
pub enum When {
    /// If they reach it.
    Always,
    /// If they have this word, or one for all columns.
    Named(String),
    /// If they have a word for what happens to a row that is there already.
    Conflict,
}

/// Something that a name means.
#[derive(Debug)]
pub struct Relied {
    /// Which, and its hash.
    pub bound: Bound,
    /// The transaction that has written it.
    pub written: u32,
    /// When it counts.
    pub when: When,
}

impl Places {
    /// Where these objects are.
    pub fn of(keys: &[Key]) -> Self {
        let of = |class: u32| {
            let here = keys.iter().filter(|key| (class..class + WIDTH).contains(&key.0)).map(|key| key.1);
            here.collect::<BTreeSet<u32>>().into_iter().collect::<Vec<u32>>()
        };
        Self { all: [of(UNIQUE), of(HEIR)].concat(), relations: of(RELATION), columns: of(COLUMN) }
    }
}

/// What is in these places.
pub fn of(places: &Places) -> Vec<Relied> {
    let oids = |all: &[u32]| all.iter().copied().map(Oid::from).collect::<Vec<Oid>>();
    if places.all.is_empty() && places.relations.is_empty() && places.columns.is_empty() {
        return vec![];
    }
    let parameters = [oids(&places.all).into(), oids(&places.relations).into(), oids(&places.columns).into()];
    let relied = |row: Vec<Option<String>>| {
        let [class, object, hash, name, written, column] = <[Option<String>; 6]>::try_from(row).ok()?;
        let class = class?.parse().ok()?;
        let when = match column {
            Some(column) => When::Named(column),
            None if class == UNIQUE => When::Conflict,
            None => When::Always,
        };
        let bound = Bound { class, object: object?.parse().ok()?, hash: hash?, name: name?, also: false };
        Some(Relied { bound, written: written?.parse().ok()?, when })
    };
    texts(RELIED, &parameters).into_iter().filter_map(relied).collect()
}

/// A relation is its name, what it is, whether row security hides rows of it, and the bounds of a partition or sequence; a column is its
/// name and type. Statistics, grants, owners and storage don't count.
const RELIED: &str = "WITH d (classid, objid, written, definition, relid, label, col) AS ( \
         SELECT 100000000::pg_catalog.int8, c.oid, (SELECT x.xmin FROM (SELECT c.xmin UNION ALL SELECT s.xmin FROM pg_catalog.pg_sequence AS s WHERE s.seqrelid OPERATOR(pg_catalog.=) c.oid) AS x (xmin) \
                 ORDER BY pg_catalog.age(x.xmin) USING OPERATOR(pg_catalog.<) LIMIT 1), ROW(c.relname, c.relnamespace, c.relkind, c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, \
                 c.relispartition, c.relpartbound, (SELECT ROW(f.ftserver, f.ftoptions) FROM pg_catalog.pg_foreign_table AS f WHERE f.ftrelid OPERATOR(pg_catalog.=) c.oid), \
                 (SELECT ROW(s) FROM pg_catalog.pg_sequence AS s WHERE s.seqrelid OPERATOR(pg_catalog.=) c.oid))::pg_catalog.text, c.oid, \
                 CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'v' THEN 'view' WHEN c.relkind OPERATOR(pg_catalog.=) 'm' THEN 'materialized view' WHEN c.relkind OPERATOR(pg_catalog.=) 'S' THEN 'sequence' \
                     WHEN c.relkind OPERATOR(pg_catalog.=) 'f' THEN 'foreign table' WHEN c.relkind OPERATOR(pg_catalog.=) 'c' THEN 'composite type' ELSE 'table' END, \
                 NULL::pg_catalog.text \
             FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) ANY ($2) AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,S,c}'::pg_catalog.\"char\"[]) \
         UNION ALL SELECT 100300000 OPERATOR(pg_catalog.+) a.attnum, a.attrelid, a.xmin, ROW(a.attname, a.atttypid, a.atttypmod, a.attgenerated, a.attcollation, a.attfdwoptions)::pg_catalog.text, a.attrelid, 'column', a.attname::pg_catalog.text \
             FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) a.attrelid AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f,c}'::pg_catalog.\"char\"[]) \
             WHERE a.attrelid OPERATOR(pg_catalog.=) ANY ($3) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
         UNION ALL SELECT 100100000 OPERATOR(pg_catalog.+) h.inhseqno, h.inhrelid, h.xmin, ROW(h.inhparent)::pg_catalog.text, h.inhrelid, 'heir', NULL::pg_catalog.text \
             FROM pg_catalog.pg_inherits AS h JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) h.inhrelid AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}'::pg_catalog.\"char\"[]) \
             WHERE h.inhparent OPERATOR(pg_catalog.=) ANY ($1) OR h.inhrelid OPERATOR(pg_catalog.=) ANY ($1) \
         UNION ALL SELECT 100200000, i.indexrelid, i.xmin, ROW(i.indrelid, i.indkey, i.indclass, i.indisunique, i.indisexclusion, i.indimmediate, i.indexprs, i.indpred)::pg_catalog.text, i.indexrelid, 'index', NULL::pg_catalog.text \
             FROM pg_catalog.pg_index AS i WHERE (i.indrelid OPERATOR(pg_catalog.=) ANY ($1) OR i.indexrelid OPERATOR(pg_catalog.=) ANY ($1)) AND (i.indisunique OR i.indisexclusion)) \
     SELECT d.classid, d.objid, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to( \
             CASE WHEN d.classid OPERATOR(pg_catalog.=) 100000000 AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_temp_') \
                 THEN pg_catalog.concat(d.definition, ' ', n.nspname) ELSE d.definition END, 'UTF8')), 'hex'), \
         pg_catalog.concat(d.label, ' ', CASE WHEN pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_temp_') THEN 'pg_temp' ELSE pg_catalog.quote_ident(n.nspname::pg_catalog.text) END, '.', \
             pg_catalog.quote_ident(c.relname::pg_catalog.text), CASE WHEN d.col IS NOT NULL THEN '.' END, pg_catalog.quote_ident(d.col)), d.written, d.col \
     FROM d JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) d.relid JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS m JOIN pg_catalog.pg_extension AS x ON x.oid OPERATOR(pg_catalog.=) m.refobjid \
             AND x.extname OPERATOR(pg_catalog.=) 'pg_runbook' WHERE m.classid OPERATOR(pg_catalog.=) 1259 AND m.objid OPERATOR(pg_catalog.=) d.relid \
             AND m.refclassid OPERATOR(pg_catalog.=) 3079 AND m.deptype OPERATOR(pg_catalog.=) 'e') \
     ORDER BY d.classid USING OPERATOR(pg_catalog.<), d.objid USING OPERATOR(pg_catalog.<)";
