-- What the extension consists of, right after its installation.

-- Every member of the extension, and every column of its views, has a comment.
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_runbook'
), part (classid, objid, objsubid) AS (
    SELECT m.classid, m.objid, 0 FROM member AS m
    UNION ALL
    SELECT m.classid, m.objid, a.attnum FROM member AS m
    JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid AND c.relkind = 'v'
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT pg_describe_object(p.classid, p.objid, p.objsubid) AS without_comment FROM part AS p
WHERE NOT EXISTS (SELECT FROM pg_description AS d
                  WHERE d.classoid = p.classid AND d.objoid = p.objid AND d.objsubid = p.objsubid AND d.description <> '')
ORDER BY 1;

-- What is in the schemas "runbook" and "runbook_internal" belongs to the extension, and the other way round; event triggers have no schema.
WITH member AS (
    SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'pg_runbook'
), inside (classid, objid) AS (
    -- Indexes, row types and array types belong to the objects that they came with.
    SELECT 'pg_class'::regclass, c.oid FROM pg_class AS c
    WHERE c.relnamespace IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace) AND c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'pg_proc'::regclass, p.oid FROM pg_proc AS p WHERE p.pronamespace IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace)
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid FROM pg_type AS t
    WHERE t.typnamespace IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace)
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'i')
    UNION
    SELECT d.classid::regclass, d.objid FROM pg_depend AS d
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid IN ('runbook'::regnamespace, 'runbook_internal'::regnamespace)
)
SELECT 'not a member' AS difference, pg_describe_object(i.classid, i.objid, 0) AS object FROM inside AS i
WHERE NOT EXISTS (SELECT FROM member AS m WHERE m.classid = i.classid AND m.objid = i.objid)
UNION ALL
SELECT 'outside of the schema', pg_describe_object(m.classid, m.objid, 0) FROM member AS m
WHERE NOT EXISTS (SELECT FROM inside AS i WHERE i.classid = m.classid AND i.objid = m.objid)
ORDER BY 1, 2;
