//! Arguments of `import`.

use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

/// `import`.
#[derive(Debug, Subcommand)]
pub enum Import {
    /// Run an Alembic environment on a scratch database, and record its SQL
    Alembic(Alembic),
}

/// `import alembic`.
#[derive(Debug, ClapArgs)]
pub struct Alembic {
    /// Alembic's configuration file
    #[arg(long, default_value = "alembic.ini")]
    pub ini: PathBuf,
    /// Directory with env.py, if the configuration file does not name it
    #[arg(long)]
    pub script_location: Option<PathBuf>,
    /// Server for the scratch database; the login must be allowed to create databases
    #[arg(long, value_name = "URL")]
    pub scratch: Option<String>,
    /// Python with alembic and the project's packages
    #[arg(long, default_value = "python3")]
    pub python: PathBuf,
    /// Callable that takes an engine and creates the tables from before the first revision
    #[arg(long, value_name = "MODULE:FUNCTION")]
    pub initial: Option<String>,
    /// Directory for the revision files
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,
}
