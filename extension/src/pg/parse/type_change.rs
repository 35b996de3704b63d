//! What ALTER COLUMN … TYPE and ADD COLUMN would do to rows, read from the catalog.
//!
//! Invariant: a change of type loses nothing only where this file knows so. A cast, an output function or a parameter that it does
//! not know may lose what it likes.

use crate::pg::parse::lookup;
use crate::pg::parse::nodes::{NodePtr, items, strings, tag};
use crate::pg::strings::text;
use pgrx::pg_sys::CoercionPathType::{
    COERCION_PATH_ARRAYCOERCE, COERCION_PATH_COERCEVIAIO, COERCION_PATH_FUNC, COERCION_PATH_NONE, COERCION_PATH_RELABELTYPE,
};
use pgrx::pg_sys::{self, ConstrType, NodeTag};
use runbook_core::command::{Name, TypeChange};
use runbook_core::identity::Identity;
use std::ffi::CString;

/// Types and functions below are PostgreSQL's own (access/transam.h, FirstNormalObjectId).
const FIRST_NORMAL_OBJECT: u32 = 16384;

/// What a change of a column's type without USING does to its values. Where the type is not to be found, or has no cast, PostgreSQL
/// refuses the statement; until then the worst is assumed.
///
/// `alone` says that the statement does nothing else: code that it runs besides could change the parameters that a text is written under.
pub fn type_change(table: &Name, column: &str, definition: &pg_sys::ColumnDef, alone: bool) -> TypeChange {
    let type_name = definition.typeName;
    // A table that is not there yet is asked again when it is; until then an approval must cover the worst.
    let Identity::Is(found) = table.identity else { return TypeChange::Loses };
    let name = CString::new(column).unwrap_or_default();
    let relation = pg_sys::Oid::from(found.object);
    // SAFETY: look-ups in catalog caches; nothing is locked, so what was found a moment ago may be gone, which is an error.
    let types = lookup::attempt(|| unsafe {
        let number = pg_sys::get_attnum(relation, name.as_ptr());
        if number <= 0 {
            return Ok(None);
        }
        let (mut old, mut old_mod, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
        pg_sys::get_atttypetypmodcoll(relation, number, &mut old, &mut old_mod, &mut collation);
        let (mut new, mut new_mod) = (pg_sys::InvalidOid, -1);
        pg_sys::typenameTypeIdAndMod(std::ptr::null_mut(), type_name, &mut new, &mut new_mod);
        let old = pg_sys::getBaseTypeAndTypmod(old, &mut old_mod);
        let base = pg_sys::getBaseTypeAndTypmod(new, &mut new_mod);
        let change = if old == base { same_type(old.to_u32(), old_mod, new_mod) } else { other_type(old, base, new_mod) };
        let mut wanted = *definition;
        let sorted_otherwise = pg_sys::GetColumnDefCollation(std::ptr::null_mut(), &mut wanted, new) != collation;
        // The constraints of a domain are checked, which reads every row; and under another collation values are equal, or come before
        // others, that did not.
        let more = base != new || sorted_otherwise;
        let change = change.map(|change| if more { change.max_with(TypeChange::Converts) } else { change });
        let depends = old != base && is_written_by_parameters(old) && !(alone && runs_no_code(relation));
        Ok(change.map(|change| if depends { TypeChange::Loses } else { change }))
    });
    match types {
        Some(Some(change)) => change,
        // There is no such column, or no cast: PostgreSQL says so.
        Some(None) => {
            lookup::note_failure();
            TypeChange::Loses
        }
        None => TypeChange::Loses,
    }
}

trait Worse {
    fn max_with(self, other: Self) -> Self;
}

impl Worse for TypeChange {
    fn max_with(self, other: Self) -> Self {
        if self == Self::Widens { other } else { self }
    }
}

/// OIDs of pg_type.dat.
mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const XML: u32 = 142;
    pub const JSONB: u32 = 3802;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const MACADDR8: u32 = 774;
    pub const MONEY: u32 = 790;
    pub const MACADDR: u32 = 829;
    pub const CIDR: u32 = 650;
    pub const INET: u32 = 869;
    pub const GEOMETRY: [u32; 7] = [600, 601, 602, 603, 604, 628, 718];
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const TIMETZ: u32 = 1266;
    pub const BIT: u32 = 1560;
    pub const VARBIT: u32 = 1562;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const TSVECTOR: u32 = 3614;
    pub const TSQUERY: u32 = 3615;
    pub const PG_LSN: u32 = 3220;
    pub const INT4RANGE: u32 = 3904;
    pub const INT8RANGE: u32 = 3926;
    pub const NUMRANGE: u32 = 3906;
    /// regproc, regprocedure, regoper, regoperator, regclass, regtype, regconfig, regdictionary, regnamespace, regrole, regcollation.
    pub const REGISTERED: [u32; 11] = [24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];
}

