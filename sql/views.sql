-- What stands behind views. The library declares it in the extension's schema.
ALTER FUNCTION runbook.approval_void(text, text, text, text, oid, timestamptz, text, oid) SET SCHEMA runbook_internal;
ALTER FUNCTION runbook.permits_in_force() SET SCHEMA runbook_internal;
ALTER FUNCTION runbook.jobs_in_force(bigint) SET SCHEMA runbook_internal;

CREATE VIEW runbook.revisions AS
    SELECT r.revision, r.parents, r.phase, r.message, r.author, r.status, r.digest, r.submitted_at, r.applied_at,
        r.depends_on, r.branch_labels, r.submitted_by, r.reverted_at, r.upgrade_actions, r.downgrade_actions,
        COALESCE((SELECT pg_catalog.format('%s of %s statements of its %s are done', pg_catalog.count(*), pg_catalog.max(p.statements), p.direction)
            FROM runbook.statement_progress AS p WHERE p.revision OPERATOR(pg_catalog.=) r.revision AND p.done GROUP BY p.direction LIMIT 1),
        (SELECT pg_catalog.format('%s rows of its backfill are done', b.rows_done) FROM runbook.backfill AS b
            WHERE b.revision OPERATOR(pg_catalog.=) r.revision AND b.batches OPERATOR(pg_catalog.>) 0)) AS progress
    FROM runbook.revision AS r
    ORDER BY r.ordinal;
COMMENT ON VIEW runbook.revisions IS 'All submitted revisions, in the order in which they were first submitted.';
COMMENT ON COLUMN runbook.revisions.revision IS 'Id of the revision';
COMMENT ON COLUMN runbook.revisions.parents IS 'Ids of the revisions that it follows; an empty array for a base';
COMMENT ON COLUMN runbook.revisions.phase IS 'Phase of the rollout: expand, migrate or contract; as declared, or derived from the actions';
COMMENT ON COLUMN runbook.revisions.message IS 'Text for people, usually one line; empty if none was given';
COMMENT ON COLUMN runbook.revisions.author IS 'Author for people: as declared, or else the login that submitted the revision';
COMMENT ON COLUMN runbook.revisions.status IS 'pending, approved, rejected, applied, reverted or withdrawn; runbook.plan() tells which approvals are missing';
COMMENT ON COLUMN runbook.revisions.digest IS 'SHA-256 over everything that changes the meaning of the revision, in hex';
COMMENT ON COLUMN runbook.revisions.submitted_at IS 'Time at which the present content was submitted';
COMMENT ON COLUMN runbook.revisions.applied_at IS 'Time at which it was applied, or stamped as applied; NULL while it is not applied';
COMMENT ON COLUMN runbook.revisions.depends_on IS 'Revisions or branch labels that must be applied first without being parents; an empty array if none';
COMMENT ON COLUMN runbook.revisions.branch_labels IS 'Names for the branch that starts here; an empty array if none';
COMMENT ON COLUMN runbook.revisions.submitted_by IS 'Login that submitted the present content, by its name at that time';
COMMENT ON COLUMN runbook.revisions.reverted_at IS 'Time at which it was last reverted, or stamped as not applied; NULL if never, or while it is applied';
COMMENT ON COLUMN runbook.revisions.upgrade_actions IS 'Actions of its upgrade and verify sections: JSON array of objects with verb, class and object';
COMMENT ON COLUMN runbook.revisions.progress IS 'How much of it is done, in words, where it is applied or reverted in part; else NULL';
COMMENT ON COLUMN runbook.revisions.downgrade_actions IS 'Actions of its downgrade section, in the same form; an empty array if there are none';

CREATE VIEW runbook.approvals AS
    SELECT a.revision, a.decision, a.approver, a.comment, a.decided_at, v.reason IS NULL AS counts, v.reason AS void_reason,
        a.expires_at, a.fingerprint, a.upgrade_manifest, a.downgrade_manifest, a.digest, a.approval_id,
        a.upgrade_code, a.downgrade_code
    FROM runbook.approval AS a
    LEFT JOIN runbook.revision AS r ON r.revision = a.revision
    CROSS JOIN LATERAL (
        SELECT runbook_internal.approval_void(a.void_reason, a.digest, r.digest, a.system_identifier, a.database_oid, a.expires_at,
                                     a.approver, a.approver_oid) AS reason
    ) AS v
    ORDER BY a.decided_at, a.approval_id;
