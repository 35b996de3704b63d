-- Policy as data: environments, patterns, roles, windows. Every change is in the ledger with the old and the new value.
CREATE EXTENSION pg_runbook;
CREATE ROLE dave LOGIN;
CREATE ROLE eve LOGIN;
CREATE ROLE root LOGIN;
CREATE ROLE fire LOGIN;
CREATE ROLE billing_dba NOLOGIN;
GRANT runbook_author TO dave;
GRANT runbook_approver, billing_dba TO eve;
GRANT runbook_admin TO root;
GRANT runbook_break_glass TO fire;
SELECT runbook.configure('migration_role', 'app_owner');
SELECT runbook.activate();
CREATE SCHEMA billing AUTHORIZATION app_owner;
SET ROLE app_owner;
CREATE TABLE billing.invoices (id int, note text);
CREATE TABLE billing.tmp_import (id int);
RESET ROLE;
\c - root
SELECT class, verdict, approvals, source FROM runbook.policy;
SELECT runbook.configure('preset', 'moon');
SELECT runbook.configure('preset', 'production');
SELECT class, verdict, approvals, source FROM runbook.policy;
-- Raising is free, lowering needs a permit that somebody else approves.
SELECT runbook.set_policy('destructive', 'require_approval', 3);
SELECT runbook.set_policy('destructive', 'default');
SELECT runbook.request_permit('SELECT runbook.configure(''preset'', ''staging'')', 'it is a rehearsal') AS permit \gset
SELECT status, requested_by, statement, needs FROM runbook.permits;
\c - eve
SELECT kind, requested_by, message, would FROM runbook.inbox();
SELECT runbook.approve_permit(:'permit', 'fine');
SELECT kind, message FROM runbook.inbox();
\c - root
SELECT status, needs FROM runbook.permits;
SELECT runbook.configure('preset', 'staging');
SELECT status, needs FROM runbook.permits;
-- Patterns: the most specific decides; an approver role of its own.
SELECT runbook.set_policy('destructive', 'require_approval', 1, 'billing', 'billing_dba');
SELECT runbook.set_policy('destructive', 'allow', 0, 'billing.tmp_*');
SELECT runbook.set_policy('destructive', 'allow', 0, 'billing..x');
SELECT runbook.set_policy('destructive', 'require_approval', 1, 'billing', 'nobody_here');
SELECT class, objects, verdict, approvals, approver_role, source FROM runbook.policy WHERE class = 'destructive';
\c - postgres
DROP TABLE billing.tmp_import;
DROP TABLE billing.invoices;
\c - dave
SELECT runbook.submit('{"revision": "b001", "message": "no notes", "upgrade": "ALTER TABLE billing.invoices DROP COLUMN note"}');
\c - bob
SELECT length(runbook.approve('b001', 'looks fine to me'));
\c - app
SELECT needs FROM runbook.plan();
SELECT runbook.upgrade('head');
\c - eve
SELECT id, would, needs, command ~ '^SELECT runbook.approve\(''b001'', ''COMMENT'', ''[0-9a-f]{64}''\);$' AS command FROM runbook.inbox();
SELECT length(runbook.approve('b001', 'my tables', fingerprint => runbook.fingerprint()));
SELECT revision, approver, counts, void_reason, upgrade_manifest -> 'actions' -> 0 ->> 'verb' AS verb,
    (upgrade_manifest -> 'actions' -> 0 -> 'identity' -> 'is' ->> 'object')::oid::regclass AS bound_to FROM runbook.approvals;
\c - app
SELECT runbook.upgrade('head');
-- Maintenance windows.
\c - root
SELECT runbook.set_maintenance_window('w', ARRAY['nonsense'], 'daily', '00:00', '01:00', 'UTC');
SELECT runbook.set_maintenance_window('w', ARRAY['blocking'], 'someday', '00:00', '01:00', 'UTC');
SELECT runbook.set_maintenance_window('w', ARRAY['blocking'], 'daily', '25:00', '01:00', 'UTC');
SELECT runbook.set_maintenance_window('w', ARRAY['blocking'], 'daily', '00:00', '01:00', 'Mars');
SELECT runbook.set_maintenance_window('nights', ARRAY['blocking'], 'daily', '00:00', '00:00', 'Europe/Berlin');
SELECT * FROM runbook.maintenance_windows;
\c - postgres
CREATE INDEX ON billing.invoices (id);
-- Open around the clock until here; now for one minute, twelve hours from now.
SELECT runbook.set_maintenance_window('nights', ARRAY['blocking'], 'daily', to_char(now() AT TIME ZONE 'UTC' + interval '12 hours', 'HH24:MI'),
    to_char(now() AT TIME ZONE 'UTC' + interval '12 hours 1 minute', 'HH24:MI'), 'UTC');
\set VERBOSITY terse
CREATE INDEX ON billing.invoices (id);
\set VERBOSITY default
CREATE TABLE billing.additive ();
SELECT runbook.drop_maintenance_window('nights');
SELECT runbook.drop_maintenance_window('nights');
CREATE INDEX ON billing.invoices (id);
-- The ledger has all of it.
SELECT payload::jsonb - '{entry_id,recorded_at,kind,current_role,application,xid,v,permit,old_rules,new_rules}'::text[] AS change
    FROM runbook.ledger WHERE kind = 'policy.changed' AND payload::jsonb ->> 'window' IS NULL ORDER BY recorded_at;
