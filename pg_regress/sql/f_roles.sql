-- Who has no role gets nothing.
\c - mallory
SELECT * FROM runbook.revisions;
SELECT runbook.upgrade('head');
\c - app
SELECT runbook.submit('{"revision": "x1", "upgrade": ""}');
SELECT runbook.approve('f001');
SELECT runbook.activate();
SELECT runbook.configure('migration_role', 'postgres');
SELECT count(*) FROM runbook.ledger;
SELECT * FROM runbook.entry;
DELETE FROM runbook.approval;
\c - alice
SELECT runbook.upgrade('head');
\c - carol
SELECT ok, bad FROM runbook.verify_ledger();
SELECT count(*) > 50 AS reads_the_ledger FROM runbook.ledger;
INSERT INTO runbook.entry SELECT * FROM runbook.entry;
\c - postgres
-- Append-only for superusers and replicas too.
UPDATE runbook.entry SET kind = 'x';
DELETE FROM runbook.entry;
TRUNCATE runbook.entry;
SET session_replication_role = replica;
DELETE FROM runbook.entry;
RESET session_replication_role;
-- Settings.
SELECT runbook.configure('nonsense', '1');
SELECT runbook.configure('migration_role', 'nobody_here');
SELECT runbook.configure('migrator_wait', 'long');
SELECT runbook.configure('lock_timeout', 'for ever');
SELECT runbook.configure('lock_timeout', '2s');
SELECT * FROM runbook.settings;
-- Nothing is granted to PUBLIC, everything has a comment.
SELECT p.oid::regprocedure AS open_to_public FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    WHERE p.pronamespace IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace) AND a.grantee = 0;
SELECT c.oid::regclass AS open_to_public FROM pg_class AS c, aclexplode(c.relacl) AS a
    WHERE c.relnamespace = 'runbook'::regnamespace AND a.grantee = 0;
SELECT pg_describe_object(d.classid, d.objid, 0) AS without_comment FROM pg_depend AS d
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
      AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pg_runbook')
      AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_event_trigger'::regclass)
      AND obj_description(d.objid, d.classid::regclass::text) IS NULL;
-- No column is taken by vacuumlo for the number of a large object.
SELECT a.attrelid::regclass AS for_vacuumlo, a.attname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'runbook'::regnamespace AND c.relkind IN ('r', 'm') AND a.attnum > 0 AND a.atttypid::regtype::text IN ('oid', 'lo');
-- Every definer function pins its search_path.
SELECT p.oid::regprocedure AS without_search_path FROM pg_proc AS p
    WHERE p.pronamespace = 'runbook'::regnamespace AND p.prosecdef AND NOT coalesce(p.proconfig::text ~ 'search_path=pg_catalog', false);
-- Out again: deactivated, the extension can be dropped.
SELECT runbook.deactivate(' ');
SELECT runbook.deactivate('end of the tests');
SELECT runbook.deactivate('again');
DROP EXTENSION pg_runbook;
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'runbook');
