CREATE VIEW runbook.revisions AS
    SELECT r.revision, r.parents, r.phase, r.message, r.author, r.status, r.digest, r.submitted_at, r.applied_at,
        r.depends_on, r.branch_labels, r.submitted_by, r.reverted_at, r.upgrade_actions, r.downgrade_actions
    FROM runbook.revision AS r
    ORDER BY r.ordinal;
COMMENT ON VIEW runbook.revisions IS 'All submitted revisions, in order of submission.';

CREATE VIEW runbook.approvals AS
    SELECT a.revision, a.decision, a.approver, a.comment, a.decided_at, v.reason IS NULL AS counts, v.reason AS void_reason,
        a.expires_at, a.fingerprint, a.upgrade_manifest, a.downgrade_manifest, a.digest, a.approval_id,
        a.upgrade_code, a.downgrade_code
    FROM runbook.approval AS a
    LEFT JOIN runbook.revision AS r ON r.revision = a.revision
    CROSS JOIN LATERAL (
        SELECT runbook.approval_void(a.void_reason, a.digest, r.digest, a.system_identifier, a.database_oid, a.expires_at,
                                     a.approver, a.approver_oid) AS reason
    ) AS v
    ORDER BY a.decided_at, a.approval_id;
COMMENT ON VIEW runbook.approvals IS 'Who approved or rejected which revision, what the approval covers, and whether it may still count. Four eyes and moved objects are checked when the revision runs.';

CREATE VIEW runbook.permits AS
    SELECT p.permit, p.status, p.requested_by, p.reason, p.statement, p.needs, p.expires_at, p.parameters
    FROM runbook.permits_in_force() AS p;
COMMENT ON VIEW runbook.permits IS 'Requests to run one statement once: requested, approved, used, rejected or expired. "parameters" are those under which the statement is read, where this session has other values.';

CREATE VIEW runbook.maintenance_windows AS
    SELECT w.name, w.classes, w.days, w.opens, w.closes, w.time_zone FROM runbook.maintenance_window AS w ORDER BY w.name;
COMMENT ON VIEW runbook.maintenance_windows IS 'When actions of these classes may run; a class without a window may run at any time.';

CREATE VIEW runbook.settings AS
    SELECT s.key, s.value FROM runbook.setting AS s ORDER BY s.key;
COMMENT ON VIEW runbook.settings IS 'What configure(key, value) set; keys that are absent have their defaults.';

CREATE VIEW runbook.jobs AS
    SELECT j.job, j.state, j.direction, j.target, j.revision, j.step, j.steps, j.statement, j.percent, j.eta, j.waiting_for, j.login,
        j.requested_at, j.started_at, j.finished_at, j.worker_pid, j.note, j.error
    FROM runbook.jobs_in_force() AS j;
COMMENT ON VIEW runbook.jobs IS 'Upgrades and downgrades that a worker applies: where each stands, what it waits for, and what went wrong. "interrupted": its worker is gone, and no other worker has taken the job over yet.';

CREATE VIEW runbook.job_steps AS
    SELECT s.job, s.step, s.revision, s.started_at, s.finished_at FROM runbook.job_step AS s ORDER BY s.job, s.step;
COMMENT ON VIEW runbook.job_steps IS 'Revisions that jobs have applied or reverted, with times.';
