-- What is approved before it exists: a chain is approved as a whole, then applied, reverted and applied again.
\c - root
SELECT runbook.set_policy('destructive', 'default');
\c - dave
SELECT runbook.submit(j) FROM jsonb_array_elements('[
  {"revision": "c001", "parents": ["b001"], "message": "create",
   "upgrade": "CREATE TABLE parcels (id serial PRIMARY KEY, total int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 1''",
   "downgrade": "DROP FUNCTION f(); DROP TABLE parcels"},
  {"revision": "c002", "parents": ["c001"], "message": "add a column with a sequence",
   "upgrade": "ALTER TABLE parcels ADD COLUMN number serial", "downgrade": "ALTER TABLE parcels DROP COLUMN number"},
  {"revision": "c003", "parents": ["c002"], "message": "partitions",
   "upgrade": "CREATE TABLE journal (at date) PARTITION BY RANGE (at); CREATE TABLE journal_2026 PARTITION OF journal FOR VALUES FROM (''2026-01-01'') TO (''2027-01-01'')",
   "downgrade": "DROP TABLE journal"},
  {"revision": "c004", "parents": ["c003"], "message": "swap and drop in one revision",
   "upgrade": "CREATE TABLE parcels_new (id int, total int); ALTER TABLE parcels RENAME TO parcels_old; ALTER TABLE parcels_new RENAME TO parcels; ALTER TABLE parcels ADD COLUMN tmp int; ALTER TABLE parcels DROP COLUMN tmp; DROP TABLE parcels_old",
   "downgrade": null, "irreversible_reason": "the old rows are gone"}]') AS j;
\c - bob
SELECT count(runbook.approve(id)) FROM unnest(ARRAY['c001', 'c002', 'c003', 'c004']) AS id;
\c - app
SELECT runbook.upgrade('c003');
SELECT runbook.downgrade('b001');
SELECT runbook.upgrade('head');
\d parcels
-- A temporary table is nobody's business; what the revision itself makes, it may drop.
\c - dave
SELECT runbook.submit('{"revision": "c005", "parents": ["c004"],
   "upgrade": "CREATE TEMP TABLE t (id serial); DROP TABLE t; CREATE TABLE made (id serial); DO $$ BEGIN EXECUTE ''DROP TABLE made''; END $$"}');
\c - bob
SELECT length(runbook.approve('c005'));
\c - app
SELECT runbook.upgrade('head');
-- Approved once, both ways: renames, a column that is dropped and added again, a routine that is replaced; in production.
\c - root
SELECT runbook.configure('preset', 'production');
SELECT runbook.set_policy('destructive', 'require_approval', 1);
\c - postgres
SET client_min_messages = error;
SELECT runbook.break_glass('a test wants one approval') IS NOT NULL AS broken;
SELECT runbook.set_policy('destructive', 'require_approval', 1);
SELECT runbook.close_break_glass();
\c - dave
SELECT runbook.submit(j) FROM jsonb_array_elements('[
  {"revision": "e001", "parents": ["c005"], "message": "rename",
   "upgrade": "ALTER TABLE parcels RENAME COLUMN total TO amount; ALTER TABLE parcels RENAME TO packets",
   "downgrade": "ALTER TABLE packets RENAME TO parcels; ALTER TABLE parcels RENAME COLUMN amount TO total"},
  {"revision": "e002", "parents": ["e001"], "message": "another type by drop and add",
   "upgrade": "ALTER TABLE packets DROP COLUMN amount; ALTER TABLE packets ADD COLUMN amount bigint; ALTER TABLE packets ALTER COLUMN amount SET NOT NULL",
   "downgrade": "ALTER TABLE packets DROP COLUMN amount; ALTER TABLE packets ADD COLUMN amount int"},
  {"revision": "e003", "parents": ["e002"], "message": "replace",
   "upgrade": "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 2''; CREATE OR REPLACE FUNCTION g() RETURNS int LANGUAGE sql AS ''SELECT 3''; ALTER TABLE packets SET SCHEMA billing",
   "downgrade": "ALTER TABLE billing.packets SET SCHEMA public; DROP ROUTINE g(); CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS ''SELECT 1''"}]') AS j;
