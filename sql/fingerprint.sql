-- The state of the catalog as one hash: every schema, relation, column, constraint, index, view, trigger, rule, policy,
-- function, type and extension that is not the system's or ours. What PostgreSQL itself may change without DDL
-- (statistics, pg_attribute.attoptions, storage) is left out.

CREATE FUNCTION runbook.fingerprint() RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    WITH home AS (
        SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'runbook', 'runbook_internal')
    ), rel AS (
        SELECT c.*, h.nspname FROM pg_catalog.pg_class AS c JOIN home AS h ON h.oid = c.relnamespace
        WHERE c.relpersistence <> 't'
    ), line AS (
        SELECT pg_catalog.jsonb_build_array('schema', h.nspname, pg_catalog.pg_get_userbyid(h.nspowner), h.nspacl::text) AS it
        FROM home AS h
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('relation', r.nspname, r.relname, r.relkind, r.relpersistence,
            pg_catalog.pg_get_userbyid(r.relowner), r.relacl::text, r.reloptions::text, r.relrowsecurity, r.relforcerowsecurity,
            r.relreplident, pg_catalog.pg_get_expr(r.relpartbound, r.oid), m.amname)
        FROM rel AS r LEFT JOIN pg_catalog.pg_am AS m ON m.oid = r.relam
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('column', r.nspname, r.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
            a.attnotnull, a.attidentity, a.attgenerated, a.attacl::text, l.collname, pg_catalog.pg_get_expr(d.adbin, d.adrelid))
        FROM rel AS r
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
        LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_catalog.pg_collation AS l ON l.oid = a.attcollation
        WHERE r.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('inherits', r.nspname, r.relname, i.inhparent::pg_catalog.regclass::text, i.inhseqno)
        FROM rel AS r JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = r.oid
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('constraint', h.nspname, k.conrelid::pg_catalog.regclass::text,
            k.contypid::pg_catalog.regtype::text, k.conname, k.convalidated, pg_catalog.pg_get_constraintdef(k.oid))
        FROM pg_catalog.pg_constraint AS k JOIN home AS h ON h.oid = k.connamespace
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('index', r.nspname, r.relname, pg_catalog.pg_get_indexdef(i.indexrelid), i.indisvalid)
        FROM rel AS r JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('view', r.nspname, r.relname, pg_catalog.pg_get_viewdef(r.oid))
        FROM rel AS r WHERE r.relkind IN ('v', 'm')
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('trigger', r.nspname, r.relname, pg_catalog.pg_get_triggerdef(t.oid), t.tgenabled)
        FROM rel AS r JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = r.oid AND NOT t.tgisinternal
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('rule', r.nspname, r.relname, pg_catalog.pg_get_ruledef(w.oid), w.ev_enabled)
        FROM rel AS r JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('policy', r.nspname, r.relname, p.polname, p.polcmd, p.polpermissive,
            ARRAY(SELECT pg_catalog.pg_get_userbyid(m.oid) FROM pg_catalog.unnest(p.polroles) AS m (oid) ORDER BY 1)::text,
            pg_catalog.pg_get_expr(p.polqual, p.polrelid), pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
        FROM rel AS r JOIN pg_catalog.pg_policy AS p ON p.polrelid = r.oid
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('function', h.nspname, p.proname, p.prokind,
            pg_catalog.pg_get_function_arguments(p.oid), pg_catalog.pg_get_function_result(p.oid), l.lanname, p.prosrc, p.probin,
            pg_catalog.pg_get_function_sqlbody(p.oid), p.provolatile, p.prosecdef, p.proisstrict, p.proleakproof,
            p.proparallel, p.proconfig::text, pg_catalog.pg_get_userbyid(p.proowner), p.proacl::text)
        FROM pg_catalog.pg_proc AS p JOIN home AS h ON h.oid = p.pronamespace
        JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('type', h.nspname, t.typname, t.typtype, t.typnotnull, t.typdefault,
            pg_catalog.format_type(t.typbasetype, t.typtypmod), pg_catalog.pg_get_userbyid(t.typowner), t.typacl::text,
            ARRAY(SELECT e.enumlabel FROM pg_catalog.pg_enum AS e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)::text)
        FROM pg_catalog.pg_type AS t JOIN home AS h ON h.oid = t.typnamespace
        WHERE t.typtype IN ('e', 'd', 'r', 'm', 'b') AND NOT (t.typtype = 'b' AND t.typelem <> 0 AND t.typarray = 0)
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('extension', x.extname, x.extversion) FROM pg_catalog.pg_extension AS x
        UNION ALL
        SELECT pg_catalog.jsonb_build_array('event trigger', v.evtname, v.evtevent, v.evtenabled, v.evttags::text,
            v.evtfoid::pg_catalog.regprocedure::text)
        FROM pg_catalog.pg_event_trigger AS v
    )
    SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
        COALESCE(pg_catalog.string_agg(l.it::text, E'\n' ORDER BY l.it::text COLLATE "C"), ''), 'UTF8')), 'hex')
    FROM line AS l
$$;
COMMENT ON FUNCTION runbook.fingerprint() IS 'Returns the state of the catalog as one hash (SHA-256, hex). Two databases with the same objects have the same hash.';
