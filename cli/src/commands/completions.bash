
# Revisions come from the revision files, and environments from runbook.toml: the command itself lists them.
_runbook_files() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}"
    local verb="" config="" kind="" at word candidate
    # Bash makes words of "=" and ":".
    if [[ "${cur}" == [=:] ]]; then
        cur=""
    elif [[ "${prev}" == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    fi
    for (( at = 1; at < COMP_CWORD; at++ )); do
        word="${COMP_WORDS[at]}"
        case "${word}" in
            @VALUED@)
                at=$(( at + 1 ))
                if [[ "${COMP_WORDS[at]}" == "=" ]]; then at=$(( at + 1 )); fi
                if [[ "${word}" == -c || "${word}" == --config ]]; then config="${COMP_WORDS[at]}"; fi
                ;;
            [=:]) at=$(( at + 1 )) ;;
            -*) ;;
            *) verb="${word}"; break ;;
        esac
    done
    case "${verb},${prev}" in
        *,-e|*,--env) kind=environments ;;
        @REVISIONS@) kind=revisions ;;
        @OTHERS@) ;;
        @POSITIONAL@) kind=revisions ;;
    esac
    if [[ -z "${kind}" || "${cur}" == -* ]]; then
        _runbook "$@"
        return
    fi
    # Not with "compgen -W", which would run what stands in a candidate.
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ "${candidate}" == "${cur}"* ]]; then COMPREPLY+=("${candidate}"); fi
    done < <("$1" ${config:+--config "${config}"} __complete "${kind}" 2>/dev/null)
}

complete -F _runbook_files -o bashdefault -o default runbook
