//! One file per verb.

mod approve;
pub mod audit;
mod branches;
mod break_glass;
mod candidates;
mod completions;
mod current;
mod decide;
mod downgrade;
mod edit;
mod guard;
mod heads;
mod history;
mod import;
mod inbox;
mod init;
mod job;
mod log;
mod man;
mod merge;
mod permit;
mod plan;
mod policy;
mod revision;
mod show;
mod sql;
mod stamp;
mod status;
mod submit;
mod upgrade;
mod withdraw;

use crate::args::import::Import;
use crate::args::{Command, Guard};
use crate::context::Context;
use crate::error::Result;

/// Runs a command.
pub fn run(command: Command, context: &Context) -> Result<()> {
    match command {
        Command::Init(args) => init::run(&args),
        Command::Revision(args) => revision::run(&args, context),
        Command::Merge(args) => merge::run(&args, context),
        Command::Edit(args) => edit::run(&args, context),
        Command::Submit(args) => submit::run(&args, context),
        Command::Withdraw(args) => withdraw::run(&args, context),
        Command::Inbox => inbox::run(context),
        Command::Approve(args) => approve::run(&args, context),
        Command::Reject(args) => decide::run("reject", &args, context),
        Command::Revoke(args) => decide::run("revoke", &args, context),
        Command::Permit(args) => permit::run(&args, context),
        Command::BreakGlass(args) => break_glass::run(&args, context),
        Command::Policy(args) => policy::run(&args, context),
        Command::Plan(args) => plan::run(&args, context),
        Command::Upgrade(args) => upgrade::run(&args, context),
        Command::Downgrade(args) => downgrade::run(&args, context),
        Command::Jobs => job::list(context),
        Command::Wait(args) => job::wait(&args, context),
        Command::Cancel(args) => job::ask("cancel", &args, context),
        Command::Pause(args) => job::ask("pause", &args, context),
        Command::Resume(args) => job::resume(&args, context),
        Command::Current(args) => current::run(&args, context),
        Command::Heads(args) => heads::run(&args, context),
        Command::Branches(args) => branches::run(&args, context),
        Command::History(args) => history::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Stamp(args) => stamp::run(&args, context),
        Command::Log(args) => log::run(&args, context),
        Command::Audit(command) => audit::run(&command, context),
        Command::Status => status::run(context),
        Command::Guard(Guard::Report(args)) => guard::report(&args, context),
        Command::Import(Import::Alembic(args)) => import::alembic(&args, context),
        Command::Completions { shell } => completions::run(shell),
        Command::Man(args) => man::run(&args, context),
        Command::Candidates { kind } => candidates::run(kind, context),
    }
}
