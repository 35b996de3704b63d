-- Roles of the runbook. They are shared by all databases of the server, hence "if absent".
-- Nobody is a member by installation: membership is the DBA's decision.
DO $roles$
DECLARE
    wanted record;
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'pg_runbook needs a database whose encoding is UTF8',
            DETAIL = pg_catalog.format('This database uses %s; ledger payloads are canonical JSON, which is UTF-8.',
                                       pg_catalog.getdatabaseencoding()),
            HINT = 'Create the database with ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
    -- Somebody may have made a schema of our name beforehand, to own what we put into it.
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace AS n
               WHERE n.nspname OPERATOR(pg_catalog.=) 'runbook'
                 AND n.nspowner OPERATOR(pg_catalog.<>) (SELECT r.oid FROM pg_catalog.pg_roles AS r
                                                        WHERE r.rolname OPERATOR(pg_catalog.=) current_user)) THEN
        RAISE EXCEPTION USING
            ERRCODE = 'invalid_schema_name',
            MESSAGE = 'schema "runbook" exists and belongs to another role',
            DETAIL = 'Its owner could change what the extension installs there.',
            HINT = 'Check it, then DROP SCHEMA runbook; or take it over: ALTER SCHEMA runbook OWNER TO CURRENT_USER;';
    END IF;
    FOR wanted IN
        SELECT * FROM (VALUES
            ('runbook_author', 'submits revisions'),
            ('runbook_approver', 'approves and rejects revisions'),
            ('runbook_operator', 'upgrades, downgrades and stamps'),
            ('runbook_auditor', 'reads the ledger'),
            ('runbook_admin', 'activates the guard and sets policy'),
            ('runbook_break_glass', 'may set policy aside, for a reason and for a time')
        ) AS role (name, purpose)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) wanted.name::pg_catalog.name) THEN
            EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted.name);
            EXECUTE pg_catalog.format('COMMENT ON ROLE %I IS %L', wanted.name, 'pg_runbook: ' || wanted.purpose);
        END IF;
    END LOOP;
END
$roles$;

-- What nobody need call: functions of triggers, and those behind views. A schema of this name that is there already is somebody else's.
CREATE SCHEMA runbook_internal;
COMMENT ON SCHEMA runbook_internal IS 'Functions of pg_runbook that nobody need call: those of its triggers, and those behind its views.';