COMMENT ON VIEW runbook.approvals IS 'Decisions of approvers on revisions: what each one covers, and whether it may still count. Four eyes and moved objects are checked when the revision runs.';
COMMENT ON COLUMN runbook.approvals.revision IS 'Id of the revision';
COMMENT ON COLUMN runbook.approvals.decision IS 'approved or rejected';
COMMENT ON COLUMN runbook.approvals.approver IS 'Login that decided, by its name at that time';
COMMENT ON COLUMN runbook.approvals.comment IS 'Comment of the approver; NULL if none was given';
COMMENT ON COLUMN runbook.approvals.decided_at IS 'Time of the decision';
COMMENT ON COLUMN runbook.approvals.counts IS 'True if the decision may count, that is, if void_reason is NULL';
COMMENT ON COLUMN runbook.approvals.void_reason IS 'Why the decision does not count, in words; NULL if it may count';
COMMENT ON COLUMN runbook.approvals.expires_at IS 'Time from which the decision no longer counts; a rejection is valid for 1000 years';
COMMENT ON COLUMN runbook.approvals.fingerprint IS 'Fingerprint of the catalog that the approval is bound to, SHA-256 in hex; NULL if it is not bound';
COMMENT ON COLUMN runbook.approvals.upgrade_manifest IS 'What the approval covers in the upgrade: JSON object with actions and search_path; empty lists for a rejection';
COMMENT ON COLUMN runbook.approvals.downgrade_manifest IS 'What the approval covers in the downgrade, in the same form';
COMMENT ON COLUMN runbook.approvals.digest IS 'Digest of the content that was decided on, SHA-256 in hex';
COMMENT ON COLUMN runbook.approvals.approval_id IS 'Random UUID of the decision';
COMMENT ON COLUMN runbook.approvals.upgrade_code IS 'Code that the approval binds for the upgrade: JSON object; its list "objects" has names and SHA-256 hashes in hex';
COMMENT ON COLUMN runbook.approvals.downgrade_code IS 'Code that the approval binds for the downgrade, in the same form';

CREATE VIEW runbook.permits AS
    SELECT p.permit, p.status, p.requested_by, p.reason, p.statement, p.needs, p.expires_at, p.parameters
    FROM runbook_internal.permits_in_force() AS p;
COMMENT ON VIEW runbook.permits IS 'Permits to run one statement once, with the status of each. Permits from other databases, for example in a dump, are left out.';
COMMENT ON COLUMN runbook.permits.permit IS 'Id of the permit, 12 hex digits';
COMMENT ON COLUMN runbook.permits.status IS 'requested, approved, used, rejected or expired';
COMMENT ON COLUMN runbook.permits.requested_by IS 'Login that requested the permit and can use it, by its name at that time';
COMMENT ON COLUMN runbook.permits.reason IS 'Reason that was given with the request';
COMMENT ON COLUMN runbook.permits.statement IS 'Text of the statement that may be run once';
COMMENT ON COLUMN runbook.permits.needs IS 'Approval that an open permit lacks, or who rejected the permit, in words; otherwise NULL';
COMMENT ON COLUMN runbook.permits.expires_at IS 'Time from which the permit can no longer be used';
COMMENT ON COLUMN runbook.permits.parameters IS 'Parameters under which the statement is read, where this session has other values, as name = value; NULL if none';

CREATE VIEW runbook.maintenance_windows AS
    SELECT w.name, w.classes, w.days, w.opens, w.closes, w.time_zone FROM runbook.maintenance_window AS w ORDER BY w.name;
