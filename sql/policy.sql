ALTER FUNCTION runbook.policy_in_force() SET SCHEMA runbook_internal;
ALTER FUNCTION runbook.settings_in_force() SET SCHEMA runbook_internal;

CREATE VIEW runbook.policy AS
    SELECT p.class, p.verdict, p.approvals, p.objects, p.approver_role, p.source FROM runbook_internal.policy_in_force() AS p;
COMMENT ON VIEW runbook.policy IS 'Rules in force: one for each class of actions, mildest class first, each followed by the rules for patterns of objects.';
COMMENT ON COLUMN runbook.policy.class IS 'Class of actions: additive, blocking, breaking, security, control or destructive';
COMMENT ON COLUMN runbook.policy.verdict IS 'What the guard does: allow, record, require_approval or deny';
COMMENT ON COLUMN runbook.policy.approvals IS 'Number of approvals that verdict require_approval asks for; it has no effect with other verdicts';
COMMENT ON COLUMN runbook.policy.objects IS 'Pattern of the objects that the rule is for; NULL for the rule of the whole class';
COMMENT ON COLUMN runbook.policy.approver_role IS 'Role that approvers must be members of, besides runbook_approver; NULL if none';
COMMENT ON COLUMN runbook.policy.source IS '"set" for a rule of set_policy(), or the preset that it comes from, such as "preset staging"';

CREATE VIEW runbook.settings AS
    SELECT s.key, s.value, s.source, s.description FROM runbook_internal.settings_in_force() AS s;
COMMENT ON VIEW runbook.settings IS 'Settings in force: what configure(key, value) has set, and the defaults of the others.';
COMMENT ON COLUMN runbook.settings.key IS 'Name of the setting';
COMMENT ON COLUMN runbook.settings.value IS 'Value in force, as text';
COMMENT ON COLUMN runbook.settings.source IS '"set" for a value of configure(), or "default"';
COMMENT ON COLUMN runbook.settings.description IS 'What the setting is for';
