//! Table `backfill`, and what backfills ask of the catalog and of the server.

use crate::error::{Result, internal};
use crate::pg::session::identity::database;
use crate::spi::{execute, read};
use pgrx::datum::Interval;
use pgrx::pg_sys::Oid;
use std::time::Duration;

/// How far a backfill has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The last key whose batch is committed, as text; `None` at the beginning of a pass.
    pub last_key: Option<Vec<String>>,
    /// How often it has begun at the first key.
    pub pass: i32,
    /// Rows changed in all.
    pub rows: i64,
    /// Batches committed.
    pub batches: i64,
    /// Rows of the next batch.
    pub batch_rows: i64,
    /// The files of the table and of what belongs to it, as the last batch found them; `None` before the first one, and in another
    /// database than it ran in.
    pub files: Option<Vec<u32>>,
    /// What the key's columns were then: see [`Column::shape`].
    pub shape: Option<String>,
}

/// The cluster and the database, where file numbers mean something.
fn place() -> String {
    let database = database();
    format!("{}/{}", database.system_identifier, database.oid)
}

/// Where the backfill of this very content stands; stored anew if it has not begun.
pub fn open(revision: &str, digest: &str, first_batch: u64, estimated: i64) -> Result<Progress> {
    execute(
        "DELETE FROM runbook.backfill AS b WHERE b.revision OPERATOR(pg_catalog.=) $1 AND b.digest OPERATOR(pg_catalog.<>) $2",
        &[revision.into(), digest.into()],
    )?;
    execute(
        "INSERT INTO runbook.backfill (revision, digest, pass, rows_done, batches, batch_rows, estimated_rows, started_at, busy) \
         VALUES ($1, $2, 1, 0, 0, $3, $4, pg_catalog.clock_timestamp(), '0') ON CONFLICT (revision) DO NOTHING",
        &[revision.into(), digest.into(), i64::try_from(first_batch).unwrap_or(i64::MAX).into(), estimated.into()],
    )?;
    let rows = read(
        "SELECT b.last_key, b.pass, b.rows_done, b.batches, b.batch_rows, CASE WHEN b.place OPERATOR(pg_catalog.=) $2 THEN b.files END, \
             CASE WHEN b.place OPERATOR(pg_catalog.=) $2 THEN b.shape END \
         FROM runbook.backfill AS b WHERE b.revision OPERATOR(pg_catalog.=) $1",
        &[revision.into(), place().into()],
        |row| {
            Ok(Progress {
                last_key: row.maybe(1)?,
                pass: row.get(2)?,
                rows: row.get(3)?,
                batches: row.get(4)?,
                batch_rows: row.get(5)?,
                files: row.maybe::<Vec<Oid>>(6)?.map(|files| files.into_iter().map(Oid::to_u32).collect()),
                shape: row.maybe(7)?,
            })
        },
    )?;
    rows.into_iter().next().ok_or_else(|| internal("a backfill was not stored"))
}

/// Notes where a backfill stands, in the transaction of its batch, which took `busy`.
pub fn advance(revision: &str, progress: &Progress, busy: Duration) -> Result<()> {
    execute(
        "UPDATE runbook.backfill AS b SET last_key = $2, pass = $3, rows_done = $4, batches = $5, batch_rows = $6, \
             busy = b.busy OPERATOR(pg_catalog.+) $7, place = $8, files = $9, shape = $10 WHERE b.revision OPERATOR(pg_catalog.=) $1",
        &[
            revision.into(),
            progress.last_key.clone().into(),
            progress.pass.into(),
            progress.rows.into(),
            progress.batches.into(),
            progress.batch_rows.into(),
            Interval::from_micros(i64::try_from(busy.as_micros()).unwrap_or(i64::MAX)).into(),
            place().into(),
            progress.files.as_ref().map(|files| files.iter().copied().map(Oid::from).collect::<Vec<_>>()).into(),
            progress.shape.clone().into(),
        ],
    )
}