/// A type's other modifier; `None` never, as for [`other_type`].
fn same_type(kind: u32, old: i32, new: i32) -> Option<TypeChange> {
    if old == new {
        return Some(TypeChange::Widens);
    }
    // SAFETY: a look-up in a cache that gives 0 for what is no array.
    let element = unsafe { pg_sys::get_element_type(pg_sys::Oid::from(kind)) }.to_u32();
    Some(match if element == 0 { kind } else { element } {
        oid::VARCHAR | oid::VARBIT if new == -1 || (old != -1 && new >= old) => TypeChange::Widens,
        // Longer values are an error, except for blanks at their end, which go without a word.
        oid::VARCHAR => TypeChange::Loses,
        oid::BPCHAR if new != -1 && (old == -1 || new < old) => TypeChange::Loses,
        // Bit strings of another length are an error; so are numbers of more digits.
        oid::BPCHAR | oid::BIT | oid::VARBIT => TypeChange::Converts,
        oid::NUMERIC => {
            let parts = |modifier: i32| ((modifier - 4) >> 16, scale_of(modifier));
            match (old, new) {
                (_, -1) => TypeChange::Widens,
                (-1, _) => TypeChange::Loses,
                _ => {
                    let ((old_precision, old_scale), (precision, scale)) = (parts(old), parts(new));
                    if scale < old_scale {
                        TypeChange::Loses
                    } else if scale == old_scale && precision >= old_precision {
                        TypeChange::Widens
                    } else {
                        TypeChange::Converts
                    }
                }
            }
        }
        oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::TIMETZ if new == -1 || new >= 6 || (old != -1 && new >= old) => {
            TypeChange::Widens
        }
        oid::INTERVAL if new == -1 => TypeChange::Widens,
        // What a modifier means to a type of somebody else's, that type says.
        _ => TypeChange::Loses,
    })
}

/// The scale in numeric's modifier: eleven bits with a sign (utils/adt/numeric.c, numeric_typmod_scale).
fn scale_of(modifier: i32) -> i32 {
    (((modifier - 4) & 0x7ff) ^ 1024) - 1024
}

/// A change to another type; `None` where there is no cast that an assignment may make.
fn other_type(old: pg_sys::Oid, new: pg_sys::Oid, new_mod: i32) -> Option<TypeChange> {
    let mut function = pg_sys::InvalidOid;
    // SAFETY: looks into pg_cast by way of the cache.
    let path = unsafe { pg_sys::find_coercion_pathway(new, old, pg_sys::CoercionContext::COERCION_ASSIGNMENT, &mut function) };
    let (from, to) = (old.to_u32(), new.to_u32());
    let ours = [from, to].iter().all(|oid| *oid < FIRST_NORMAL_OBJECT);
    let change = match path {
        COERCION_PATH_NONE => return None,
        COERCION_PATH_RELABELTYPE if ours && !is_relabelled_alike(from, to) => TypeChange::Loses,
        COERCION_PATH_RELABELTYPE if new_mod == -1 && ours => TypeChange::Widens,
        // The same bits under another name; only a superuser can say that they mean the same.
        COERCION_PATH_RELABELTYPE => TypeChange::Converts,
        // A cast that somebody has defined can do anything.
        COERCION_PATH_FUNC if function.to_u32() >= FIRST_NORMAL_OBJECT || !ours => TypeChange::Loses,
        COERCION_PATH_FUNC if is_exact(from, to) => TypeChange::Converts,
        COERCION_PATH_ARRAYCOERCE => {
            // SAFETY: look-ups in a cache that give 0 for what is no array.
            let (old, new) = unsafe { (pg_sys::get_element_type(old), pg_sys::get_element_type(new)) };
            // Elements may be of a domain, with a modifier of its own.
            let (mut old_mod, mut own_mod) = (-1, -1);
            let (old, base) =
                // SAFETY: types that exist; what is no domain is its own base.
                unsafe { (pg_sys::getBaseTypeAndTypmod(old, &mut old_mod), pg_sys::getBaseTypeAndTypmod(new, &mut own_mod)) };
            let new_mod = if base == new { new_mod } else { own_mod };
            let change = if old == base { same_type(base.to_u32(), old_mod, new_mod) } else { other_type(old, base, new_mod) };
            change?.max_with(TypeChange::Converts)
        }
        // The way over the text is PostgreSQL's own to types of strings; to another type somebody has said CREATE CAST … WITH INOUT.
        COERCION_PATH_COERCEVIAIO if (from, to) == (oid::JSONB, oid::JSON) => TypeChange::Converts,
        COERCION_PATH_COERCEVIAIO if [oid::TEXT, oid::VARCHAR, oid::BPCHAR].contains(&to) && writes_all(old) => {
            TypeChange::Converts
        }
        _ => TypeChange::Loses,
    };
    // The new type's own length or precision cuts or rounds what the cast gave.
    // A whole number fits, or is an error.
    let is_whole = to == oid::NUMERIC && [oid::INT2, oid::INT4, oid::INT8].contains(&from) && scale_of(new_mod) >= 0;
    let cuts = new_mod != -1 && !is_whole && same_type(to, -1, new_mod) == Some(TypeChange::Loses);
    Some(if cuts { TypeChange::Loses } else { change })
}