\c - bob
SELECT runbook.approve('e001') IS NOT NULL, runbook.approve('e002') IS NOT NULL, runbook.approve('e003') IS NOT NULL;
-- The way back moves a table out of where those who protect it have a say.
\c - app
SELECT runbook.upgrade('head');
SELECT runbook.downgrade('c005');
\c - eve
SELECT runbook.approve('e003') IS NOT NULL;
\c - app
SELECT runbook.upgrade('head');
SELECT runbook.downgrade('c005');
-- What goes with its own relation is no decision of its own: constraints, rules, triggers, policies.
\c - dave
SELECT runbook.submit(j) FROM jsonb_array_elements('[
  {"revision": "e004", "parents": ["c005"], "message": "create",
   "upgrade": "CREATE TABLE k1 (id int PRIMARY KEY, up int REFERENCES k1, v int CHECK (v > 0)); CREATE TABLE k2 (k int REFERENCES k1); CREATE VIEW w AS SELECT 1 AS one; CREATE MATERIALIZED VIEW mv AS SELECT id FROM k1; CREATE DOMAIN d AS int CONSTRAINT c CHECK (VALUE > 0); CREATE TABLE pp (a int, b int CONSTRAINT ck CHECK (b > 0)) PARTITION BY LIST (a); CREATE TABLE pp1 PARTITION OF pp FOR VALUES IN (1); ALTER TABLE k1 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON k1 USING (v > 1); CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NEW; END''; CREATE TRIGGER tr BEFORE UPDATE OF v ON k1 FOR EACH ROW WHEN (NEW.v > 0) EXECUTE FUNCTION t()",
   "downgrade": "DROP TABLE k2"},
  {"revision": "e005", "parents": ["e004"], "message": "and drop",
   "upgrade": "DROP MATERIALIZED VIEW mv; DROP VIEW w; ALTER TABLE pp DROP CONSTRAINT ck; ALTER DOMAIN d DROP CONSTRAINT c; DROP TABLE k2, k1; DROP TABLE pp",
   "downgrade": null}]') AS j;
\c - bob
SELECT runbook.approve('e004') IS NOT NULL, runbook.approve('e005') IS NOT NULL;
\c - app
SELECT runbook.upgrade('e005');
SELECT runbook.stamp('c005', true);
-- A chain that is approved as a whole: partitions made by later revisions, a column that is renamed and dropped, a function
-- named like a table, IF NOT EXISTS.
\c - dave
SELECT runbook.submit(j) FROM jsonb_array_elements('[
  {"revision": "f001", "parents": ["c005"], "message": "parent",
   "upgrade": "CREATE TABLE ev (at date, v int) PARTITION BY RANGE (at); CREATE TABLE old_t (a int)", "downgrade": "DROP TABLE old_t; DROP TABLE ev"},
  {"revision": "f002", "parents": ["f001"], "message": "a partition and a column",
   "upgrade": "CREATE TABLE ev1 PARTITION OF ev FOR VALUES FROM (''2026-01-01'') TO (''2027-01-01''); ALTER TABLE old_t ADD COLUMN c int", "downgrade": ""},
  {"revision": "f003", "parents": ["f002"], "message": "what is there goes",
   "upgrade": "TRUNCATE ev; ALTER TABLE ev DROP COLUMN v; ALTER TABLE old_t RENAME COLUMN c TO d; ALTER TABLE old_t DROP COLUMN d; CREATE FUNCTION ev() RETURNS int LANGUAGE sql AS ''SELECT 1''; DROP TABLE ev; CREATE TABLE IF NOT EXISTS old_t (a int); DROP TABLE old_t",
   "downgrade": null}]') AS j;
\c - bob
SELECT count(runbook.approve(id)) FROM unnest(ARRAY['f001', 'f002', 'f003']) AS id;
\c - app
SELECT runbook.upgrade('f003');
SELECT runbook.stamp('c005', true);
\c - postgres
CREATE TEMP VIEW vv AS SELECT 1; DROP VIEW vv;
CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 2';
\c - app
-- The way forth again is another matter: the approval was for another column. (The message names OIDs.)
\set VERBOSITY sqlstate
SELECT runbook.upgrade('e001');
\set VERBOSITY default
\c - carol
SELECT ok, bad FROM runbook.verify_ledger();
\c - postgres
SELECT count(*) AS open_to_public FROM pg_proc AS p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
    WHERE p.pronamespace IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace) AND a.grantee = 0;
SET client_min_messages = error;
SELECT runbook.break_glass('the end of the tests') IS NOT NULL AS broken;
SELECT runbook.deactivate('end of the tests');
DROP EXTENSION pg_runbook;
