-- Permits: one statement, once, by the login that asked; and break-glass.
CREATE ROLE dba LOGIN;
GRANT app_owner, runbook_operator TO dba;
SET ROLE app_owner;
CREATE TABLE billing.stock (id serial, note text);
RESET ROLE;
\c - dba
SELECT runbook.request_permit('DROP TABLE billing.stock', ' ');
SELECT runbook.request_permit('DROP TABLE billing.stock; DROP TABLE billing.invoices', 'both');
SELECT runbook.request_permit('DO $$ BEGIN EXECUTE ''DROP TABLE billing.stock''; END $$', 'hidden');
SELECT runbook.request_permit('CREATE TABLE billing.fine ()', 'needs none');
SELECT runbook.request_permit('DROP TABLE billing.nosuch', 'not there');
SELECT runbook.request_permit('DROP TABEL billing.stock', 'misspelt');
SELECT runbook.request_permit('DROP TABLE billing.stock', 'for long', '1 year');
SELECT runbook.request_permit('drop table /* old */ billing.stock', 'replaced by warehouse.stock') AS permit \gset
\set VERBOSITY terse
DROP TABLE billing.stock;
\set VERBOSITY default
\c - bob
SELECT kind, requested_by, message, would FROM runbook.inbox();
SELECT runbook.approve_permit(substr(:'permit', 1, 6), 'I looked');
SELECT runbook.approve_permit('nosuch');
\c - dba
-- The rule for billing asks for another role.
SELECT status, needs FROM runbook.permits WHERE permit = :'permit';
\c - eve
SELECT runbook.approve_permit(:'permit', 'mine to say');
\c - dba
SELECT status, needs FROM runbook.permits WHERE permit = :'permit';
-- Rolled back, it is as good as new; another text for the same thing is fine; then it is used up.
BEGIN; DROP TABLE billing.stock; ROLLBACK;
SELECT status FROM runbook.permits WHERE permit = :'permit';
DROP   TABLE billing . STOCK;
SELECT status FROM runbook.permits WHERE permit = :'permit';
\c - postgres
SELECT kind, permit = :'permit' AS same, objects -> 0 ->> 'identity' AS object FROM runbook.ledger
    WHERE permit = :'permit' ORDER BY recorded_at;

-- Break-glass: this session, for a time, marked.
\c - fire
SELECT runbook.break_glass('');
SELECT runbook.break_glass('the disk is full', '2 hours');
SELECT runbook.close_break_glass();
\set VERBOSITY terse
SET client_min_messages = error; -- The warning says until when.
SELECT runbook.break_glass('the disk is full') IS NOT NULL AS broken;
RESET client_min_messages;
\set VERBOSITY default
SELECT layer, active, detail ~ 'THE GLASS IS BROKEN: fire \(pid \d+\) until .*: "the disk is full"' AS loud FROM runbook.guard_status()
    WHERE layer = 'break_glass';
CREATE TEMP TABLE t ();
SELECT runbook.close_break_glass();
SELECT count(*) FROM runbook.guard_status() WHERE layer = 'break_glass';
\c - postgres
\set VERBOSITY terse
SET client_min_messages = error;
SELECT runbook.break_glass('a rolled back fire') IS NOT NULL AS broken;
RESET client_min_messages;
\set VERBOSITY default
CREATE TABLE billing.fuel (id int);
BEGIN; DROP TABLE billing.fuel; ROLLBACK;
DROP TABLE billing.fuel;
SELECT runbook.set_policy('control', 'deny');
SELECT runbook.set_policy('control', 'default');
SELECT runbook.close_break_glass();
CREATE TABLE billing.fuel (id int);
DROP TABLE billing.fuel;
SELECT kind, tag, payload::jsonb ? 'break_glass' AS marked, reason FROM runbook.ledger
    WHERE recorded_at >= (SELECT max(recorded_at) FROM runbook.ledger WHERE kind = 'break_glass.opened') ORDER BY recorded_at;
