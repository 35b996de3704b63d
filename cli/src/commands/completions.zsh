# Revisions come from the revision files, and environments from runbook.toml: the command itself lists them.
_runbook_candidates() {
    local -a candidates
    candidates=("${(@f)$(runbook __complete "$1" 2>/dev/null)}")
    compadd -- ${candidates:#}
}

_runbook_revisions() {
    _runbook_candidates revisions
}

_runbook_environments() {
    _runbook_candidates environments
}

