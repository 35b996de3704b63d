use super::*;
use crate::command::Name;

fn moved(verb: &str, kind: &str, path: &[&str], to: &str) -> Action {
    let mut action = on(Class::Breaking, None, "x");
    action.verb = Verb::parse(verb).unwrap();
    action.object = Object { kind: kind.into(), path: path.iter().map(|part| (*part).to_owned()).collect(), qualified: true };
    action.to = Some(to.into());
    action
}

#[test]
fn a_move_to_where_rules_are_weaker_is_judged_by_the_rule_that_it_leaves() {
    let policy = with(&[
        (Class::Destructive, Some("scratch"), rule(Verdict::Record, 0)),
        (Class::Destructive, Some("public.tmp_*"), rule(Verdict::Allow, 0)),
        (Class::Destructive, Some("ledger.books"), rule(Verdict::Deny, 0)),
    ]);
    let verdict = |action: Action| policy.rule(&action).verdict;
    assert_eq!(verdict(moved("rename", "table", &["public", "orders"], "tmp_orders")), Verdict::RequireApproval);
    assert_eq!(verdict(moved("move", "table", &["public", "orders"], "scratch")), Verdict::RequireApproval);
    assert_eq!(verdict(moved("move", "table", &["ledger", "books"], "public")), Verdict::Deny);
    assert_eq!(verdict(moved("rename", "schema", &["ledger"], "archive")), Verdict::Deny, "with all that lies in it");
    assert_eq!(verdict(moved("rename", "schema", &["archive"], "scratch")), Verdict::RequireApproval);
    assert_eq!(verdict(moved("rename", "table", &["public", "orders"], "sales")), Verdict::Record, "no weaker rule there");
    assert_eq!(verdict(moved("rename", "table", &["scratch", "a"], "b")), Verdict::Record);
    assert_eq!(verdict(moved("move", "table", &["scratch", "a"], "public")), Verdict::Record, "a stricter rule there");
}

fn rule(verdict: Verdict, approvals: u32) -> Rule {
    Rule { verdict, approvals, approver_role: None }
}

fn with(rules: &[(Class, Option<&str>, Rule)]) -> Policy {
    let overrides = rules.iter().map(|(class, objects, rule)| Override {
        class: *class,
        objects: objects.map(|text| Pattern::parse(text).unwrap()),
        rule: rule.clone(),
    });
    Policy::new(Preset::Staging, overrides.collect())
}

fn on(class: Class, schema: Option<&str>, name: &str) -> Action {
    Action::on(Verb::Drop, class, ObjectKind::Table, &Name { schema: schema.map(str::to_owned), ..Name::bare(name) })
}

#[test]
fn by_default_only_data_loss_needs_an_approval() {
    let policy = Policy::default();
    for class in Class::ALL {
        let actions = [on(class, None, "t")];
        assert_eq!(policy.obstacle(&actions).is_some(), class == Class::Destructive, "{class:?}");
    }
}

#[test]
fn presets_get_stricter_class_by_class() {
    for pair in Preset::ALL.windows(2) {
        for class in Class::ALL {
            assert!(!pair[1].rule(class).is_weaker_than(&pair[0].rule(class)), "{pair:?} {class:?}");
        }
    }
}

#[test]
fn temporary_objects_need_nobody() {
    let name = Name { temporary: true, ..Name::bare("t") };
    assert!(Policy::default().obstacle(&[Action::on(Verb::Drop, Class::Destructive, ObjectKind::Table, &name)]).is_none());
}

#[test]
fn deny_beats_require_approval() {
    let policy = with(&[(Class::Security, None, rule(Verdict::Deny, 0))]);
    let actions = [on(Class::Destructive, None, "t"), on(Class::Security, None, "t")];
    assert_eq!(policy.obstacle(&actions).map(|(_, verdict)| verdict), Some(Verdict::Deny));
}

#[test]
fn the_most_specific_pattern_decides() {
    let policy = with(&[
        (Class::Destructive, Some("billing"), rule(Verdict::Deny, 0)),
        (Class::Destructive, Some("billing.tmp_*"), rule(Verdict::Record, 0)),
        (Class::Destructive, Some("billing.tmp_audit"), rule(Verdict::RequireApproval, 3)),
    ]);
    let verdict = |schema, name| policy.rule(&on(Class::Destructive, Some(schema), name)).verdict;
    assert_eq!(verdict("public", "t"), Verdict::RequireApproval);
    assert_eq!(verdict("billing", "t"), Verdict::Deny);
    assert_eq!(verdict("billing", "tmp_1"), Verdict::Record);
    assert_eq!(verdict("billing", "tmp_audit"), Verdict::RequireApproval);
    assert_eq!(policy.rule(&on(Class::Breaking, Some("billing"), "t")).verdict, Verdict::Record);
}

