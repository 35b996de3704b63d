//! What DROP … CASCADE would reach.

use crate::catalog::relations::address;
use crate::error::Result;
use crate::spi::read;
use pgrx::pg_sys::Oid;
use runbook_core::action::Action;
use runbook_core::identity::{Address, Identity};

/// The drops of everything that depends on `roots` without belonging to them: what only CASCADE takes along. A part of an object whose rule
/// or the like depends on something gone goes with it.
pub fn reached(roots: &[Address]) -> Result<Vec<Action>> {
    let rows = read(
        "WITH RECURSIVE gone (classid, objid, part, normal) AS ( \
             SELECT r.classid, r.objid, 0, false FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS r (classid, objid) \
             UNION SELECT x.classid, x.objid, x.part, x.normal FROM gone AS g CROSS JOIN LATERAL ( \
                 SELECT d.classid, d.objid, d.objsubid, d.deptype OPERATOR(pg_catalog.=) 'n' FROM pg_catalog.pg_depend AS d \
                 WHERE d.refclassid OPERATOR(pg_catalog.=) g.classid AND d.refobjid OPERATOR(pg_catalog.=) g.objid \
                     AND (g.part OPERATOR(pg_catalog.=) 0 OR d.refobjsubid OPERATOR(pg_catalog.=) g.part) \
                 UNION ALL SELECT o.refclassid, o.refobjid, 0, true FROM pg_catalog.pg_depend AS o \
                 WHERE g.normal AND o.classid OPERATOR(pg_catalog.=) g.classid AND o.objid OPERATOR(pg_catalog.=) g.objid \
                     AND o.deptype OPERATOR(pg_catalog.=) 'i') AS x (classid, objid, part, normal)) \
         SELECT i.type, a.object_names, f.classid, f.objid, f.part FROM ( \
             SELECT g.classid, g.objid, g.part FROM gone AS g GROUP BY g.classid, g.objid, g.part HAVING pg_catalog.bool_and(g.normal)) AS f \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(f.classid, f.objid, f.part) AS i \
         CROSS JOIN LATERAL pg_catalog.pg_identify_object_as_address(f.classid, f.objid, f.part) AS a \
         WHERE i.type OPERATOR(pg_catalog.<>) ALL ('{rule,index,default value,trigger,type}') ORDER BY 1, 2",
        &[
            roots.iter().map(|one| Oid::from(one.class)).collect::<Vec<_>>().into(),
            roots.iter().map(|one| Oid::from(one.object)).collect::<Vec<_>>().into(),
        ],
        |row| {
            let (kind, path): (String, Vec<String>) = (row.get(1)?, row.get(2)?);
            Ok(Action::dropped(kind.as_str().into(), path, false, address(row.get(3)?, row.get(4)?, row.get(5)?)))
        },
    )?;
    let among_roots = |action: &Action| roots.iter().any(|root| action.identity == Identity::Is(*root));
    Ok(rows.into_iter().filter(|action| !among_roots(action)).collect())
}
