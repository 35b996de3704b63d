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

-- The mark that other databases of the cluster read; see guard/cluster.rs. Nobody but the extension calls it.
CREATE FUNCTION runbook.mark_guarded(value text) RETURNS void
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
COMMENT ON FUNCTION runbook.mark_guarded(text) IS 'Marks this database as guarded for the rest of the cluster.';

-- Nobody but the extension writes to its tables while the guard is active. And every session keeps in memory what the rules
-- of the guard say, until it is told that one of them has changed. Logical replication fires the triggers for rows alone.
CREATE FUNCTION runbook.guard_own_table() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_own_table';
COMMENT ON FUNCTION runbook.guard_own_table() IS 'Refuses writes to the runbook''s own tables, and tells every session when the rules of the guard have changed.';
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.activation
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.activation ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.activation
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.activation ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.applied_head
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.applied_head ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.applied_head
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.applied_head ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.approval
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.approval ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.approval
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.approval ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.branch_label
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.branch_label ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.branch_label
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.branch_label ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.code_change
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.code_change ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.code_change
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.code_change ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.entry
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.entry
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.made
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.made ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.made
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.made ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.maintenance_window
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.maintenance_window ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.maintenance_window
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.maintenance_window ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.permit
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.permit ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.permit
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.permit ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.permit_decision
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.permit_decision ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.permit_decision
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.permit_decision ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.policy_rule
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.policy_rule ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.policy_rule
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.policy_rule ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.revision
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.revision ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.revision
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.revision ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.setting
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.setting ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.setting
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.setting ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.state
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.state ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.state
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.state ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.tile
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.tile ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.tile
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.tile ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.unsealed
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.unsealed
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.backfill
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.backfill ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.backfill
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.backfill ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.built
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.built ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.built
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.built ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.job
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.job ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.job
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.job ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.job_step
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.job_step ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.job_step
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.job_step ENABLE ALWAYS TRIGGER a_runbook_own_row;
CREATE TRIGGER a_runbook_own BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON runbook.statement_progress
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.statement_progress ENABLE ALWAYS TRIGGER a_runbook_own;
CREATE TRIGGER a_runbook_own_row BEFORE INSERT OR UPDATE OR DELETE ON runbook.statement_progress
    FOR EACH ROW EXECUTE FUNCTION runbook.guard_own_table();
ALTER TABLE runbook.statement_progress ENABLE ALWAYS TRIGGER a_runbook_own_row;
