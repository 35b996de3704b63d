-- Inert until activated.
CREATE TABLE early (); DROP TABLE early;
SELECT layer, active FROM runbook.guard_status();
SELECT runbook.activate();
SELECT runbook.activate();
SELECT layer, active FROM runbook.guard_status();

-- Refused, whoever asks and however it is dressed, before any lock.
CREATE TABLE public.stock (id int PRIMARY KEY, amount int, note text);
CREATE MATERIALIZED VIEW stock_total AS SELECT sum(amount) FROM stock;
CREATE SCHEMA warehouse CREATE TABLE boxes ();
CREATE SEQUENCE counter;
DROP TABLE stock;
drop /* comment */ table "public"."stock" cascade;
DO $$ BEGIN EXECUTE 'DROP TABLE stock'; END $$;
ALTER TABLE stock DROP COLUMN note;
ALTER TABLE stock ADD COLUMN extra int, DROP note;
ALTER TABLE stock ALTER COLUMN note TYPE int USING NULL;
ALTER TABLE stock ALTER COLUMN note TYPE char(1) USING note::char(1);
DROP MATERIALIZED VIEW stock_total;
DROP SCHEMA warehouse CASCADE;
DROP SEQUENCE counter;
DROP EXTENSION pg_runbook CASCADE;
DROP SCHEMA runbook CASCADE;
DROP OWNED BY app_owner;
CREATE TYPE colour AS ENUM ('red');
ALTER TABLE stock ADD COLUMN colour colour;
DROP TYPE colour CASCADE;
BEGIN; SAVEPOINT s; DROP TABLE stock; ROLLBACK TO s; SELECT count(*) FROM stock; COMMIT;
\d stock
-- Swallowing the error doesn't help.
DO $$ BEGIN DROP TABLE stock; EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'swallowed'; END $$;
SELECT count(*) AS still_there FROM pg_class WHERE relname = 'stock';

-- Not disturbed.
CREATE INDEX ON stock (amount);
ALTER TABLE stock ALTER COLUMN id TYPE bigint;
ALTER TABLE stock ALTER COLUMN note TYPE varchar;
ALTER TABLE stock RENAME COLUMN note TO remark;
CREATE TEMP TABLE scratch (id int); DROP TABLE scratch;
CREATE TEMP TABLE stock (id int); ALTER TABLE pg_temp.stock DROP COLUMN id; DROP TABLE pg_temp.stock;
CREATE VIEW v AS SELECT 1; DROP VIEW v;
DROP TABLE nosuch;
ALTER TABLE stock ADD COLUMN oops nosuch;

-- Policy decides.
SELECT * FROM runbook.policy;
SELECT runbook.set_policy('breaking', 'deny');
ALTER TABLE stock RENAME COLUMN remark TO note;
SELECT runbook.set_policy('breaking', 'record');
SELECT runbook.set_policy('nonsense', 'deny');
SELECT runbook.set_policy('breaking', 'perhaps');
-- Record mode lets it pass and says so in the ledger.
SET runbook.mode = 'record';
DROP SEQUENCE counter;
RESET runbook.mode;
SELECT kind, tag, objects -> 0 ->> 'identity' AS object, verdict FROM runbook.ledger WHERE kind = 'ddl.would_block';
\c - mallory
SET runbook.mode = 'off';
SELECT runbook.deactivate('let me');
\c - postgres
SELECT kind, session_role, tag, objects -> 0 ->> 'identity' AS object, statement FROM runbook.ledger WHERE kind = 'ddl.blocked';
