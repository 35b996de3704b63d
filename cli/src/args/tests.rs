use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn what_fingers_learnt_with_alembic_is_understood() {
    let lines = [
        "runbook upgrade head",
        "runbook upgrade +2",
        "runbook upgrade a:b --sql",
        "runbook downgrade -1",
        "runbook downgrade branch@-1",
        "runbook downgrade base",
        "runbook current -v",
        "runbook current -c",
        "runbook current --check-heads",
        "runbook heads -v",
        "runbook branches -v",
        "runbook history -r a:b -v -i",
        "runbook history -r-3:current",
        "runbook history --indicate-current",
        "runbook show head",
        "runbook edit head",
        "runbook stamp head --purge",
        "runbook stamp a b",
        "runbook merge heads -m joined",
        "runbook merge a b --branch-label x --rev-id c",
        "runbook revision -m words --head a --splice --branch-label x --rev-id c --depends-on d",
        "runbook -c runbook.toml upgrade",
        "runbook approve a -m words --for 2h --catalog",
        "runbook policy set destructive require_approval --approvals 2 --objects billing --approver-role dba",
        "runbook break-glass -m fire --upgrade +1",
    ];
    assert!(Args::try_parse_from(["runbook", "break-glass", "-m", "fire"]).is_err(), "it must be for something");
    for line in lines {
        if let Err(error) = Args::try_parse_from(line.split(' ')) {
            panic!("{line}: {error}");
        }
    }
    for line in ["stamp head --purge", "stamp --purge head", "stamp -1 --purge"] {
        let parsed = Args::try_parse_from(["runbook"].into_iter().chain(line.split(' '))).unwrap();
        assert!(matches!(parsed.command, Command::Stamp(stamp) if stamp.purge && stamp.targets.len() == 1), "{line}");
    }
    for line in ["stamp --prge", "upgrade --atomci", "downgrade --sq", "plan --downgarde", "stamp head --prge"] {
        assert!(Args::try_parse_from(["runbook"].into_iter().chain(line.split(' '))).is_err(), "{line}");
    }
}

#[test]
fn a_word_outside_a_closed_set_is_left_to_the_server() {
    for line in ["policy set breaking perhaps", "policy set odd deny", "policy preset odd", "revision --phase odd"] {
        assert!(Args::try_parse_from(["runbook"].into_iter().chain(line.split(' '))).is_ok(), "{line}");
    }
}
