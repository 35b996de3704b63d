-- Who may call and read what. Nothing is granted to PUBLIC but the two trigger functions of protected tables.
REVOKE ALL ON SCHEMA runbook, runbook_internal FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA runbook, runbook_internal FROM PUBLIC;
REVOKE ALL ON ALL PROCEDURES IN SCHEMA runbook FROM PUBLIC;

GRANT USAGE ON SCHEMA runbook, runbook_internal
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- Everybody with a role sees revisions, plans and the guard's state.
GRANT SELECT ON runbook.revisions, runbook.approvals, runbook.permits, runbook.policy, runbook.maintenance_windows, runbook.settings,
    runbook.protected_tables, runbook.jobs, runbook.job_steps
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;
GRANT EXECUTE ON FUNCTION
    runbook.show(text), runbook.plan(text, text), runbook.heads(), runbook.current(), runbook.history(text),
    runbook.branches(), runbook.require(text), runbook.guard_status(), runbook_internal.jobs_in_force(bigint), runbook_internal.policy_in_force(), runbook_internal.settings_in_force(), runbook_internal.permits_in_force(),
    runbook_internal.approval_void(text, text, text, text, oid, timestamptz, text, oid), runbook.fingerprint()
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- What changes the runbook looks at the login itself, and a refusal is an entry in the ledger. Whoever has any role may
-- call it, so that an attempt with the wrong role is evidence and not just a line in the server log.
GRANT EXECUTE ON FUNCTION
    runbook.submit(jsonb), runbook.upgrade(text), runbook.downgrade(text), runbook.stamp(text, boolean),
    runbook.start_upgrade(text, text), runbook.start_downgrade(text), runbook.cancel(bigint), runbook.pause(bigint), runbook.resume(bigint),
    runbook.approve(text, text, text, interval, text), runbook.reject(text, text), runbook.revoke(text, text), runbook.withdraw(text, text), runbook.inbox(),
    runbook.request_permit(text, text, interval), runbook.approve_permit(text, text), runbook.reject_permit(text, text),
    runbook.break_glass(text, interval), runbook.close_break_glass(),
    runbook.activate(), runbook.deactivate(text), runbook.protect_table(regclass, bigint), runbook.unprotect_table(regclass), runbook.configure(text, text),
    runbook.set_policy(text, text, integer, text, text),
    runbook.open_epoch(text, bigint), runbook.record_checkpoint(text), runbook.archive_ledger(bigint, bytea, text),
    runbook.set_maintenance_window(text, text[], text, text, text, text), runbook.drop_maintenance_window(text)
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- Owners of protected tables make partitions, and PostgreSQL makes the triggers of those in their name.
GRANT EXECUTE ON FUNCTION runbook_internal.guard_rows(), runbook_internal.guard_truncate() TO PUBLIC;

-- The ledger may hold what others typed: auditors and admins read it.
GRANT SELECT ON runbook.ledger, runbook.entry, runbook.unsealed, runbook.tile TO runbook_auditor, runbook_admin;
GRANT EXECUTE ON FUNCTION
    runbook.verify_ledger(), runbook_internal.payload_or_null(text), runbook.ledger_terms(text), runbook.tree_head(),
    runbook.inclusion_proof(bigint, bigint), runbook.consistency_proof(bigint, bigint), runbook.tree_frontier(bigint)
    TO runbook_auditor, runbook_admin;

-- Sealing takes nothing away and tells nothing; what a job has come to, the view tells, too.
GRANT EXECUTE ON PROCEDURE runbook.seal(), runbook.wait(bigint)
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin, runbook_break_glass;

