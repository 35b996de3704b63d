-- The ledger is append-only for everybody, superusers and replication roles included, as far as triggers reach.

CREATE FUNCTION runbook.refuse_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_refuse_change';
COMMENT ON FUNCTION runbook.refuse_change() IS 'Keeps the ledger append-only.';

-- Statement triggers of a child don't fire when its parent is changed; row triggers do. Rows leave runbook.unsealed when they are
-- sealed, and runbook.entry when they are archived, by the extension's own hand alone.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.unsealed
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.unsealed IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.unsealed
    FOR EACH ROW EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.unsealed IS 'Keeps the ledger append-only when it is reached through inheritance.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.entry
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.entry IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.entry
    FOR EACH ROW EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.entry IS 'Keeps the ledger append-only when it is reached through inheritance.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.tile
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.tile ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.tile IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.tile
    FOR EACH ROW EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.tile ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.tile IS 'Keeps the ledger append-only when it is reached through inheritance.';

-- Whatever ever touched an object, in an instant.
CREATE INDEX entry_terms_idx ON runbook.entry USING gin (runbook.ledger_terms(payload));

CREATE VIEW runbook.ledger AS
    SELECT
        e.position,
        e.epoch,
        e.entry_id,
        e.recorded_at,
        e.kind,
        j.payload ->> 'session_role' AS session_role,
        j.payload ->> 'current_role' AS "current_role",
        (j.payload ->> 'client_addr')::inet AS client_addr,
        j.payload ->> 'application' AS application,
        (j.payload ->> 'xid')::xid8 AS xid,
        j.payload ->> 'revision' AS revision,
        j.payload ->> 'permit' AS permit,
        j.payload ->> 'tag' AS tag,
        j.payload -> 'objects' AS objects,
        j.payload ->> 'statement' AS statement,
        j.payload ->> 'verdict' AS verdict,
        j.payload ->> 'reason' AS reason,
        e.payload,
        e.leaf_hash
    FROM (
        SELECT s.position, s.epoch, s.entry_id, s.recorded_at, s.kind, s.payload, s.leaf_hash FROM runbook.entry AS s
        UNION ALL
        (SELECT NULL, COALESCE((SELECT l.epoch FROM runbook.entry AS l ORDER BY l.position DESC LIMIT 1), 1), u.entry_id, u.recorded_at, u.kind, u.payload, u.leaf_hash FROM runbook.unsealed AS u
         ORDER BY u.recorded_at, u.entry_id)
    ) AS e
    -- OFFSET keeps the planner from reading the payload once for each column.
    CROSS JOIN LATERAL (SELECT runbook.payload_or_null(e.payload) AS payload OFFSET 0) AS j;
COMMENT ON VIEW runbook.ledger IS 'The ledger, oldest first. "position" is NULL until an entry is sealed.';
