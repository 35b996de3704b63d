CREATE VIEW runbook.policy AS
    SELECT p.class, p.verdict, p.approvals, p.objects, p.approver_role, p.source FROM runbook.policy_in_force() AS p;
COMMENT ON VIEW runbook.policy IS 'The rule for each class of actions, mildest class first, with its exceptions for some objects.';
