-- Who may call and read what. Nothing is granted to PUBLIC but the two trigger functions of protected tables.
REVOKE ALL ON SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA runbook FROM PUBLIC;

GRANT USAGE ON SCHEMA runbook
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- Everybody with a role sees revisions, plans and the guard's state.
GRANT SELECT ON runbook.revisions, runbook.approvals, runbook.permits, runbook.policy, runbook.maintenance_windows, runbook.settings,
    runbook.protected_tables, runbook.jobs, runbook.job_steps
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;
GRANT EXECUTE ON FUNCTION
    runbook.show(text), runbook.plan(text, text), runbook.heads(), runbook.current(), runbook.history(text),
    runbook.branches(), runbook.require(text), runbook.guard_status(), runbook.jobs_in_force(bigint), runbook.policy_in_force(), runbook.permits_in_force(),
    runbook.approval_void(text, text, text, text, oid, timestamptz, text, oid), runbook.fingerprint()
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- What changes the runbook looks at the login itself, and a refusal is an entry in the ledger. Whoever has any role may
-- call it, so that an attempt with the wrong role is evidence and not just a line in the server log.
GRANT EXECUTE ON FUNCTION
    runbook.submit(jsonb), runbook.upgrade(text), runbook.downgrade(text), runbook.stamp(text, boolean),
    runbook.start_upgrade(text), runbook.start_downgrade(text), runbook.cancel(bigint), runbook.pause(bigint), runbook.resume(bigint),
    runbook.approve(text, text, text, interval, text), runbook.reject(text, text), runbook.revoke(text, text), runbook.inbox(),
    runbook.request_permit(text, text, interval), runbook.approve_permit(text, text), runbook.reject_permit(text, text),
    runbook.break_glass(text, interval), runbook.close_break_glass(),
    runbook.activate(), runbook.deactivate(text), runbook.protect_table(regclass, bigint), runbook.unprotect_table(regclass), runbook.configure(text, text),
    runbook.set_policy(text, text, integer, text, text),
    runbook.open_epoch(text, bigint), runbook.record_checkpoint(text), runbook.archive_ledger(bigint, bytea, text),
    runbook.set_maintenance_window(text, text[], text, text, text, text), runbook.drop_maintenance_window(text)
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- Owners of protected tables make partitions, and PostgreSQL makes the triggers of those in their name.
GRANT EXECUTE ON FUNCTION runbook.guard_rows(), runbook.guard_truncate() TO PUBLIC;

-- The ledger may hold what others typed: auditors and admins read it.
GRANT SELECT ON runbook.ledger, runbook.entry, runbook.unsealed, runbook.tile TO runbook_auditor, runbook_admin;
GRANT EXECUTE ON FUNCTION
    runbook.verify_ledger(), runbook.payload_or_null(text), runbook.ledger_terms(text), runbook.tree_head(),
    runbook.inclusion_proof(bigint, bigint), runbook.consistency_proof(bigint, bigint), runbook.tree_frontier(bigint)
    TO runbook_auditor, runbook_admin;

