-- Event triggers. Names sort early, so that they decide before other extensions' triggers act. They are inert until
-- runbook.activate() is called in this very database.

CREATE EVENT TRIGGER a_runbook_command_start ON ddl_command_start EXECUTE FUNCTION runbook_internal.guard_command_start();
ALTER EVENT TRIGGER a_runbook_command_start ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_command_start IS 'pg_runbook: refuses what policy does not allow, before any lock';

CREATE EVENT TRIGGER a_runbook_sql_drop ON sql_drop EXECUTE FUNCTION runbook_internal.guard_sql_drop();
ALTER EVENT TRIGGER a_runbook_sql_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_sql_drop IS 'pg_runbook: checks what was really dropped, cascades included';

CREATE EVENT TRIGGER a_runbook_table_rewrite ON table_rewrite EXECUTE FUNCTION runbook_internal.guard_table_rewrite();
ALTER EVENT TRIGGER a_runbook_table_rewrite ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_table_rewrite IS 'pg_runbook: checks tables that are about to be rewritten';

CREATE EVENT TRIGGER a_runbook_command_end ON ddl_command_end EXECUTE FUNCTION runbook_internal.guard_command_end();
ALTER EVENT TRIGGER a_runbook_command_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER a_runbook_command_end IS 'pg_runbook: records DDL outside revisions in the ledger';

-- The mark that other databases of the cluster read; see guard/cluster.rs. Nobody but the extension calls it.
CREATE FUNCTION runbook_internal.mark_guarded(value text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL THEN
        EXECUTE pg_catalog.format('ALTER DATABASE %I RESET runbook.guarded', pg_catalog.current_database());
    ELSE
        EXECUTE pg_catalog.format('ALTER DATABASE %I SET runbook.guarded = %L', pg_catalog.current_database(), value);
    END IF;
END
$$;
COMMENT ON FUNCTION runbook_internal.mark_guarded(text) IS 'Marks this database as guarded for the rest of the cluster.';

-- Nobody but the extension writes to its tables while the guard is active. And every session keeps in memory what the rules
-- of the guard say, until it is told that one of them has changed. Logical replication fires the triggers for rows alone.
CREATE FUNCTION runbook_internal.guard_own_table() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_own_table';
COMMENT ON FUNCTION runbook_internal.guard_own_table() IS 'While the guard is active, lets only the extension write to its tables; tells every session when rules of the guard have changed.';
-- Every table of ours has the same two.
DO $$
DECLARE
    own pg_catalog.regclass;
BEGIN
    FOR own IN
        SELECT c.oid FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace OPERATOR(pg_catalog.=) 'runbook'::pg_catalog.regnamespace AND c.relkind OPERATOR(pg_catalog.=) 'r'
        ORDER BY c.relname USING OPERATOR(pg_catalog.<)
    LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
            FOR EACH STATEMENT EXECUTE FUNCTION runbook_internal.guard_own_table()', own);
        EXECUTE pg_catalog.format('CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON %s
            FOR EACH ROW EXECUTE FUNCTION runbook_internal.guard_own_table()', own);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER a_runbook_own', own);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER a_runbook_own_row', own);
    END LOOP;
END
$$;
