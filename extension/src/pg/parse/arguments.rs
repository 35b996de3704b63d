//! Whether a call of one of our functions is the one that a text writes, by its arguments.

use crate::pg::execute::subtransaction;
use crate::pg::strings::text;
use pgrx::{IntoDatum, pg_sys};
use runbook_core::statement::{Argument, argument_of};
use std::ffi::CString;

/// Whether the arguments of the call at hand are those that a text says, as far as it says them. Those that it leaves out have their
/// defaults.
pub fn is_the_call(fcinfo: pg_sys::FunctionCallInfo, said: &[Argument]) -> bool {
    // SAFETY: fcinfo is valid during the call, with as many arguments as `nargs` says.
    let (count, function) = unsafe { (usize::try_from((*fcinfo).nargs).unwrap_or(0), (*(*fcinfo).flinfo).fn_oid) };
    let names = names(function);
    let mut given = vec![None; count];
    for (at, one) in said.iter().enumerate() {
        let (at, one) = match one {
            Argument::Named(name, one) => (names.iter().position(|known| known == name), one.as_ref()),
            one => (Some(at), one),
        };
        // One too many, or of an unknown name: another function was called.
        let Some(place) = at.and_then(|at| given.get_mut(at)) else { return false };
        *place = Some(one.clone());
    }
    given.into_iter().enumerate().all(|(at, one)| {
        one.or_else(|| default(function, at)).is_some_and(|one| match one {
            Argument::Unknown => true,
            Argument::Null => value(fcinfo, at).is_none(),
            Argument::Constant(written) => is(fcinfo, function, at, &written),
            Argument::Named(..) => false,
        })
    })
}

/// The names of the arguments of one of our functions.
fn names(function: pg_sys::Oid) -> Vec<String> {
    let text: Option<String> =
        // SAFETY: a function that exists; ours have no names with blanks or quotes in them, and no types with a comma.
        unsafe { pgrx::direct_function_call(pg_sys::pg_get_function_identity_arguments, &[function.into_datum()]) };
    let text = text.unwrap_or_default();
    // A name that is a keyword, such as "table", is quoted.
    text.split(", ").map(|one| one.split(' ').next().unwrap_or_default().trim_matches('"').to_owned()).collect()
}

/// The default of an argument.
fn default(function: pg_sys::Oid, at: usize) -> Option<Argument> {
    let number = i32::try_from(at + 1).ok()?;
    // SAFETY: a function that exists, and the number of an argument; NULL where that has no default.
    let text: Option<String> = unsafe {
        pgrx::direct_function_call(pg_sys::pg_get_function_arg_default, &[function.into_datum(), number.into_datum()])
    };
    text.map(|text| argument_of(&text))
}

/// An argument; `None` if it is NULL.
fn value(fcinfo: pg_sys::FunctionCallInfo, at: usize) -> Option<pg_sys::Datum> {
    // SAFETY: there is such an argument.
    unsafe {
        let argument = &*(*fcinfo).args.as_ptr().add(at);
        (!argument.isnull).then_some(argument.value)
    }
}

/// Whether an argument is what a constant means as a value of its type.
fn is(fcinfo: pg_sys::FunctionCallInfo, function: pg_sys::Oid, at: usize, written: &str) -> bool {
    let Some(value) = value(fcinfo, at) else { return false };
    let written = CString::new(written).unwrap_or_default();
    // SAFETY: the function's declared types; what is no value of the type raises an error, which ends the attempt.
    let same = subtransaction::attempt(|| unsafe {
        let mut types: *mut pg_sys::Oid = std::ptr::null_mut();
        let mut count = 0;
        pg_sys::get_func_signature(function, &mut types, &mut count);
        if at >= usize::try_from(count).unwrap_or(0) {
            return Ok(false);
        }
        let data_type = *types.add(at);
        // A name was looked up under the caller's search path, which is not in force any more.
        if data_type == pg_sys::REGCLASSOID {
            return Ok(true);
        }
        let (mut input, mut parameter) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeInputInfo(data_type, &mut input, &mut parameter);
        let (mut output, mut varies) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(data_type, &mut output, &mut varies);
        let meant = pg_sys::OidInputFunctionCall(input, written.as_ptr().cast_mut(), parameter, -1);
        Ok(text(pg_sys::OidOutputFunctionCall(output, meant)) == text(pg_sys::OidOutputFunctionCall(output, value)))
    });
    same.unwrap_or(false)
}
