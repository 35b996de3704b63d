//! Parameters that a session has of its own, so that the same text would not mean the same in it.
//!
//! What decides what a statement of PostgreSQL's own means is pinned by name ([`crate::settings`]). Two kinds of parameters can't be:
//! those of extensions, which nobody can list, and those whose right value is the database's and not one of ours. They are set back
//! to what holds for every session of the database.

use crate::pg::execute::subtransaction;
use crate::pg::session::identity::{config, current_role};
use crate::pg::strings::text;
use pgrx::pg_sys;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};

/// Parameters of PostgreSQL's own whose right value is the database's.
const OF_THE_DATABASE: [&str; 6] =
    ["default_text_search_config", "timezone_abbreviations", "lc_messages", "lc_monetary", "lc_numeric", "lc_time"];

/// The parameters that this session, its login or its client has set, of those that are the database's to set; each with the value that is
/// to be set instead, `None` for what RESET gives. Where the login or the client has set one from the start, what the database says is not
/// kept, and the value is PostgreSQL's or the extension's own.
///
/// A parameter of a library that is not loaded yet is a mere placeholder: what the session has set comes into force when a revision's first
/// statement loads it. So the libraries of extensions that are installed here are loaded first.
pub fn of_the_session() -> Vec<(CString, Option<CString>)> {
    for extension in placeholders() {
        let library = CString::new(format!("$libdir/{extension}")).unwrap_or_default();
        // What has no library of its name has no parameter that could come into force.
        subtransaction::attempt(|| {
            // SAFETY: NUL-terminated.
            unsafe { pg_sys::load_file(library.as_ptr(), false) };
            Ok(())
        });
    }
    // What comes later is the login's, or the client's.
    let is_own = |source| source > pg_sys::GucSource::PGC_S_DATABASE;
    let mut found = vec![];
    for parameter in all() {
        // SAFETY: a live parameter, whose name is NUL-terminated.
        unsafe {
            let name = CStr::from_ptr((*parameter).name);
            if is_own((*parameter).source) && is_set_back(name) {
                let value = is_own((*parameter).reset_source).then(|| boot_value(parameter));
                found.push((name.to_owned(), value));
            }
        }
    }
    found
}

/// Parameters of PostgreSQL's own by which a text is read, or what it does is done.
const READ_BY: [&str; 26] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "extra_float_digits",
    "gin_fuzzy_search_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lo_compat_privileges",
    "password_encryption",
    "quote_all_identifiers",
    "row_security",
    "session_replication_role",
    "timezone_abbreviations",
    "transform_null_equals",
    "xmlbinary",
    "xmloption",
    "zero_damaged_pages",
];

/// The name under which [`reading`] has the role in force.
pub const ROLE: &str = "current_user";

/// The parameters under which this session reads a text, with their values: those of PostgreSQL's own, those of extensions that the
/// session, its login or its client has set, and the role in force, which row security and `current_user` depend on.
pub fn reading() -> BTreeMap<String, String> {
    let value = |name: &str| config(name).unwrap_or_default();
    let mut found: BTreeMap<String, String> = READ_BY.iter().map(|name| ((*name).to_owned(), value(name))).collect();
    for parameter in all() {
        // SAFETY: a live parameter, whose name is NUL-terminated.
        let (name, is_set) = unsafe { (text((*parameter).name), (*parameter).source > pg_sys::GucSource::PGC_S_DATABASE) };
        if is_set && name.contains('.') && !name.starts_with("runbook.") {
            found.insert(name.clone(), value(&name));
        }
    }
    found.insert(ROLE.to_owned(), current_role());
    found
}

/// Installed extensions to which placeholders belong by their names.
fn placeholders() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for parameter in all() {
        // SAFETY: a live parameter, whose name is NUL-terminated; looked up with missing_ok.
        unsafe {
            if (*parameter).flags & pg_sys::GUC_CUSTOM_PLACEHOLDER as i32 == 0 {
                continue;
            }
            let name = text((*parameter).name);
            let Some((prefix, _)) = name.split_once('.') else { continue };
            let extension = CString::new(prefix).unwrap_or_default();
            if pg_sys::get_extension_oid(extension.as_ptr(), true) != pg_sys::InvalidOid {
                found.insert(prefix.to_owned());
            }
        }
    }
    found
}

fn is_set_back(name: &CStr) -> bool {
    let name = name.to_bytes();
    let of_an_extension = name.contains(&b'.') && !name.starts_with(b"runbook.");
    of_an_extension || OF_THE_DATABASE.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

/// The value that a parameter has where nobody sets it.
unsafe fn boot_value(parameter: *mut pg_sys::config_generic) -> CString {
    use pg_sys::config_type::*;
    // SAFETY: the kind says which struct the parameter is the beginning of (utils/guc_tables.h).
    let value = unsafe {
        match (*parameter).vartype {
            PGC_BOOL => (*parameter.cast::<pg_sys::config_bool>()).boot_val.to_string(),
            PGC_INT => (*parameter.cast::<pg_sys::config_int>()).boot_val.to_string(),
            PGC_REAL => (*parameter.cast::<pg_sys::config_real>()).boot_val.to_string(),
            PGC_ENUM => {
                let parameter = parameter.cast::<pg_sys::config_enum>();
                text(pg_sys::config_enum_lookup_by_value(parameter, (*parameter).boot_val))
            }
            _ => text((*parameter.cast::<pg_sys::config_string>()).boot_val),
        }
    };
    CString::new(value).unwrap_or_default()
}

fn all() -> Vec<*mut pg_sys::config_generic> {
    // SAFETY: an array of as many pointers as there are parameters, which lives until one is added.
    unsafe {
        #[cfg(feature = "pg15")]
        let (array, count) = (pg_sys::get_guc_variables(), pg_sys::GetNumConfigOptions());
        #[cfg(not(feature = "pg15"))]
        let (array, count) = {
            let mut count = 0;
            (pg_sys::get_guc_variables(&mut count), count)
        };
        (0..usize::try_from(count).unwrap_or(0)).map(|at| *array.add(at)).collect()
    }
}