/// Whether two types of PostgreSQL's own that have the same bits also mean the same by them: −1 as an oid is 4294967295.
fn is_relabelled_alike(old: u32, new: u32) -> bool {
    let refers = |oid: u32| oid == oid::OID || oid::REGISTERED.contains(&oid);
    let is_text = |oid: u32| [oid::TEXT, oid::VARCHAR, oid::XML].contains(&oid);
    match (old, new) {
        (oid::BIT, oid::VARBIT) | (oid::CIDR, oid::INET) => true,
        (oid::TEXT | oid::VARCHAR, oid::BPCHAR) => true,
        _ => refers(old) && refers(new) || is_text(old) && is_text(new),
    }
}

/// Whether a cast of PostgreSQL's own keeps every value, or raises an error for one that does not fit.
fn is_exact(old: u32, new: u32) -> bool {
    use oid::*;
    match (old, new) {
        (INT2, INT4 | INT8 | NUMERIC | FLOAT4 | FLOAT8) | (INT4, INT2 | INT8 | NUMERIC | FLOAT8) => true,
        (INT8, INT2 | INT4 | NUMERIC) | (FLOAT4, FLOAT8) | (MONEY, NUMERIC) => true,
        (INT4 | INT8, MONEY) | (INT8, OID) | (OID, INT8) => true,
        (BOOL, TEXT | VARCHAR) | (NAME | CHAR, TEXT | VARCHAR) | (INET | CIDR, TEXT | VARCHAR) => true,
        (MACADDR, MACADDR8) | (MACADDR8, MACADDR) => true,
        (DATE, TIMESTAMP) | (TIME, INTERVAL) => true,
        // SAFETY: reads the session's time zone.
        (DATE | TIMESTAMP, TIMESTAMPTZ) => !unsafe { pg_sys::TimestampTimestampTzRequiresRewrite() },
        _ => false,
    }
}

/// Whether the text of a value says all that the value was, under the parameters in force.
fn writes_all(data_type: pg_sys::Oid) -> bool {
    use oid::*;
    // SAFETY: look-ups in catalog caches that give 0 for what is not there; reads parameters' statics.
    unsafe {
        let element = pg_sys::get_element_type(data_type);
        if element != pg_sys::InvalidOid {
            return writes_all(element);
        }
        match data_type.to_u32() {
            // With as many digits as it takes to read the same number back.
            FLOAT4 | FLOAT8 => pg_sys::extra_float_digits >= 1,
            kind if GEOMETRY.contains(&kind) => pg_sys::extra_float_digits >= 1,
            // Other styles write the day before the month, or the short name of a time zone.
            DATE | TIMESTAMP | TIMESTAMPTZ => pg_sys::DateStyle == pg_sys::USE_ISO_DATES as i32,
            INTERVAL => pg_sys::IntervalStyle == pg_sys::INTSTYLE_POSTGRES as i32,
            BOOL | BYTEA | INT2 | INT4 | INT8 | OID | TEXT | VARCHAR | NAME | JSON | JSONB | XML | MACADDR | MACADDR8
            | CIDR | INET | TIME | TIMETZ | BIT | VARBIT | NUMERIC | UUID | TSVECTOR | TSQUERY | PG_LSN | INT4RANGE
            | INT8RANGE | NUMRANGE => true,
            _ => pg_sys::get_typtype(data_type) as u8 == b'e',
        }
    }
}

/// Whether parameters say how the text of a value is written.
fn is_written_by_parameters(data_type: pg_sys::Oid) -> bool {
    use oid::*;
    // SAFETY: a look-up in a catalog cache that gives 0 for what is no array.
    let element = unsafe { pg_sys::get_element_type(data_type) }.to_u32();
    let kind = if element == 0 { data_type.to_u32() } else { element };
    [FLOAT4, FLOAT8, DATE, TIMESTAMP, TIMESTAMPTZ, INTERVAL].contains(&kind) || GEOMETRY.contains(&kind)
}