/// A table, as a backfill needs it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Schema and name, quoted.
    pub name: String,
    /// Its OID.
    pub oid: u32,
    /// `r`, `p` or another kind of relation.
    pub kind: String,
    /// Columns of the primary key; none without one.
    pub primary_key: Vec<String>,
    /// About how many rows it has.
    pub rows: i64,
    /// How many bytes it has, with partitions and heirs.
    pub bytes: i64,
}

/// A table by its name, as the search path in force finds it.
pub fn table(oid: u32) -> Result<Option<Table>> {
    let rows = read(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid, c.relkind::pg_catalog.text, \
             ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_index AS i \
                 CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
                 JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid \
                     AND a.attnum OPERATOR(pg_catalog.=) k.number \
                 WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary ORDER BY k.place USING OPERATOR(pg_catalog.<)), \
             (SELECT COALESCE(pg_catalog.sum(GREATEST(l.reltuples, 0)), 0)::pg_catalog.int8 FROM pg_catalog.pg_class AS l \
                 WHERE l.oid OPERATOR(pg_catalog.=) c.oid AND c.relkind OPERATOR(pg_catalog.<>) 'p' \
                     OR c.relkind OPERATOR(pg_catalog.=) 'p' AND l.relkind OPERATOR(pg_catalog.=) 'r' AND l.oid OPERATOR(pg_catalog.=) ANY \
                         (ARRAY(SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(c.oid) AS t))), \
             (WITH RECURSIVE part (oid) AS (SELECT c.oid UNION \
                     SELECT i.inhrelid FROM part AS p JOIN pg_catalog.pg_inherits AS i ON i.inhparent OPERATOR(pg_catalog.=) p.oid) \
                 SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_relation_size(p.oid)), 0)::pg_catalog.int8 FROM part AS p) \
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
         WHERE c.oid OPERATOR(pg_catalog.=) $1",
        &[Oid::from(oid).into()],
        |row| {
            Ok(Table {
                name: row.get(1)?,
                oid: row.get::<Oid>(2)?.to_u32(),
                kind: row.get(3)?,
                primary_key: row.get(4)?,
                rows: row.get(5)?,
                bytes: row.get(6)?,
            })
        },
    )?;
    Ok(rows.into_iter().next())
}

/// A column of a key.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its type, as SQL spells it.
    pub spelled: String,
    /// OID of its type.
    pub data_type: u32,
    /// Whether it is NOT NULL.
    pub is_filled: bool,
    /// What else its order and its values depend on: which column it is, type, length, collation, and the labels of the enums in it, in their order.
    pub shape: String,
}

/// Columns of a table; `None` for one that is not there.
pub fn columns(table: u32, names: &[String]) -> Result<Vec<Option<Column>>> {
    let rows = read(
        "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, a.attnotnull, \
             pg_catalog.concat_ws('/', a.attnum, a.atttypid, a.atttypmod, a.attcollation, \
                 (WITH RECURSIVE part (oid) AS (SELECT a.atttypid UNION SELECT n.oid FROM part AS p CROSS JOIN LATERAL ( \
                      SELECT t.typelem FROM pg_catalog.pg_type AS t \
                          WHERE t.oid OPERATOR(pg_catalog.=) p.oid AND t.typelem OPERATOR(pg_catalog.<>) 0 \
                      UNION ALL SELECT t.typbasetype FROM pg_catalog.pg_type AS t \
                          WHERE t.oid OPERATOR(pg_catalog.=) p.oid AND t.typbasetype OPERATOR(pg_catalog.<>) 0 \
                      UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r WHERE r.rngtypid OPERATOR(pg_catalog.=) p.oid \
                      UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range AS r WHERE r.rngmultitypid OPERATOR(pg_catalog.=) p.oid \
                      UNION ALL SELECT c.atttypid FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_attribute AS c \
                              ON c.attrelid OPERATOR(pg_catalog.=) t.typrelid \
                          WHERE t.oid OPERATOR(pg_catalog.=) p.oid AND c.attnum OPERATOR(pg_catalog.>) 0 AND NOT c.attisdropped \
                  ) AS n (oid)) \
                  SELECT pg_catalog.md5(pg_catalog.json_agg(ARRAY[e.enumtypid::pg_catalog.text, e.enumlabel::pg_catalog.text] \
                      ORDER BY e.enumtypid USING OPERATOR(pg_catalog.<), e.enumsortorder USING OPERATOR(pg_catalog.<))::pg_catalog.text) \
                  FROM part AS p JOIN pg_catalog.pg_enum AS e ON e.enumtypid OPERATOR(pg_catalog.=) p.oid)) \
         FROM pg_catalog.pg_attribute AS a WHERE a.attrelid OPERATOR(pg_catalog.=) $1 \
             AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($2) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped",
        &[Oid::from(table).into(), names.to_vec().into()],
        |row| {
            let data_type = row.get::<Oid>(3)?.to_u32();
            Ok((row.get::<String>(1)?, Column { spelled: row.get(2)?, data_type, is_filled: row.get(4)?, shape: row.get(5)? }))
        },
    )?;
    Ok(names.iter().map(|name| rows.iter().find(|row| row.0 == *name).map(|row| row.1.clone())).collect())
}

