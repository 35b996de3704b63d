-- Event triggers. Names sort early, so that they decide before other extensions' triggers act. They are inert until
-- runbook.activate() is called in this very database.

CREATE EVENT TRIGGER a_runbook_command_start ON ddl_command_start EXECUTE FUNCTION runbook.guard_command_start();
ALTER EVENT TRIGGER a_runbook_command_start ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_command_start IS 'pg_runbook: refuses what policy does not allow, before any lock';

CREATE EVENT TRIGGER a_runbook_sql_drop ON sql_drop EXECUTE FUNCTION runbook.guard_sql_drop();
ALTER EVENT TRIGGER a_runbook_sql_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_sql_drop IS 'pg_runbook: checks what was really dropped, cascades included';

CREATE EVENT TRIGGER a_runbook_table_rewrite ON table_rewrite EXECUTE FUNCTION runbook.guard_table_rewrite();
ALTER EVENT TRIGGER a_runbook_table_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_table_rewrite IS 'pg_runbook: checks tables that are about to be rewritten';

CREATE EVENT TRIGGER a_runbook_command_end ON ddl_command_end EXECUTE FUNCTION runbook.guard_command_end();
ALTER EVENT TRIGGER a_runbook_command_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_command_end IS 'pg_runbook: records DDL outside revisions in the ledger';