#[test]
fn where_the_schema_is_unknown_the_strictest_decides() {
    let policy = with(&[
        (Class::Destructive, Some("billing.invoices"), rule(Verdict::Deny, 0)),
        (Class::Destructive, Some("scratch.*"), rule(Verdict::Allow, 0)),
    ]);
    assert_eq!(policy.rule(&on(Class::Destructive, None, "invoices")).verdict, Verdict::Deny);
    assert_eq!(policy.rule(&on(Class::Destructive, None, "t")).verdict, Verdict::RequireApproval);
}

#[test]
fn an_exception_in_front_of_a_stricter_pattern_is_a_weakening() {
    let policy = with(&[(Class::Destructive, Some("billing"), rule(Verdict::Deny, 0))]);
    let approval = rule(Verdict::RequireApproval, 1);
    let weakens = |text: &str| policy.would_weaken(Class::Destructive, Pattern::parse(text).as_ref(), Some(&approval));
    assert!(weakens("billing.invoices"));
    assert!(weakens("b*"), "it may stand in front of billing");
    assert!(!weakens("public"));
}

#[test]
fn a_rule_is_compared_with_all_that_it_stands_in_front_of() {
    let mut dba = rule(Verdict::RequireApproval, 1);
    dba.approver_role = Some("dba".into());
    let policy = with(&[
        (Class::Destructive, None, rule(Verdict::RequireApproval, 2)),
        (Class::Destructive, Some("billing"), dba.clone()),
    ]);
    assert!(policy.would_weaken(Class::Destructive, Pattern::parse("b*").as_ref(), Some(&dba)), "backup had two approvals");
}

#[test]
fn taking_a_rule_back_is_a_weakening_if_a_milder_one_takes_over() {
    let policy = with(&[
        (Class::Destructive, Some("billing"), rule(Verdict::Deny, 0)),
        (Class::Destructive, Some("billing.inv*"), rule(Verdict::Allow, 0)),
        (Class::Destructive, Some("billing.invoices"), rule(Verdict::Deny, 0)),
    ]);
    let weakens = |text: &str| policy.would_weaken(Class::Destructive, Pattern::parse(text).as_ref(), None);
    assert!(weakens("billing.invoices"));
    assert!(!weakens("billing.inv*"));
}

#[test]
fn patterns_are_about_what_lies_in_schemas() {
    let policy = with(&[(Class::Destructive, Some("billing"), rule(Verdict::Deny, 0))]);
    let extension = Action::on(Verb::Drop, Class::Destructive, ObjectKind::Extension, &Name::bare("hstore"));
    assert_eq!(policy.rule(&extension).verdict, Verdict::RequireApproval);
}

#[test]
fn fewer_approvals_or_another_role_are_weaker() {
    let mut named = rule(Verdict::RequireApproval, 2);
    named.approver_role = Some("dba".into());
    assert!(rule(Verdict::RequireApproval, 2).is_weaker_than(&named));
    assert!(rule(Verdict::RequireApproval, 1).is_weaker_than(&rule(Verdict::RequireApproval, 2)));
    assert!(!rule(Verdict::Deny, 0).is_weaker_than(&named));
    assert!(!named.is_weaker_than(&rule(Verdict::RequireApproval, 2)));
}

#[test]
fn each_approver_role_is_a_requirement_of_its_own() {
    let mut dba = rule(Verdict::RequireApproval, 1);
    dba.approver_role = Some("dba".into());
    let policy = with(&[(Class::Destructive, Some("billing"), dba)]);
    let actions = [
        on(Class::Destructive, Some("billing"), "a"),
        on(Class::Destructive, Some("public"), "b"),
        on(Class::Additive, None, "c"),
    ];
    let wanted = policy.requirements(&actions);
    assert_eq!(wanted.iter().map(|one| one.role.as_deref()).collect::<Vec<_>>(), [Some("dba"), None]);
}