/// Whether a B-tree index begins with these columns, in this order.
pub fn has_index(table: u32, columns: &[String]) -> Result<bool> {
    let rows = read(
        "SELECT true FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid \
         JOIN pg_catalog.pg_am AS m ON m.oid OPERATOR(pg_catalog.=) c.relam \
         WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND i.indisvalid AND i.indpred IS NULL AND m.amname OPERATOR(pg_catalog.=) 'btree' \
             AND (ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place) \
                 LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid \
                     AND a.attnum OPERATOR(pg_catalog.=) k.number \
                 ORDER BY k.place USING OPERATOR(pg_catalog.<)))[1:pg_catalog.cardinality($2)] OPERATOR(pg_catalog.=) $2 LIMIT 1",
        &[Oid::from(table).into(), columns.to_vec().into()],
        |row| row.get::<bool>(1),
    )?;
    Ok(!rows.is_empty())
}

/// What a backfill weighs on the server.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// The standby that is farthest behind, and by how many seconds.
    pub lag: Option<(String, f64)>,
    /// Position in the write-ahead log, in bytes.
    pub wal: i64,
    /// Percent of the table's rows that are dead, while a vacuum of it is under way.
    pub dead: Option<f64>,
}

/// What the server says now.
pub fn load(table: u32) -> Result<Load> {
    let rows = read(
        "SELECT l.name, l.seconds, pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::pg_catalog.int8, \
             (SELECT 100::pg_catalog.float8 OPERATOR(pg_catalog.*) pg_catalog.pg_stat_get_dead_tuples($1) OPERATOR(pg_catalog./) \
                     GREATEST(pg_catalog.pg_stat_get_live_tuples($1), 1) \
                 FROM pg_catalog.pg_stat_progress_vacuum AS v WHERE v.relid OPERATOR(pg_catalog.=) $1 LIMIT 1) \
         FROM (SELECT) AS nothing LEFT JOIN LATERAL (SELECT r.application_name, \
                 EXTRACT(epoch FROM r.replay_lag)::pg_catalog.float8 FROM pg_catalog.pg_stat_replication AS r \
                 WHERE r.state OPERATOR(pg_catalog.=) 'streaming' AND r.replay_lag IS NOT NULL \
                 ORDER BY r.replay_lag USING OPERATOR(pg_catalog.>) LIMIT 1) AS l (name, seconds) ON true",
        &[Oid::from(table).into()],
        |row| {
            let lag = row.maybe::<String>(1)?.zip(row.maybe::<f64>(2)?);
            Ok(Load { lag, wal: row.get(3)?, dead: row.maybe(4)? })
        },
    )?;
    rows.into_iter().next().ok_or_else(|| internal("the server's load is not known"))
}