-- Sealing takes nothing away and tells nothing; what a job has come to, the view tells, too.
GRANT EXECUTE ON PROCEDURE runbook.seal(), runbook.wait(bigint)
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- The library declares these functions; their comments stand here, since the library can't write them.
COMMENT ON FUNCTION runbook.show(text) IS 'Everything stored of one revision.';
COMMENT ON FUNCTION runbook.plan(text, text) IS 'The steps to a target, and what each still needs.';
COMMENT ON FUNCTION runbook.heads() IS 'Revisions that no other revision follows.';
COMMENT ON FUNCTION runbook.current() IS 'The revisions at which this database stands.';
COMMENT ON FUNCTION runbook.history(text) IS 'Revisions of a range (lower:upper), newest first.';
COMMENT ON FUNCTION runbook.branches() IS 'Revisions that more than one other revision follows.';
COMMENT ON FUNCTION runbook.require(text) IS 'True if the revision is applied, an error otherwise; for applications to call when they start.';
COMMENT ON FUNCTION runbook.stamp(text, boolean) IS 'Records where the database stands, without running anything; purge first forgets the present heads.';
COMMENT ON FUNCTION runbook.approve(text, text, text, interval, text) IS 'Approves a revision as the session''s login; returns the digest approved. A digest limits the approval to that content, a fingerprint to that state of the catalog.';
COMMENT ON FUNCTION runbook.approval_void(text, text, text, text, oid, timestamptz, text, oid) IS 'Why a decision does not count; NULL if it may. Who else decided is not considered.';
COMMENT ON FUNCTION runbook.inbox() IS 'What waits for the session''s login to decide, what it would do, and which call approves it.';
COMMENT ON FUNCTION runbook.request_permit(text, text, interval) IS 'Asks for a permit to run one statement once, as the session''s login; returns its id.';
COMMENT ON FUNCTION runbook.approve_permit(text, text) IS 'Approves a permit that another person requested; returns its statement.';
COMMENT ON FUNCTION runbook.reject_permit(text, text) IS 'Rejects a permit for good; returns its statement.';
COMMENT ON FUNCTION runbook.permits_in_force() IS 'The rows of view permits.';
COMMENT ON FUNCTION runbook.break_glass(text, interval) IS 'Sets policy aside in this session, for a reason and for a time; returns when it ends.';
COMMENT ON FUNCTION runbook.close_break_glass() IS 'Puts policy back in force in this session; false if it was in force.';
COMMENT ON FUNCTION runbook.set_maintenance_window(text, text[], text, text, text, text) IS 'Sets a maintenance window: actions of these classes run only while one of their windows is open.';
COMMENT ON FUNCTION runbook.drop_maintenance_window(text) IS 'Removes a maintenance window; false if there was none.';
COMMENT ON FUNCTION runbook.reject(text, text) IS 'Rejects a revision as the session''s login; returns the digest rejected.';
COMMENT ON FUNCTION runbook.revoke(text, text) IS 'Takes the login''s own decision back; false if there was none.';
COMMENT ON FUNCTION runbook.activate() IS 'Activates the guard in this database; false if it was active.';
COMMENT ON FUNCTION runbook.deactivate(text) IS 'Deactivates the guard for a reason that the ledger keeps; false if it was not active.';
COMMENT ON FUNCTION runbook.protect_table(regclass, bigint) IS 'Protects a table against TRUNCATE, and against transactions that change more than max_rows of its rows.';
COMMENT ON FUNCTION runbook.unprotect_table(regclass) IS 'Removes the protection of a table; false if it had none.';
COMMENT ON FUNCTION runbook.guard_status() IS 'Which protections are active.';
COMMENT ON FUNCTION runbook.configure(text, text) IS 'Sets a setting (NULL: its default) and returns the old value.';
COMMENT ON FUNCTION runbook.set_policy(text, text, integer, text, text) IS 'Sets the rule for a class of actions, or only for those on objects that match a pattern.';
COMMENT ON FUNCTION runbook.policy_in_force() IS 'The rows of view policy.';
COMMENT ON FUNCTION runbook.tree_head() IS 'Where the ledger''s Merkle tree stands: origin, epoch, size, root; and what waits to be sealed.';
COMMENT ON FUNCTION runbook.inclusion_proof(bigint, bigint) IS 'The hashes beside the path from an entry to the root (RFC 6962), from the leaf upwards.';
COMMENT ON FUNCTION runbook.consistency_proof(bigint, bigint) IS 'The hashes that prove that the smaller tree is the beginning of the larger (RFC 6962).';
COMMENT ON FUNCTION runbook.tree_frontier(bigint) IS 'The roots of the complete subtrees of the tree of that size, largest first.';
COMMENT ON FUNCTION runbook.verify_ledger() IS 'Whether the ledger agrees with itself: every hash is computed again. An auditor''s checkpoint says more: runbook audit verify.';
COMMENT ON FUNCTION runbook.open_epoch(text, bigint) IS 'Opens the next epoch of the ledger, after history was rolled back on purpose to a position; returns EPOCH:POSITION.';
COMMENT ON FUNCTION runbook.record_checkpoint(text) IS 'Records a signed checkpoint of this ledger.';
COMMENT ON FUNCTION runbook.archive_ledger(bigint, bytea, text) IS 'Removes the entries before a position, which an export holds; the tree over them stays. Returns how many.';
COMMENT ON FUNCTION runbook.start_upgrade(text) IS 'Has a worker apply revisions up to target, one transaction each, once the calling transaction commits; returns the number of the job.';
COMMENT ON FUNCTION runbook.start_downgrade(text) IS 'Has a worker revert revisions down to target, one transaction each, once the calling transaction commits; returns the number of the job.';
COMMENT ON FUNCTION runbook.cancel(bigint) IS 'Cancels a job: the running statement is rolled back, applied revisions stay; false if the job has already ended.';
COMMENT ON FUNCTION runbook.pause(bigint) IS 'Stops a job before its next revision, statement or batch; false if the job has already ended.';
COMMENT ON FUNCTION runbook.resume(bigint) IS 'Resumes a job that is paused, interrupted, failed or cancelled; false if it has finished or is running.';
COMMENT ON FUNCTION runbook.jobs_in_force(bigint) IS 'The rows of view jobs, or only the row of one job.';
