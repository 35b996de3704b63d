use super::*;
use std::fs;
use std::process::{Command as Process, Stdio};

/// What bash offers for a line, when the command lists `1c0ffee00aa1` and `2d00`, or the environments `local` and `production`.
fn offered(words: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let command = directory.path().join("runbook");
    fs::write(
        &command,
        "#!/bin/sh\ncase \"$*\" in *revisions) echo 1c0ffee00aa1; echo 2d00;; *) echo local; echo production; esac\n",
    )
    .unwrap();
    fs::set_permissions(&command, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (last, before) = (words.last().unwrap(), words[words.len() - 2]);
    let quoted: Vec<String> = words[1..].iter().map(|word| format!("'{word}'")).collect();
    let program = command.display();
    let asks = format!(
        "{}\nCOMP_WORDS=({program} {}); COMP_CWORD={}\n_runbook_files {program} '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        script(Shell::Bash),
        quoted.join(" "),
        words.len() - 1,
    );
    let mut bash = Process::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(asks.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_offers_revisions_environments_and_words() {
    let both = ["1c0ffee00aa1", "2d00"];
    assert_eq!(offered(&["runbook", "approve", ""]), both);
    assert_eq!(offered(&["runbook", "approve", "1c"]), ["1c0ffee00aa1"]);
    assert_eq!(offered(&["runbook", "--env", "local", "upgrade", ""]), both);
    assert_eq!(offered(&["runbook", "--env", "=", "local", "upgrade", "2"]), ["2d00"]);
    assert_eq!(offered(&["runbook", "revision", "-m", "words", "--head", ""]), both);
    assert_eq!(offered(&["runbook", "break-glass", "--upgrade", "=", "2"]), ["2d00"]);
    assert_eq!(offered(&["runbook", "upgrade", "1c0ffee00aa1", ":", "2"]), ["2d00"]);
    assert_eq!(offered(&["runbook", "upgrade", "--env", "p"]), ["production"]);
    assert_eq!(offered(&["runbook", "-e", ""]), ["local", "production"]);
    assert!(!offered(&["runbook", "approve", "-m", ""]).contains(&"2d00".to_owned()), "a comment is no revision");
    assert_eq!(offered(&["runbook", "policy", "set", "destr"]), ["destructive"]);
    assert_eq!(offered(&["runbook", "policy", "preset", "prod"]), ["production"]);
    assert_eq!(offered(&["runbook", "policy", "set", "destructive", "require"]), ["require_approval"]);
    assert_eq!(offered(&["runbook", "appr"]), ["approve"]);
    assert!(offered(&["runbook", "__"]).is_empty());
}

#[test]
fn zsh_and_fish_ask_for_candidates_where_an_argument_takes_them() {
    let command = visible();
    let arguments: Vec<&Arg> = command.get_subcommands().flat_map(Command::get_arguments).collect();
    let asking = arguments.iter().filter(|argument| takes(argument) == Takes::Revisions).count();
    assert!(asking > 12, "{asking} arguments take revisions");
    let zsh = script(Shell::Zsh);
    assert!(zsh.matches(":_runbook_revisions'").count() >= asking && zsh.contains("--env=[Environment"));
    assert!(!zsh.contains(":_users'") && !zsh.contains(":_hosts'"));
    let (functions, call) = (zsh.find("_runbook_revisions() {").unwrap(), zsh.find("if [ \"$funcstack[1]\"").unwrap());
    assert!(functions < call, "the first call comes after the functions");
    let fish = script(Shell::Fish);
    assert!(fish.matches("(runbook __complete revisions").count() >= asking && fish.contains("__complete environments"));
}

#[test]
fn no_script_offers_what_is_hidden() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
        let script = script(shell);
        let offers = script.replace("runbook __complete", "").replace("} __complete", "").replace("$config __complete", "");
        assert!(!offers.contains("__complete "), "{shell}");
        assert!(!offers.contains("runbook____complete"), "{shell}");
    }
}

#[test]
fn only_a_first_verb_takes_revisions() {
    let command = visible();
    let nested = command.get_subcommands().flat_map(Command::get_subcommands).flat_map(Command::get_arguments);
    assert_eq!(nested.filter(|argument| takes(argument) == Takes::Revisions).count(), 0, "the scripts look at the first verb");
}
