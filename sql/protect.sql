-- Protected tables: triggers that work without preloading, and for what logical replication applies.

CREATE FUNCTION runbook.guard_rows() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_rows';
COMMENT ON FUNCTION runbook.guard_rows() IS 'Counts the rows that a transaction changes in a protected table.';

CREATE FUNCTION runbook.guard_truncate() RETURNS trigger LANGUAGE c AS 'MODULE_PATHNAME', 'runbook_guard_truncate';
COMMENT ON FUNCTION runbook.guard_truncate() IS 'Judges that a protected table is about to be emptied.';

-- Nobody but the extension calls these two. The table itself and, each for itself, what belongs to it: statement triggers
-- of a parent say nothing of its partitions; row triggers of a partitioned table are made on every partition by PostgreSQL.
CREATE FUNCTION runbook.drop_triggers(protected oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE one record;
BEGIN
    FOR one IN
        WITH RECURSIVE tree (id) AS (
            SELECT protected UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree AS t ON t.id = i.inhparent)
        SELECT t.id::pg_catalog.regclass AS name, g.tgname FROM tree AS t JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = t.id
        WHERE g.tgname IN ('a_runbook_rows', 'a_runbook_truncate') AND g.tgparentid = 0
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', one.tgname, one.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION runbook.drop_triggers(oid) IS 'Drops the triggers of a protected table.';

CREATE FUNCTION runbook.make_triggers(protected oid, max_rows bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE one record;
BEGIN
    PERFORM runbook.drop_triggers(protected);
    FOR one IN
        WITH RECURSIVE tree (id) AS (
            SELECT protected UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree AS t ON t.id = i.inhparent)
        SELECT c.oid::pg_catalog.regclass AS name, c.relispartition AND c.oid <> protected AS is_partition
        FROM tree AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.id WHERE c.relkind IN ('r', 'p')
    LOOP
        EXECUTE pg_catalog.format('CREATE TRIGGER a_runbook_truncate BEFORE TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION runbook.guard_truncate()', one.name);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER a_runbook_truncate', one.name);
        IF max_rows IS NOT NULL AND NOT one.is_partition THEN
            EXECUTE pg_catalog.format('CREATE TRIGGER a_runbook_rows BEFORE DELETE OR UPDATE ON %s '
                'FOR EACH ROW EXECUTE FUNCTION runbook.guard_rows(%L, %L)', one.name, max_rows, protected);
        END IF;
    END LOOP;
    FOR one IN
        WITH RECURSIVE tree (id) AS (
            SELECT protected UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN tree AS t ON t.id = i.inhparent)
        SELECT t.id::pg_catalog.regclass AS name FROM tree AS t JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = t.id
        WHERE g.tgname = 'a_runbook_rows'
    LOOP
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER a_runbook_rows', one.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION runbook.make_triggers(oid, bigint) IS 'Creates the triggers of a protected table.';

-- What has been attached to a protected table, or made an heir of it, is protected with it.
CREATE FUNCTION runbook.extend_protection(parent oid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE root oid; max_rows bigint;
BEGIN
    WITH RECURSIVE up (id, depth) AS (
        SELECT parent, 0 UNION SELECT i.inhparent, u.depth + 1 FROM pg_catalog.pg_inherits AS i JOIN up AS u ON i.inhrelid = u.id)
    SELECT u.id INTO root FROM up AS u JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = u.id AND g.tgname = 'a_runbook_truncate'
    ORDER BY u.depth DESC LIMIT 1;
    IF root IS NOT NULL THEN
        SELECT v.max_rows INTO max_rows FROM runbook.protected_tables AS v WHERE v."table" = root;
        PERFORM runbook.make_triggers(root, max_rows);
    END IF;
END
$$;
COMMENT ON FUNCTION runbook.extend_protection(oid) IS 'Protects what has come to belong to a protected table.';

CREATE VIEW runbook.protected_tables AS
    SELECT e.tgrelid::regclass AS "table",
        pg_catalog.split_part(pg_catalog.encode(r.tgargs, 'escape'), E'\\000', 1)::bigint AS max_rows,
        e.tgenabled = 'A' AND r.tgenabled IS NOT DISTINCT FROM CASE WHEN r.oid IS NOT NULL THEN 'A'::"char" END AS enabled
    FROM pg_catalog.pg_trigger AS e
    JOIN pg_catalog.pg_proc AS p ON p.oid = e.tgfoid AND p.prosrc = 'runbook_guard_truncate'
    LEFT JOIN pg_catalog.pg_trigger AS r ON r.tgrelid = e.tgrelid AND r.tgname = 'a_runbook_rows'
    WHERE e.tgname = 'a_runbook_truncate';
COMMENT ON VIEW runbook.protected_tables IS 'Tables that runbook.protect_table() protects, and how many rows a transaction may change in each.';
