//! Whether and how strictly this database is guarded.

use crate::error;
use crate::pg::workers::worker;
use crate::store::settings;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

/// `runbook.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, reason = "the variants are spelt as users type them")]
pub enum Mode {
    /// Refuse what policy does not allow.
    enforce,
    /// Let it pass and record that it would have been refused.
    record,
    /// Do nothing.
    off,
}

static MODE: GucSetting<Mode> = GucSetting::<Mode>::new(Mode::enforce);
static GUARDED: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(None);
static GLASS: GucSetting<Option<std::ffi::CString>> = GucSetting::<Option<std::ffi::CString>>::new(None);

/// Defines `runbook.mode` and reserves the prefix.
pub fn define_parameters() {
    GucRegistry::define_enum_guc(
        c"runbook.mode",
        c"What the guard does about statements that policy does not allow.",
        c"enforce refuses them, record lets them pass and writes to the ledger, off does nothing. Only an activated database is guarded.",
        &MODE,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"runbook.guarded",
        c"Marks a guarded database for the rest of the cluster.",
        c"Set for the database by runbook.activate(); setting it by hand guards nothing.",
        &GUARDED,
        GucContext::Suset,
        GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE,
    );
    GucRegistry::define_int_guc(
        c"runbook.seal_interval",
        c"How often a database's ledger is sealed, at most, while the library is preloaded.",
        c"In an idle database, an entry is sealed at once.",
        &worker::SEAL_INTERVAL,
        10,
        3_600_000,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_string_guc(
        c"runbook.glass",
        c"Marks a session in which the glass is broken.",
        c"Set by runbook.break_glass(); setting it by hand does not break the glass, and resetting it puts policy back in \
          force.",
        &GLASS,
        GucContext::Userset,
        GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE,
    );
}

/// The mark of a broken glass; empty without one.
pub fn glass_mark() -> String {
    GLASS.get().map(|mark| mark.to_string_lossy().into_owned()).unwrap_or_default()
}

/// How strictly this database is guarded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// Not activated here, or switched off.
    Off,
    /// Activated, recording only.
    Record,
    /// Activated and refusing.
    Enforce,
}

impl Enforcement {
    /// The enforcement in force.
    pub fn current() -> error::Result<Self> {
        match MODE.get() {
            Mode::off => Ok(Self::Off),
            mode => Ok(match (settings::is_active()?, mode) {
                (false, _) => Self::Off,
                (true, Mode::record) => Self::Record,
                (true, _) => Self::Enforce,
            }),
        }
    }
}

/// `runbook.mode`.
pub fn mode() -> Mode {
    MODE.get()
}

impl Mode {
    /// As users type it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::enforce => "enforce",
            Self::record => "record",
            Self::off => "off",
        }
    }
}