COMMENT ON VIEW runbook.maintenance_windows IS 'Weekly times in which actions of some classes may run. A class without a window may run at any time.';
COMMENT ON COLUMN runbook.maintenance_windows.name IS 'Name of the window';
COMMENT ON COLUMN runbook.maintenance_windows.classes IS 'Classes of actions that run only while one of their windows is open';
COMMENT ON COLUMN runbook.maintenance_windows.days IS 'Days on which the window opens, as they were given, such as daily, mon-fri or sat,sun';
COMMENT ON COLUMN runbook.maintenance_windows.opens IS 'Time of day at which the window opens, in its time zone';
COMMENT ON COLUMN runbook.maintenance_windows.closes IS 'Time of day at which the window closes; if not later than "opens", on the next day';
COMMENT ON COLUMN runbook.maintenance_windows.time_zone IS 'UTC, or the full name of a time zone, such as Europe/Berlin';

CREATE VIEW runbook.jobs AS
    SELECT j.job, j.state, j.direction, j.target, j.revision, j.step, j.steps, j.statement, j.percent, j.eta, j.waiting_for, j.login,
        j.requested_at, j.started_at, j.finished_at, j.worker_pid, j.note, j.error
    FROM runbook_internal.jobs_in_force() AS j;
COMMENT ON VIEW runbook.jobs IS 'Upgrades and downgrades that a worker applies: the state of each, what it waits for, and its error. State "interrupted" means that its worker is gone and no other worker has taken it up yet.';
COMMENT ON COLUMN runbook.jobs.job IS 'Number of the job';
COMMENT ON COLUMN runbook.jobs.state IS 'queued, running, pausing, paused, cancelling, cancelled, interrupted, failed or finished';
COMMENT ON COLUMN runbook.jobs.direction IS 'upgrade or downgrade';
COMMENT ON COLUMN runbook.jobs.target IS 'Target as it was given, such as head or the id of a revision';
COMMENT ON COLUMN runbook.jobs.revision IS 'Id of the revision that is running or comes next; NULL if no revision is left';
COMMENT ON COLUMN runbook.jobs.step IS 'Number of revisions that are done, from 0 to steps';
COMMENT ON COLUMN runbook.jobs.steps IS 'Number of revisions in the plan of the job';
COMMENT ON COLUMN runbook.jobs.statement IS 'What the worker runs, or ran last, as in pg_stat_activity; NULL if no worker works on the job';
COMMENT ON COLUMN runbook.jobs.percent IS 'Progress of the current statement or backfill, from 0 to 100; 100 if the job is finished; NULL if unknown';
COMMENT ON COLUMN runbook.jobs.eta IS 'Estimated time until the current statement or backfill is done; NULL if unknown, or if the job is not running';
COMMENT ON COLUMN runbook.jobs.waiting_for IS 'Job ahead in the queue, or sessions that block the worker, in words; NULL if there is none';
COMMENT ON COLUMN runbook.jobs.login IS 'Login that requested or last resumed the job, by its name at that time';
COMMENT ON COLUMN runbook.jobs.requested_at IS 'Time at which the job was requested';
COMMENT ON COLUMN runbook.jobs.started_at IS 'Time at which a worker first took up the job; NULL if no worker has';
COMMENT ON COLUMN runbook.jobs.finished_at IS 'Time at which the job finished, failed or was cancelled; NULL if it has not ended';
COMMENT ON COLUMN runbook.jobs.worker_pid IS 'Process id of the worker; NULL if no worker works on the job';
COMMENT ON COLUMN runbook.jobs.note IS 'Remark of the worker, such as why it waits; NULL if there is none';
COMMENT ON COLUMN runbook.jobs.error IS 'Error as JSON, NULL unless the job has failed; only operators, auditors and admins see more than sqlstate and message';

CREATE VIEW runbook.job_steps AS
    SELECT s.job, s.step, s.revision, s.started_at, s.finished_at FROM runbook.job_step AS s ORDER BY s.job, s.step;
COMMENT ON VIEW runbook.job_steps IS 'Revisions that jobs have applied or reverted, with times.';
COMMENT ON COLUMN runbook.job_steps.job IS 'Number of the job';
COMMENT ON COLUMN runbook.job_steps.step IS 'Place of the revision in the plan of the job, from 1';
COMMENT ON COLUMN runbook.job_steps.revision IS 'Id of the revision that was applied or reverted';
COMMENT ON COLUMN runbook.job_steps.started_at IS 'Time at which the step began';
COMMENT ON COLUMN runbook.job_steps.finished_at IS 'Time at which the step was done';
