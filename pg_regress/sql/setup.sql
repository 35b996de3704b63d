-- The extension and a team for all tests; the harness makes the database.
CREATE EXTENSION pg_runbook;
CREATE ROLE app_owner NOLOGIN;
CREATE ROLE alice LOGIN;
CREATE ROLE bob LOGIN;
CREATE ROLE app LOGIN;
CREATE ROLE carol LOGIN;
CREATE ROLE mallory LOGIN;
GRANT runbook_author, runbook_approver TO alice;
GRANT runbook_approver TO bob;
GRANT runbook_operator TO app;
GRANT runbook_auditor TO carol;
GRANT CREATE ON SCHEMA public TO app_owner;
SELECT runbook.configure('migration_role', 'app_owner');
-- A deadline: with the defaults, a test that hangs hangs for ever.
ALTER DATABASE regress SET statement_timeout = '60s';
