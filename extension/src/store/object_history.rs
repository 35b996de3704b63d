//! Which objects a statement touched, what goes along with them, and which of them revisions created.
//!
//! Owns table `made`.

use crate::catalog::relations::address;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::execute::append;
use crate::pg::parse::objects;
use crate::spi::{self, read};
use pgrx::pg_sys::Oid;
use runbook_core::identity::{Address, Events, RELATIONS};
use runbook_core::object_history::Made;
use runbook_core::plan::Direction;

/// What revisions have done to these objects and their columns, in the order in which they did it.
pub fn made_by_revisions(objects: &[Address]) -> Result<Vec<Made>> {
    if objects.is_empty() {
        return Ok(vec![]);
    }
    read(
        "SELECT m.classid, m.objid, m.objsubid, m.revision, m.direction, m.path, m.approved, m.created, m.tied, \
             (EXTRACT(epoch FROM m.made_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8 \
         FROM runbook.object_change AS m WHERE m.objid OPERATOR(pg_catalog.=) ANY ($1) \
         ORDER BY m.made_at USING OPERATOR(pg_catalog.<)",
        &[objects.iter().map(|one| Oid::from(one.object)).collect::<Vec<_>>().into()],
        |row| {
            let direction = Direction::parse(&row.get::<String>(5)?).unwrap_or(Direction::Upgrade);
            Ok(Made {
                object: address(row.get(1)?, row.get(2)?, row.get(3)?),
                revision: row.get(4)?,
                direction,
                path: row.get(6)?,
                approved: row.get(7)?,
                created: row.get(8)?,
                tied: row.get(9)?,
                at: row.get(10)?,
            })
        },
    )
}

/// Something that a revision has done and that is there.
#[derive(Debug)]
pub struct Lasting {
    /// To which object.
    pub object: Address,
    /// Whether it created it.
    pub created: bool,
    /// Whether it is a partition or an heir.
    pub tied: bool,
    /// Where it is.
    pub path: Vec<String>,
}

/// What a revision has done, as the guard was told.
pub fn as_told(events: &Events) -> Vec<Lasting> {
    let one =
        |(object, created, path): (Address, bool, &[String])| Lasting { object, created, tied: false, path: path.to_vec() };
    events.all().map(one).collect()
}

/// Of what a revision has done, what is there: objects at the place where it brought them, and the columns of tables that it
/// created.
pub fn lasting(events: &Events) -> Result<Vec<Lasting>> {
    let all: Vec<(Address, bool, &[String])> = events.all().collect();
    if all.is_empty() {
        return Ok(vec![]);
    }
    // Most often relations, which the catalog caches know.
    if all.iter().all(|(one, ..)| one.class == RELATIONS && one.part == 0) {
        return Ok(all.into_iter().flat_map(|(object, created, path)| lasting_relation(object, created, path)).collect());
    }
    let name = |path: &[String]| path.last().cloned().unwrap_or_default();
    let rows = read(
        "WITH event AS (SELECT e.* FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), \
                 pg_catalog.unnest($4), pg_catalog.unnest($5)) WITH ORDINALITY AS e (classid, objid, part, name, created, place)) \
         SELECT e.place, NULL::pg_catalog.text, 0, e.classid OPERATOR(pg_catalog.=) 1259 AND EXISTS ( \
             SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid OPERATOR(pg_catalog.=) e.objid) FROM event AS e \
         WHERE e.part OPERATOR(pg_catalog.=) 0 AND (pg_catalog.pg_identify_object(e.classid, e.objid, 0)).type IS NOT NULL \
         UNION ALL SELECT e.place, NULL, 0, false FROM event AS e JOIN pg_catalog.pg_attribute AS a \
             ON a.attrelid OPERATOR(pg_catalog.=) e.objid AND a.attnum::pg_catalog.int4 OPERATOR(pg_catalog.=) e.part \
             AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) e.name \
         UNION ALL SELECT e.place, a.attname::pg_catalog.text, a.attnum::pg_catalog.int4, false FROM event AS e \
         JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) e.objid \
             AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f}'::pg_catalog.\"char\"[]) \
         JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
             AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped \
         WHERE e.created AND e.classid OPERATOR(pg_catalog.=) 1259 AND e.part OPERATOR(pg_catalog.=) 0",
        &[
            all.iter().map(|(one, ..)| Oid::from(one.class)).collect::<Vec<_>>().into(),
            all.iter().map(|(one, ..)| Oid::from(one.object)).collect::<Vec<_>>().into(),
            all.iter().map(|(one, ..)| one.part).collect::<Vec<_>>().into(),
            all.iter().map(|(.., path)| name(path)).collect::<Vec<_>>().into(),
            all.iter().map(|(_, created, _)| *created).collect::<Vec<_>>().into(),
        ],
        |row| Ok((row.get::<i64>(1)?, row.maybe::<String>(2)?, row.get::<i32>(3)?, row.get::<bool>(4)?)),
    )?;
    let there = rows.into_iter().filter_map(|(place, column, part, tied)| {
        let (object, created, path) = all.get(usize::try_from(place).ok()?.checked_sub(1)?)?;
        let path = path.iter().cloned().chain(column).collect();
        let object = Address { part: if part == 0 { object.part } else { part }, ..*object };
        Some(Lasting { object, created: *created, tied, path })
    });
    Ok(there.collect())
}

/// A relation that is there, and the columns of a table that a revision created.
fn lasting_relation(object: Address, created: bool, path: &[String]) -> Vec<Lasting> {
    let Some(relation) = objects::relation(object.object) else { return vec![] };
    let itself = Lasting { object, created, tied: relation.inherits, path: path.to_vec() };
    let columns = relation.columns.into_iter().filter(|_| created).map(|(part, name)| Lasting {
        object: Address { part, ..object },
        created,
        tied: false,
        path: path.iter().cloned().chain([name]).collect(),
    });
    [itself].into_iter().chain(columns).collect()
}

/// Remembers what revisions have done.
pub fn remember_made(made: &[Made]) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let row = |one: &Made| {
        [
            append::value(Oid::from(one.object.class)),
            append::value(Oid::from(one.object.object)),
            append::value(one.object.part),
            append::text(&one.revision),
            append::text(one.direction.as_str()),
            append::value(one.path.clone()),
            append::value(one.created),
            append::value(one.tied),
            append::value(one.approved),
            append::moment(clock::micros()),
        ]
    };
    spi::append(c"object_change", &mut made.iter().map(row).collect::<Vec<_>>())
}
