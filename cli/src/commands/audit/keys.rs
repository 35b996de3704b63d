//! `runbook audit keygen`.

use crate::args::Keygen;
use crate::context::Context;
use crate::error::Result;
use crate::key::{PrivateKey, public_file};
use crate::output;

pub fn generate(args: &Keygen, context: &Context) -> Result<()> {
    let key = PrivateKey::generate(&args.name)?;
    key.save(&args.out)?;
    let public = key.public()?.line()?;
    let lines = format!(
        "private key: {} (keep it away from the server)\npublic key:  {}\n{public}",
        args.out.display(),
        public_file(&args.out).display()
    );
    output::message(context.format(), "public_key", public.clone().into(), &lines)
}
