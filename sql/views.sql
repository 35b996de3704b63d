CREATE VIEW runbook.revisions AS
    SELECT r.revision, r.parents, r.phase, r.message, r.author, r.status, r.digest, r.submitted_at, r.applied_at,
        r.depends_on, r.branch_labels, r.submitted_by, r.reverted_at, r.upgrade_actions, r.downgrade_actions
    FROM runbook.revision AS r
    ORDER BY r.ordinal;
COMMENT ON VIEW runbook.revisions IS 'All submitted revisions, in order of submission.';

CREATE VIEW runbook.approvals AS
    SELECT a.revision, a.decision, a.approver, a.comment, a.decided_at,
        a.void_reason IS NULL AND a.digest = r.digest AND here.it IS NOT NULL AS counts,
        CASE WHEN a.void_reason IS NOT NULL THEN a.void_reason
             WHEN here.it IS NULL THEN 'it was given in another database'
             WHEN a.digest IS DISTINCT FROM r.digest THEN 'the revision was submitted again with other content'
        END AS void_reason,
        a.digest, a.approval_id
    FROM runbook.approval AS a
    LEFT JOIN runbook.revision AS r ON r.revision = a.revision
    LEFT JOIN (
        SELECT s.system_identifier::text AS it, d.oid AS database_oid
        FROM pg_catalog.pg_control_system() AS s, pg_catalog.pg_database AS d
        WHERE d.datname = pg_catalog.current_database()
    ) AS here ON here.it = a.system_identifier AND here.database_oid = a.database_oid
    ORDER BY a.decided_at, a.approval_id;
COMMENT ON VIEW runbook.approvals IS 'Who approved or rejected which revision, and whether that still counts.';

CREATE VIEW runbook.settings AS
    SELECT s.key, s.value FROM runbook.setting AS s ORDER BY s.key;
COMMENT ON VIEW runbook.settings IS 'What configure(key, value) set; keys that are absent have their defaults.';
