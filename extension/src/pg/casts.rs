//! What ALTER COLUMN … TYPE and ADD COLUMN … DEFAULT would do to rows, read from the catalog.

use crate::pg::caught::{text, trap};
use crate::pg::nodes::{NodePtr, items, strings, tag};
use pgrx::pg_sys;
use pgrx::pg_sys::{ConstrType, NodeTag};
use runbook_core::command::{Name, TypeChange};
use runbook_core::identity::Identity;
use std::ffi::CString;

/// Types and functions below are PostgreSQL's own (access/transam.h, FirstNormalObjectId).
const FIRST_NORMAL_OBJECT: u32 = 16384;

/// What a change of a column's type without USING does to its values.
pub fn type_change(table: &Name, column: &str, type_name: *mut pg_sys::TypeName) -> TypeChange {
    let Identity::Is(found) = table.identity else { return TypeChange::Converts };
    let name = CString::new(column).unwrap_or_default();
    let relation = pg_sys::Oid::from(found.object);
    // SAFETY: look-ups in catalog caches; `get_atttypetypmodcoll` is called for a column that was found, and trapped all the
    // same, since nothing is locked.
    let types = trap(|| unsafe {
        let number = pg_sys::get_attnum(relation, name.as_ptr());
        if number <= 0 {
            return None;
        }
        let (mut old, mut old_mod, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
        pg_sys::get_atttypetypmodcoll(relation, number, &mut old, &mut old_mod, &mut collation);
        let (mut new, mut new_mod) = (pg_sys::InvalidOid, -1);
        pg_sys::typenameTypeIdAndMod(std::ptr::null_mut(), type_name, &mut new, &mut new_mod);
        let old = pg_sys::getBaseTypeAndTypmod(old, &mut old_mod);
        let base = pg_sys::getBaseTypeAndTypmod(new, &mut new_mod);
        Some((old, old_mod, base, new_mod, base != new))
    });
    match types {
        Ok(Some((old, old_mod, new, new_mod, is_domain))) => {
            let change = if old == new { same_type(old.to_u32(), old_mod, new_mod) } else { other_type(old, new, new_mod) };
            // The constraints of a domain are checked, which reads every row.
            if is_domain { change.max_with(TypeChange::Converts) } else { change }
        }
        _ => TypeChange::Converts,
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
    pub const CHAR: u32 = 18;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const JSON: u32 = 114;
    pub const JSONB: u32 = 3802;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const MONEY: u32 = 790;
    pub const CIDR: u32 = 650;
    pub const GEOMETRY: [u32; 7] = [600, 601, 602, 603, 604, 628, 718];
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const TIMETZ: u32 = 1266;
    pub const VARBIT: u32 = 1562;
    pub const NUMERIC: u32 = 1700;
}

fn same_type(kind: u32, old: i32, new: i32) -> TypeChange {
    if old == new {
        return TypeChange::Widens;
    }
    // SAFETY: a look-up in a cache that gives 0 for what is no array.
    let element = unsafe { pg_sys::get_element_type(pg_sys::Oid::from(kind)) }.to_u32();
    match if element == 0 { kind } else { element } {
        // Longer values are an error, not a loss.
        oid::VARCHAR | oid::VARBIT if new == -1 || (old != -1 && new >= old) => TypeChange::Widens,
        oid::NUMERIC => {
            let parts = |modifier: i32| ((modifier - 4) >> 16, (modifier - 4) & 0x7ff);
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
        oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ | oid::TIMETZ => {
            if new == -1 || new >= 6 || (old != -1 && new >= old) {
                TypeChange::Widens
            } else {
                TypeChange::Loses
            }
        }
        oid::INTERVAL => {
            if new == -1 {
                TypeChange::Widens
            } else {
                TypeChange::Loses
            }
        }
        _ => TypeChange::Converts,
    }
}

fn other_type(old: pg_sys::Oid, new: pg_sys::Oid, new_mod: i32) -> TypeChange {
    use pg_sys::CoercionPathType::{COERCION_PATH_ARRAYCOERCE, COERCION_PATH_FUNC, COERCION_PATH_RELABELTYPE};
    let mut function = pg_sys::InvalidOid;
    // SAFETY: looks into pg_cast by way of the cache.
    let path = unsafe { pg_sys::find_coercion_pathway(new, old, pg_sys::CoercionContext::COERCION_ASSIGNMENT, &mut function) };
    let ours = |oid: pg_sys::Oid| oid.to_u32() < FIRST_NORMAL_OBJECT;
    match path {
        COERCION_PATH_RELABELTYPE if new_mod == -1 && ours(old) && ours(new) => TypeChange::Widens,
        // A cast that somebody has defined can do anything.
        COERCION_PATH_FUNC if !ours(function) => TypeChange::Loses,
        // The new type's own precision rounds what the cast gave.
        _ if same_type(new.to_u32(), -1, new_mod) == TypeChange::Loses => TypeChange::Loses,
        // The order and the repetition of keys.
        _ if (old.to_u32(), new.to_u32()) == (oid::JSON, oid::JSONB) => TypeChange::Loses,
        // How many digits the text has, the session says.
        _ if matches!(old.to_u32(), oid::FLOAT4 | oid::FLOAT8) && !digits_are_exact() => TypeChange::Loses,
        COERCION_PATH_FUNC if is_lossy(old.to_u32(), new.to_u32()) => TypeChange::Loses,
        COERCION_PATH_ARRAYCOERCE => {
            // SAFETY: look-ups in a cache that give 0 for what is no array.
            let (old, new) = unsafe { (pg_sys::get_element_type(old), pg_sys::get_element_type(new)) };
            if old == new { TypeChange::Converts } else { other_type(old, new, new_mod).max_with(TypeChange::Converts) }
        }
        _ if matches!(new.to_u32(), oid::CHAR | oid::NAME) => TypeChange::Loses,
        _ => TypeChange::Converts,
    }
}

/// Whether floating-point numbers are written with as many digits as it takes to read the same number back.
fn digits_are_exact() -> bool {
    // SAFETY: reads a parameter's static.
    unsafe { pg_sys::extra_float_digits >= 1 }
}

/// Whether PostgreSQL's own assignment cast rounds or cuts. Casts that raise an error for what doesn't fit lose nothing.
fn is_lossy(old: u32, new: u32) -> bool {
    use oid::*;
    match (old, new) {
        (NUMERIC, INT2 | INT4 | INT8 | FLOAT4 | FLOAT8 | MONEY) => true,
        (FLOAT8, INT2 | INT4 | INT8 | FLOAT4 | NUMERIC) | (FLOAT4, INT2 | INT4 | INT8 | NUMERIC) => true,
        (INT4, FLOAT4) | (INT8, FLOAT4 | FLOAT8) => true,
        (TIMESTAMP | TIMESTAMPTZ, DATE | TIME | TIMETZ) | (INTERVAL, TIME) | (TIMETZ, TIME) => true,
        (_, CHAR | NAME | CIDR) => true,
        (old, _) => GEOMETRY.contains(&old),
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
        if !type_name.is_null() && strings((*type_name).names).last().is_some_and(|name| serial(name)) {
            return true;
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
    // SAFETY: the analysis works on a copy and looks names up without locking anything; its errors are trapped, and the statement
    // will raise them itself.
    trap(|| unsafe {
        let copy = pg_sys::copyObjectImpl(expression.cast()).cast();
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        let analysed = pg_sys::transformExpr(state, copy, pg_sys::ParseExprKind::EXPR_KIND_COLUMN_DEFAULT);
        pg_sys::contain_volatile_functions(analysed)
    })
    .unwrap_or(false)
}

/// The name of a function's option, where it is one that is on.
pub unsafe fn is_on(option: NodePtr, wanted: &str) -> bool {
    if tag(option) != NodeTag::T_DefElem {
        return false;
    }
    // SAFETY: the tag says so; the value of a boolean option is trapped, since anything can be written there.
    unsafe {
        let option = option.cast::<pg_sys::DefElem>();
        text((*option).defname) == wanted && trap(|| pg_sys::defGetBoolean(option)).unwrap_or(true)
    }
}
