//! `runbook stamp`: says where the database stands.

use crate::args::Stamp;
use crate::client::Queries;
use crate::context::Context;
use crate::error::Result;
use crate::output;
use serde_json::json;

/// Stamps all targets in one transaction, and prints where the database stands then.
pub fn run(args: &Stamp, context: &Context) -> Result<()> {
    let mut client = context.connect()?;
    let mut transaction = client.transaction()?;
    let mut heads: Vec<String> = vec![];
    for (at, target) in args.targets.iter().enumerate() {
        let purge = args.purge && at == 0;
        heads = transaction.query_one("SELECT runbook.stamp($1, $2)", &[target, &purge])?.try_get(0)?;
    }
    transaction.commit()?;
    let line = if heads.is_empty() { "stamped: base".to_owned() } else { format!("stamped: {}", heads.join(", ")) };
    output::message(context.format(), "heads", json!(heads), &line)
}
