//! Arguments of `import`.

use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// `import`.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Import an Alembic environment by running it on a scratch database and recording what it sends
    Alembic(Alembic),
}

/// `import alembic`.
#[derive(Debug, ClapArgs)]
pub struct Alembic {
    /// Alembic's configuration file
    #[arg(long, default_value = "alembic.ini")]
    pub ini: PathBuf,
    /// Directory with env.py, if the configuration file doesn't name it
    #[arg(long)]
    pub script_location: Option<PathBuf>,
    /// Server to make the scratch database on; the login must be allowed to create databases
    #[arg(long, value_name = "URL")]
    pub scratch: Option<String>,
    /// Python that has the project's packages
    #[arg(long, default_value = "python3")]
    pub python: PathBuf,
    /// Python callable (module:function, or module:object.method) that takes an engine and makes the tables that exist before the first revision
    #[arg(long, value_name = "MODULE:FUNCTION")]
    pub initial: Option<String>,
    /// Directory for the revision files
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,
}
