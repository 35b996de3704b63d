//! What PostgreSQL's views say of this session.

use crate::catalog::relations::address;
use crate::error::Result;
use crate::pg::session::pinned;
use crate::spi::read;
use pgrx::pg_sys::Oid;
use runbook_core::identity::Address;
use runbook_core::temporary::Shadowed;

/// A prepared statement. One that was prepared anew under the same name, in the same message even, is another.
#[derive(Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its name.
    pub name: String,
    at: String,
    statement: String,
    plan: pinned::Plan,
}

/// The session's prepared statements.
pub fn prepared() -> Result<Vec<Prepared>> {
    read(
        "SELECT p.name, p.prepare_time::pg_catalog.text, p.statement FROM pg_catalog.pg_prepared_statements AS p",
        &[],
        |row| {
            let name: String = row.get(1)?;
            let plan = pinned::plan(&name);
            Ok(Prepared { name, at: row.get(2)?, statement: row.get(3)?, plan })
        },
    )
}

/// An open cursor. One that was opened anew under the same name is another.
#[derive(Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its name.
    pub name: String,
    at: String,
    opened_in: u32,
    /// Whether it outlives the transaction.
    pub holdable: bool,
}

/// The session's open cursors.
pub fn cursors() -> Result<Vec<Cursor>> {
    read("SELECT c.name, c.creation_time::pg_catalog.text, c.is_holdable FROM pg_catalog.pg_cursors AS c", &[], |row| {
        let name: String = row.get(1)?;
        let opened_in = pinned::cursor_opened_in(&name);
        Ok(Cursor { name, at: row.get(2)?, opened_in, holdable: row.get(3)? })
    })
}

/// An advisory lock that the session holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Advisory {
    /// OID of the database.
    pub database: u32,
    /// The first key, or the high half of a single one.
    pub class: u32,
    /// The second key, or the low half.
    pub object: u32,
    /// 1 for a single key, 2 for two.
    pub sub: u16,
    /// Whether it is exclusive.
    pub exclusive: bool,
}

/// The session's advisory locks, those of the transaction included.
pub fn advisory_locks() -> Result<Vec<Advisory>> {
    read(
        "SELECT l.database, l.classid, l.objid, l.objsubid::pg_catalog.int4, l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' \
         FROM pg_catalog.pg_locks AS l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
             AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.granted",
        &[],
        |row| {
            let oid = |column| row.get::<Oid>(column).map(|oid| oid.to_u32());
            let sub = u16::try_from(row.get::<i32>(4)?).unwrap_or(0);
            Ok(Advisory { database: oid(1)?, class: oid(2)?, object: oid(3)?, sub, exclusive: row.get(5)? })
        },
    )
}

/// The channels that the session listens to.
pub fn channels() -> Result<Vec<String>> {
    read("SELECT c FROM pg_catalog.pg_listening_channels() AS c", &[], |row| row.get(1))
}

/// What lies in the session's temporary schema.
pub fn temporary_objects() -> Result<Vec<Address>> {
    read(
        "SELECT DISTINCT d.classid, d.objid FROM pg_catalog.pg_depend AS d WHERE d.refclassid OPERATOR(pg_catalog.=) 2615 \
             AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()",
        &[],
        |row| Ok(address(row.get(1)?, row.get(2)?, 0)),
    )
}

/// Relations of the session's temporary schema that have the name of a lasting one in one of `schemas`, which are searched first; types
/// that are none of a relation likewise.
pub fn hidden_temporaries(schemas: Vec<String>) -> Result<Vec<(Address, Shadowed)>> {
    read(
        "SELECT t.classid, t.oid, t.name::pg_catalog.text, n.nspname::pg_catalog.text FROM ( \
             SELECT 1259::pg_catalog.oid AS classid, c.oid, c.relname AS name, o.relnamespace AS lasting \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_class AS o ON o.relname OPERATOR(pg_catalog.=) c.relname \
             WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
             UNION ALL \
             SELECT 1247::pg_catalog.oid, y.oid, y.typname, o.typnamespace \
             FROM pg_catalog.pg_type AS y JOIN pg_catalog.pg_type AS o ON o.typname OPERATOR(pg_catalog.=) y.typname \
             WHERE y.typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
                 AND y.typrelid OPERATOR(pg_catalog.=) 0::pg_catalog.oid AND y.typelem OPERATOR(pg_catalog.=) 0::pg_catalog.oid) AS t \
         JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.lasting \
             AND n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1)",
        &[schemas.into()],
        |row| {
            let found = address(row.get(1)?, row.get(2)?, 0);
            Ok((found, Shadowed { name: row.get(3)?, schema: row.get(4)? }))
        },
    )
}

/// Tables with a trigger that can be put off to the end of the transaction.
pub fn tables_with_deferrable_triggers() -> Result<Vec<u32>> {
    read("SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger AS t WHERE t.tgdeferrable", &[], |row| {
        Ok(row.get::<Oid>(1)?.to_u32())
    })
}
