//! `runbook audit keygen`.

use crate::args::Keygen;
use crate::context::Context;
use crate::error::Result;
use crate::key::{PrivateKey, public_file};
use crate::output;

/// Makes a key, and saves both halves; neither file may exist.
pub fn generate(args: &Keygen, context: &Context) -> Result<()> {
    let key = PrivateKey::generate(&args.name)?;
    key.save(&args.out)?;
    let public = key.public()?.line()?;
    let private_file = format!("private key: {} (keep it away from the server)", args.out.display());
    let public_file = format!("public key:  {}", public_file(&args.out).display());
    output::messages(context.format(), "public_key", public.clone().into(), &[&private_file, &public_file, &public])
}