-- The library declares these functions; their comments stand here, since the library can't write them.
COMMENT ON FUNCTION runbook.show(text) IS 'Returns all that is stored about one revision, as JSON.';
COMMENT ON FUNCTION runbook.plan(text, text) IS 'Lists the steps to a target in order, what each step still needs, where a later phase begins, and what the way back of each will need.';
COMMENT ON FUNCTION runbook.heads() IS 'Lists the revisions that no other revision follows.';
COMMENT ON FUNCTION runbook.current() IS 'Lists where this database stands: the applied revisions that no other applied revision builds upon.';
COMMENT ON FUNCTION runbook.history(text) IS 'Lists the revisions of a range (lower:upper), newest first.';
COMMENT ON FUNCTION runbook.branches() IS 'Lists the revisions that more than one other revision follows.';
COMMENT ON FUNCTION runbook.require(text) IS 'Returns true if the revision is applied, and raises an error otherwise. Applications call it when they start.';
COMMENT ON FUNCTION runbook.stamp(text, boolean) IS 'Records where the database stands without running anything, and returns the new heads. With purge, the present heads are forgotten first.';
COMMENT ON FUNCTION runbook.approve(text, text, text, interval, text) IS 'Approves a revision as the session''s login, and returns the approved digest. With a digest, approves only that content; with a fingerprint, only while the catalog is in that state.';
COMMENT ON FUNCTION runbook_internal.approval_void(text, text, text, text, oid, timestamptz, text, oid) IS 'Returns why a decision does not count, without regard to other decisions; NULL if it may count.';
COMMENT ON FUNCTION runbook.inbox() IS 'Lists the revisions and permits that wait for the approval of the session''s login, what each one would do, and the call that approves it.';
COMMENT ON FUNCTION runbook.request_permit(text, text, interval) IS 'Requests a permit to run one statement once, as the session''s login; returns the id of the permit.';
COMMENT ON FUNCTION runbook.approve_permit(text, text) IS 'Approves a permit that another login requested; returns its statement.';
COMMENT ON FUNCTION runbook.reject_permit(text, text) IS 'Rejects a permit for good; returns its statement.';
COMMENT ON FUNCTION runbook_internal.permits_in_force() IS 'Returns the rows of view permits.';
COMMENT ON FUNCTION runbook.break_glass(text, interval) IS 'Sets policy aside in this session, for a reason and for a limited time; returns the time at which this ends.';
COMMENT ON FUNCTION runbook.close_break_glass() IS 'Puts policy back in force in this session; returns false if it was in force already.';
COMMENT ON FUNCTION runbook.set_maintenance_window(text, text[], text, text, text, text) IS 'Sets a maintenance window. Actions of its classes run only while one of their windows is open.';
COMMENT ON FUNCTION runbook.drop_maintenance_window(text) IS 'Removes a maintenance window; returns false if there was none.';
COMMENT ON FUNCTION runbook.reject(text, text) IS 'Rejects a revision as the session''s login, and returns the rejected digest.';
COMMENT ON FUNCTION runbook.revoke(text, text) IS 'Takes back the login''s own decision on a revision; returns false if there was none.';
COMMENT ON FUNCTION runbook.activate() IS 'Activates the guard in this database; returns false if it was active already.';
COMMENT ON FUNCTION runbook.deactivate(text) IS 'Deactivates the guard, for a reason that the ledger keeps; returns false if it was not active.';
COMMENT ON FUNCTION runbook.protect_table(regclass, bigint) IS 'Protects a table against TRUNCATE, and against transactions that delete or update more than max_rows of its rows (NULL: no limit).';
COMMENT ON FUNCTION runbook.unprotect_table(regclass) IS 'Removes the protection of a table; returns false if it had none.';
COMMENT ON FUNCTION runbook.guard_status() IS 'Lists the parts of the guard: whether each one is active and why, and what it covers.';
COMMENT ON FUNCTION runbook.configure(text, text) IS 'Sets a setting, or puts it back to its default if the value is NULL; returns the old value.';
COMMENT ON FUNCTION runbook.set_policy(text, text, integer, text, text) IS 'Sets the rule for a class of actions, or for a class on objects that match a pattern. Verdict "default" removes the rule.';
COMMENT ON FUNCTION runbook_internal.policy_in_force() IS 'Returns the rows of view policy.';
COMMENT ON FUNCTION runbook_internal.settings_in_force() IS 'Returns the rows of view settings.';
COMMENT ON FUNCTION runbook.tree_head() IS 'Returns the state of the ledger''s Merkle tree: origin, epoch, size and root; and how many entries wait to be sealed, and since when.';
COMMENT ON FUNCTION runbook.inclusion_proof(bigint, bigint) IS 'Returns the hashes that prove that an entry is in the tree (RFC 6962), from the leaf upwards.';
COMMENT ON FUNCTION runbook.consistency_proof(bigint, bigint) IS 'Returns the hashes that prove that the smaller tree is the beginning of the larger one (RFC 6962).';
COMMENT ON FUNCTION runbook.tree_frontier(bigint) IS 'Returns the roots of the complete subtrees of the tree of that size, largest first.';
COMMENT ON FUNCTION runbook.verify_ledger() IS 'Computes all hashes of the ledger again, and compares them with the stored ones. To compare the ledger with a signed checkpoint, use the command: runbook audit verify.';
COMMENT ON FUNCTION runbook.open_epoch(text, bigint) IS 'Opens the next epoch of the ledger, after history was rolled back on purpose to a position; returns EPOCH:POSITION.';
COMMENT ON FUNCTION runbook.record_checkpoint(text) IS 'Records in the ledger that a checkpoint of it was signed. Checks the note''s origin, size and root, but not its signature.';
COMMENT ON FUNCTION runbook.archive_ledger(bigint, bytea, text) IS 'Removes the entries before a position, which must be in an export; the tree over them stays. Returns the number of removed entries.';
COMMENT ON FUNCTION runbook.start_upgrade(text, text) IS 'Starts a job: a worker applies revisions up to target, each in transactions of its own, after the calling transaction commits. Without a target it goes towards head, and stops where a later phase begins; with "through", it stops at the end of that phase. Returns the number of the job.';
COMMENT ON FUNCTION runbook.start_downgrade(text) IS 'Starts a job: a worker reverts revisions down to target, each in transactions of its own, after the calling transaction commits. Returns the number of the job.';
COMMENT ON FUNCTION runbook.cancel(bigint) IS 'Cancels a job: its current statement is rolled back, and applied revisions stay applied. Returns false if the job has ended already.';
COMMENT ON FUNCTION runbook.pause(bigint) IS 'Stops a job before its next revision, statement or batch, so that it can be resumed. Returns false if the job has ended already.';
COMMENT ON FUNCTION runbook.resume(bigint) IS 'Continues a job that is paused, interrupted, failed or cancelled. Returns false if the job has finished, or if a worker works on it.';
COMMENT ON FUNCTION runbook_internal.jobs_in_force(bigint) IS 'Returns the rows of view jobs, or only the row of the given job.';