/// Whether rewriting a table runs none of its own code between two values: it has no checks, no generated columns and no heirs.
fn runs_no_code(relation: pg_sys::Oid) -> bool {
    // SAFETY: the tuples are null or rows that stay valid until they are released.
    unsafe {
        let class = pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, relation.into());
        if class.is_null() {
            return false;
        }
        let row = &*pg_sys::GETSTRUCT(class).cast::<pg_sys::FormData_pg_class>();
        let (columns, plain) = (row.relnatts, row.relchecks == 0 && !row.relhassubclass);
        pg_sys::ReleaseSysCache(class);
        plain
            && (1..=columns).all(|number| {
                let cache = pg_sys::SysCacheIdentifier::ATTNUM as i32;
                let column = pg_sys::SearchSysCache2(cache, relation.into(), number.into());
                if column.is_null() {
                    return true;
                }
                let generated = (*pg_sys::GETSTRUCT(column).cast::<pg_sys::FormData_pg_attribute>()).attgenerated;
                pg_sys::ReleaseSysCache(column);
                generated == 0
            })
    }
}

/// Whether adding a column gives every row a value of its own, so that the table is rewritten.
pub fn column_rewrites(definition: NodePtr) -> bool {
    if tag(definition) != NodeTag::T_ColumnDef {
        return false;
    }
    // SAFETY: the tags say what the nodes are.
    unsafe {
        let column = &*definition.cast::<pg_sys::ColumnDef>();
        let serial = |name: &str| ["smallserial", "serial", "bigserial", "serial2", "serial4", "serial8"].contains(&name);
        let type_name = column.typeName;
        if !type_name.is_null() {
            if strings((*type_name).names).last().is_some_and(|name| serial(name)) {
                return true;
            }
            // The constraints of a domain are checked for every row. None of PostgreSQL's own types is one.
            let is_checked = || {
                lookup::attempt(|| Ok(pg_sys::DomainHasConstraints(pg_sys::typenameTypeId(std::ptr::null_mut(), type_name))))
            };
            if strings((*type_name).names).first().is_none_or(|schema| schema != "pg_catalog") && is_checked().unwrap_or(true) {
                return true;
            }
        }
        items(column.constraints).into_iter().filter(|one| tag(*one) == NodeTag::T_Constraint).any(|one| {
            let constraint = &*one.cast::<pg_sys::Constraint>();
            match constraint.contype {
                ConstrType::CONSTR_IDENTITY | ConstrType::CONSTR_GENERATED => true,
                ConstrType::CONSTR_DEFAULT => is_volatile(constraint.raw_expr),
                _ => false,
            }
        })
    }
}

fn is_volatile(expression: NodePtr) -> bool {
    if matches!(tag(expression), NodeTag::T_Invalid | NodeTag::T_A_Const) {
        return false;
    }
    // SAFETY: the analysis works on a copy and looks names up without locking anything. What can't be analysed is assumed to be
    // volatile; the statement itself will raise the error.
    let found = lookup::attempt(|| unsafe {
        let copy = pg_sys::copyObjectImpl(expression.cast()).cast();
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let analysed = pg_sys::transformExpr(state, copy, pg_sys::ParseExprKind::EXPR_KIND_COLUMN_DEFAULT);
        Ok(pg_sys::contain_volatile_functions(analysed))
    });
    found.unwrap_or(true)
}

/// The value of a boolean option as `defGetBoolean` (commands/define.c) reads it; `None` where it is no option of that name, or
/// its value is none of a boolean, which PostgreSQL refuses.
pub fn boolean(option: NodePtr, wanted: &str) -> Option<bool> {
    if tag(option) != NodeTag::T_DefElem {
        return None;
    }
    // SAFETY: the tags say what the nodes are.
    let word = unsafe {
        let option = &*option.cast::<pg_sys::DefElem>();
        if text(option.defname) != wanted {
            return None;
        }
        if option.arg.is_null() {
            return Some(true);
        }
        match tag(option.arg) {
            NodeTag::T_Integer => (*option.arg.cast::<pg_sys::Integer>()).ival.to_string(),
            NodeTag::T_Boolean => (*option.arg.cast::<pg_sys::Boolean>()).boolval.to_string(),
            NodeTag::T_String => crate::pg::parse::nodes::string(option.arg),
            NodeTag::T_TypeName => strings((*option.arg.cast::<pg_sys::TypeName>()).names).join("."),
            _ => return None,
        }
    };
    match word.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" => Some(true),
        "0" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a list of options has a boolean one of that name that is on. The last of several counts, as for PostgreSQL.
pub fn has_on(options: *mut pg_sys::List, name: &str) -> bool {
    items(options).into_iter().filter_map(|option| boolean(option, name)).next_back().unwrap_or(false)
}
