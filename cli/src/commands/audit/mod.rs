//! `runbook audit`: one file per verb.

mod archive;
mod checkpoint;
mod export;
mod keys;
mod prove;
mod verify;

use crate::args::Audit;
use crate::client::Queries;
use crate::commands::policy::literal;
use crate::context::Context;
use crate::error::Result;
use crate::output;

/// Runs a verb.
pub fn run(command: &Audit, context: &Context) -> Result<()> {
    match command {
        Audit::Keygen(args) => keys::generate(args, context),
        Audit::Checkpoint(args) => checkpoint::run(args, context),
        Audit::Verify(args) => verify::run(args, context),
        Audit::Prove(args) => prove::run(args, context),
        Audit::CheckProof(args) => prove::check(args, context),
        Audit::Export(args) => export::run(args, context),
        Audit::Archive(args) => archive::run(args, context),
        Audit::OpenEpoch(args) => {
            // The text is what a permit covers: no parameters.
            let position = args.position.map(|position| format!(", {position}")).unwrap_or_default();
            let call = format!("SELECT runbook.open_epoch({}{position})", literal(&args.reason));
            let opened: String = context.connect()?.query_one(&call, &[])?.try_get(0)?;
            let next = format!(
                "opened epoch {opened}; sign a checkpoint of it: runbook audit checkpoint --key FILE --out NOTE --accept-epoch {opened}"
            );
            output::message(context.format(), "epoch", opened.clone().into(), &next)
        }
    }
}
