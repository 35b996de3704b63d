-- The ledger is append-only for everybody, superusers and replication roles included, as far as triggers reach.

CREATE FUNCTION runbook_internal.refuse_change() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_refuse_change';
COMMENT ON FUNCTION runbook_internal.refuse_change() IS 'Keeps the ledger append-only.';

-- Statement triggers of a child don't fire when its parent is changed; row triggers do. Rows leave runbook.unsealed when they are
-- sealed, and runbook.entry when they are archived, by the extension's own hand alone.
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.unsealed
    FOR EACH STATEMENT EXECUTE FUNCTION runbook_internal.refuse_change();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.unsealed IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.unsealed
    FOR EACH ROW EXECUTE FUNCTION runbook_internal.refuse_change();
ALTER TABLE runbook.unsealed ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.unsealed IS 'Keeps the ledger append-only when it is reached through inheritance.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.entry
    FOR EACH STATEMENT EXECUTE FUNCTION runbook_internal.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.entry IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.entry
    FOR EACH ROW EXECUTE FUNCTION runbook_internal.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.entry IS 'Keeps the ledger append-only when it is reached through inheritance.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.tile
    FOR EACH STATEMENT EXECUTE FUNCTION runbook_internal.refuse_change();
ALTER TABLE runbook.tile ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.tile IS 'Keeps the ledger append-only.';
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.tile
    FOR EACH ROW EXECUTE FUNCTION runbook_internal.refuse_change();
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
    CROSS JOIN LATERAL (SELECT runbook_internal.payload_or_null(e.payload) AS payload OFFSET 0) AS j;
COMMENT ON VIEW runbook.ledger IS 'All entries of the ledger that are not archived. Sort them with ORDER BY position NULLS LAST. The columns from session_role to reason are read from payload, and are NULL if it has no such member.';
COMMENT ON COLUMN runbook.ledger.position IS 'Number of the entry in the Merkle tree, from 0 without a gap; NULL until the entry is sealed';
COMMENT ON COLUMN runbook.ledger.epoch IS 'Epoch of the ledger in which the entry was sealed, from 1; the current epoch if it is not sealed';
COMMENT ON COLUMN runbook.ledger.entry_id IS 'UUID (version 7) of the entry';
COMMENT ON COLUMN runbook.ledger.recorded_at IS 'Wall-clock time of the entry, precise to the microsecond';
COMMENT ON COLUMN runbook.ledger.kind IS 'What the entry is about, such as ddl.blocked; docs/entries.md lists all kinds';
COMMENT ON COLUMN runbook.ledger.session_role IS 'Login of the session (session_user)';
COMMENT ON COLUMN runbook.ledger."current_role" IS 'Role in effect';
COMMENT ON COLUMN runbook.ledger.client_addr IS 'Address of the client; NULL for a Unix-domain socket';
COMMENT ON COLUMN runbook.ledger.application IS 'application_name, as the client claims it; NULL if it is empty';
COMMENT ON COLUMN runbook.ledger.xid IS '64-bit id of the transaction; NULL if it had none, for example on a standby';
COMMENT ON COLUMN runbook.ledger.revision IS 'Id of the revision that the entry is about; NULL if there is none';
COMMENT ON COLUMN runbook.ledger.permit IS 'Id of the permit that the entry is about, or under which it happened; NULL if there is none';
COMMENT ON COLUMN runbook.ledger.tag IS 'Command tag of the statement, such as DROP TABLE; NULL if the entry is not about a statement';
COMMENT ON COLUMN runbook.ledger.objects IS 'JSON array of objects with action, class, identity, kind and, where known, oid; NULL if the entry lists none';
COMMENT ON COLUMN runbook.ledger.statement IS 'Text of the statement; NULL if it is not stored, for example because it can hold a password';
COMMENT ON COLUMN runbook.ledger.verdict IS 'What was decided, such as record, require_approval or deny; NULL if nothing was decided';
COMMENT ON COLUMN runbook.ledger.reason IS 'Why, in words; may be empty; NULL if the entry has no reason';
COMMENT ON COLUMN runbook.ledger.payload IS 'The complete entry as one line of canonical JSON (RFC 8785)';
COMMENT ON COLUMN runbook.ledger.leaf_hash IS 'SHA-256 over a zero byte and the bytes of payload (RFC 6962), 32 bytes';
