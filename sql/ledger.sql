-- The ledger is append-only for everybody, superusers and replication roles included, as far as triggers reach.

CREATE FUNCTION runbook.refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'insufficient_privilege',
        MESSAGE = pg_catalog.format('the ledger is append-only: %s on runbook.%I is refused', TG_OP, TG_TABLE_NAME),
        DETAIL = 'Entries are evidence; nobody may change or remove them.',
        HINT = 'To correct a mistake, do the right thing now: it will be recorded too.';
END
$$;
COMMENT ON FUNCTION runbook.refuse_change() IS 'Keeps the ledger append-only.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON runbook.entry
    FOR EACH STATEMENT EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only;
COMMENT ON TRIGGER append_only ON runbook.entry IS 'Keeps the ledger append-only.';

-- Statement triggers of a child don't fire when its parent is changed; row triggers do.
CREATE TRIGGER append_only_row BEFORE UPDATE OR DELETE ON runbook.entry
    FOR EACH ROW EXECUTE FUNCTION runbook.refuse_change();
ALTER TABLE runbook.entry ENABLE ALWAYS TRIGGER append_only_row;
COMMENT ON TRIGGER append_only_row ON runbook.entry IS 'Keeps the ledger append-only when it is reached through inheritance.';

CREATE FUNCTION runbook.payload_or_null(payload text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN payload::jsonb;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION runbook.payload_or_null(text) IS 'A payload as jsonb; NULL if it is not JSON.';

CREATE FUNCTION runbook.verify_ledger(
    OUT ok boolean, OUT entries bigint, OUT bad bigint, OUT first_bad uuid, OUT problem text
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, runbook, pg_temp
AS $$
    WITH checked AS (
        SELECT e.entry_id, e.recorded_at,
            CASE
                WHEN pg_catalog.sha256('\x00'::bytea || pg_catalog.convert_to(e.payload, 'UTF8')) <> e.leaf_hash
                    THEN 'the payload does not match its leaf hash'
                WHEN j.payload IS NULL
                    THEN 'the payload is not JSON'
                WHEN j.payload ->> 'entry_id' IS DISTINCT FROM e.entry_id::text
                    THEN 'column entry_id differs from the payload'
                WHEN j.payload ->> 'kind' IS DISTINCT FROM e.kind
                    THEN 'column kind differs from the payload'
                WHEN (j.payload ->> 'recorded_at')::timestamptz IS DISTINCT FROM e.recorded_at
                    THEN 'column recorded_at differs from the payload'
            END AS problem
        FROM runbook.entry AS e
        CROSS JOIN LATERAL (SELECT runbook.payload_or_null(e.payload) AS payload) AS j
    ), worst AS (
        SELECT c.entry_id, c.problem FROM checked AS c WHERE c.problem IS NOT NULL
        ORDER BY c.recorded_at, c.entry_id LIMIT 1
    )
    SELECT pg_catalog.count(c.problem) = 0, pg_catalog.count(*), pg_catalog.count(c.problem),
        (SELECT w.entry_id FROM worst AS w), (SELECT w.problem FROM worst AS w)
    FROM checked AS c
$$;
COMMENT ON FUNCTION runbook.verify_ledger() IS
    'Recomputes every leaf hash. Finds changed entries; removed ones are found by checkpoints, which this version does not have yet.';

CREATE VIEW runbook.ledger AS
    SELECT
        NULL::bigint AS position,
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
    FROM runbook.entry AS e
    CROSS JOIN LATERAL (SELECT runbook.payload_or_null(e.payload) AS payload) AS j
    ORDER BY e.recorded_at, e.entry_id;
COMMENT ON VIEW runbook.ledger IS 'The ledger, oldest first. "position" is NULL until an entry is sealed.';
