-- Who may call and read what. Nothing is granted to PUBLIC.
REVOKE ALL ON SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA runbook FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA runbook FROM PUBLIC;

GRANT USAGE ON SCHEMA runbook
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin;

-- Everybody with a role sees revisions, plans and the guard's state.
GRANT SELECT ON runbook.revisions, runbook.approvals, runbook.policy, runbook.settings
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin;
GRANT EXECUTE ON FUNCTION
    runbook.show(text), runbook.plan(text, text), runbook.heads(), runbook.current(), runbook.history(text),
    runbook.branches(), runbook.require(text), runbook.guard_status(), runbook.policy_in_force()
    TO runbook_author, runbook_approver, runbook_operator, runbook_auditor, runbook_admin;

GRANT EXECUTE ON FUNCTION runbook.submit(jsonb) TO runbook_author;
GRANT EXECUTE ON FUNCTION runbook.approve(text, text, text), runbook.reject(text, text), runbook.revoke(text, text)
    TO runbook_approver;
GRANT EXECUTE ON FUNCTION runbook.upgrade(text), runbook.downgrade(text), runbook.stamp(text, boolean) TO runbook_operator;
GRANT EXECUTE ON FUNCTION runbook.activate(), runbook.deactivate(text), runbook.configure(text, text),
    runbook.set_policy(text, text, integer) TO runbook_admin;

-- The ledger may hold what others typed: auditors and admins read it.
GRANT SELECT ON runbook.ledger TO runbook_auditor, runbook_admin;
GRANT EXECUTE ON FUNCTION runbook.verify_ledger(), runbook.payload_or_null(text) TO runbook_auditor, runbook_admin;

-- The library declares these functions; their comments stand here, since the library can't write them.
COMMENT ON FUNCTION runbook.show(text) IS 'Everything stored of one revision.';
COMMENT ON FUNCTION runbook.plan(text, text) IS 'The steps to a target, and what each still needs.';
COMMENT ON FUNCTION runbook.heads() IS 'Revisions that nobody follows.';
COMMENT ON FUNCTION runbook.current() IS 'Where this database stands.';
COMMENT ON FUNCTION runbook.history(text) IS 'Revisions of a range (lower:upper), newest first.';
COMMENT ON FUNCTION runbook.branches() IS 'Revisions that more than one other follows.';
COMMENT ON FUNCTION runbook.require(text) IS 'True if the revision is applied, an error otherwise; for applications to call when they start.';
COMMENT ON FUNCTION runbook.stamp(text, boolean) IS 'Says where the database stands without running anything; purge forgets the present heads first.';
COMMENT ON FUNCTION runbook.approve(text, text, text) IS 'Approves a revision as the session''s login; returns the digest approved.';
COMMENT ON FUNCTION runbook.reject(text, text) IS 'Rejects a revision as the session''s login; returns the digest rejected.';
COMMENT ON FUNCTION runbook.revoke(text, text) IS 'Takes the login''s own decision back; false if there was none.';
COMMENT ON FUNCTION runbook.activate() IS 'Activates the guard in this very database; false if it was active.';
COMMENT ON FUNCTION runbook.deactivate(text) IS 'Deactivates the guard for a reason that the ledger keeps; false if it was not active.';
COMMENT ON FUNCTION runbook.guard_status() IS 'Which protections are live.';
COMMENT ON FUNCTION runbook.configure(text, text) IS 'Sets a setting (NULL: its default) and returns the old value.';
COMMENT ON FUNCTION runbook.set_policy(text, text, integer) IS 'Sets what is done about a class of actions.';
COMMENT ON FUNCTION runbook.policy_in_force() IS 'The rows of view policy.';
