-- Protected tables: triggers that work without preloading, and for what logical replication applies.

CREATE FUNCTION runbook_internal.guard_rows() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_rows';
COMMENT ON FUNCTION runbook_internal.guard_rows() IS 'Counts the rows that a transaction deletes or updates in a protected table.';

CREATE FUNCTION runbook_internal.guard_truncate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_truncate';
COMMENT ON FUNCTION runbook_internal.guard_truncate() IS 'Judges a TRUNCATE of a protected table.';

CREATE VIEW runbook.protected_tables AS
    SELECT e.tgrelid::regclass AS "table",
        pg_catalog.split_part(pg_catalog.encode(r.tgargs, 'escape'), E'\\000', 1)::bigint AS max_rows,
        e.tgenabled = 'A' AND r.tgenabled IS NOT DISTINCT FROM CASE WHEN r.oid IS NOT NULL THEN 'A'::"char" END AS enabled
    FROM pg_catalog.pg_trigger AS e
    LEFT JOIN pg_catalog.pg_trigger AS r ON r.tgrelid = e.tgrelid AND r.tgname = 'a_runbook_rows'
        AND r.tgfoid = 'runbook_internal.guard_rows()'::pg_catalog.regprocedure
    WHERE e.tgname = 'a_runbook_truncate' AND e.tgfoid = 'runbook_internal.guard_truncate()'::pg_catalog.regprocedure;
COMMENT ON VIEW runbook.protected_tables IS 'Tables that runbook.protect_table() protects, and how many rows a transaction may change in each.';
COMMENT ON COLUMN runbook.protected_tables."table" IS 'Protected table';
COMMENT ON COLUMN runbook.protected_tables.max_rows IS 'Rows of the table that one transaction may delete or update; NULL if only TRUNCATE is guarded';
COMMENT ON COLUMN runbook.protected_tables.enabled IS 'True if the triggers that protect the table are ENABLE ALWAYS';
