//! The `runbook` command; see [`runbook_cli`].
fn main() -> std::process::ExitCode {
    runbook_cli::run()
}
