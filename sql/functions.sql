-- Functions whose errors must reach the caller whole (position, context, constraint, table and column names) have
-- entry points of their own in the library; see extension/src/pg/entry.rs.

CREATE FUNCTION runbook.submit(revision jsonb) RETURNS text
LANGUAGE c
SET search_path = pg_catalog, runbook, pg_temp
AS 'MODULE_PATHNAME', 'runbook_submit';
COMMENT ON FUNCTION runbook.submit(jsonb) IS
    'Stores a revision and returns its id. Submitting the same content again changes nothing; other content voids its approvals.';

CREATE FUNCTION runbook.upgrade(target text DEFAULT 'head') RETURNS text[]
LANGUAGE c
SET search_path = pg_catalog, runbook, pg_temp
AS 'MODULE_PATHNAME', 'runbook_upgrade';
COMMENT ON FUNCTION runbook.upgrade(text) IS
    'Applies revisions up to target in the caller''s transaction and returns their ids in the order applied.';

CREATE FUNCTION runbook.downgrade(target text) RETURNS text[]
LANGUAGE c
SET search_path = pg_catalog, runbook, pg_temp
AS 'MODULE_PATHNAME', 'runbook_downgrade';
COMMENT ON FUNCTION runbook.downgrade(text) IS
    'Reverts revisions down to target in the caller''s transaction and returns their ids in the order reverted.';

CREATE PROCEDURE runbook.wait(job bigint)
LANGUAGE c
AS 'MODULE_PATHNAME', 'runbook_wait';
COMMENT ON PROCEDURE runbook.wait(bigint) IS
    'Waits until a job has ended, and raises the error if it failed. Holds no snapshot, so that no concurrent index build waits for it.';
