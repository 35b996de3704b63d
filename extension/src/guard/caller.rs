//! Who may change the runbook: the login itself, acting for itself, at the top level.
//!
//! Identity is the login, but privileges are those of the role in force. Where the two could come apart, in a SECURITY
//! DEFINER function, an index expression, a trigger on somebody else's table, another person could lend the one and steal
//! the other; so functions that change the runbook refuse to be called there.

use crate::error::refusal;
use crate::ledger::refusal::refused;
use crate::permission;
use crate::pg::execute::lock;
use crate::pg::execute::statements::strings_conform;
use crate::pg::hooks::events::{call_in_client_text, do_block_at_hand};
use crate::pg::parse::arguments::is_the_call;
use crate::pg::session::identity;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use runbook_core::changing::{self, Changing};
use runbook_core::statement::{Argument, block_calls, call_at};

/// An argument that must not be NULL. Our functions are not STRICT where that would turn a forgotten target into a call that does
/// nothing and says nothing.
///
/// # Errors
/// 22004.
pub fn given<T>(value: Option<T>, function: &str, argument: &str) -> Result<T, ErrorReport> {
    value.ok_or_else(|| refusal("22004", format!("runbook.{function}: {argument} can't be NULL"), None, None))
}

/// A call that was let in.
#[derive(Clone, Copy, Debug)]
pub struct Call(&'static str);

impl Call {
    /// An argument that must not be NULL.
    ///
    /// # Errors
    /// 22004.
    pub fn given<T>(self, value: Option<T>, argument: &str) -> Result<T, ErrorReport> {
        given(value, self.0, argument)
    }
}

/// The way into a function that changes the runbook: only the login itself gets in, by a call that stands in its own text.
///
/// # Errors
/// 25006 on a standby; those of [`must_be_the_login`] and [`must_be_asked_for`].
pub fn enter(fcinfo: pg_sys::FunctionCallInfo, function: &Changing) -> Result<Call, ErrorReport> {
    // Nothing can be recorded here either.
    if identity::in_recovery() {
        let message = format!("runbook.{} can't be called on a standby", function.name);
        let hint = "Connect to the primary server.".to_owned();
        return Err(refusal("25006", message, Some("A standby takes no changes.".to_owned()), Some(hint)));
    }
    must_be_the_login(function.name, function.roles)?;
    must_be_asked_for(fcinfo, function)?;
    if function.changes_rules() {
        lock::wait_for_rules();
    }
    Ok(Call(function.name))
}

/// Refuses a call that the login did not make itself. `roles` are those of which the login itself must be a member of one.
///
/// # Errors
/// 42501 inside SECURITY DEFINER functions, restricted operations and triggers, and for logins that only borrow the role;
/// 55000 inside a revision.
pub fn must_be_the_login(function: &str, roles: &[&str]) -> Result<(), ErrorReport> {
    let refuse = |why: String, hint: String| {
        Err(refused(function, "42501", format!("runbook.{function} can't be called here"), Some(why), Some(hint)))
    };
    let alone = || "Call it as a statement of its own, as a login that is a member of the role.".to_owned();
    if permission::is_applying() {
        return Err(refused(
            function,
            "55000",
            format!("a revision can't call runbook.{function}"),
            Some("A revision is being applied in this session.".to_owned()),
            Some("Call it before or after the revision.".to_owned()),
        ));
    }
    if let Some(login) = identity::disguised_login() {
        return refuse(
            format!("Login \"{login}\" opened the session, and SET SESSION AUTHORIZATION does not make it another person."),
            "Connect as the login that should make the call.".to_owned(),
        );
    }
    if !identity::acts_for_itself() {
        return refuse(
            "It is called with the privileges of another role: from a SECURITY DEFINER function or a maintenance command."
                .to_owned(),
            alone(),
        );
    }
    if identity::trigger_depth() > 0 {
        return refuse("It is called from a trigger.".to_owned(), alone());
    }
    if !roles.is_empty() && !roles.iter().any(|role| identity::session_is_member(role)) {
        let login = identity::session_role();
        return refuse(
            format!("Login \"{login}\" is not a member of {}.", roles.join(" or ")),
            format!("A DBA can change that: GRANT {} TO {};", roles[0], runbook_core::action::quote(&login)),
        );
    }
    Ok(())
}

/// Refuses a call that the client's own text does not make: a view, a row security policy or a function of somebody else's
/// can be read by an approver, who then would have decided without knowing. It is not enough that the text makes such a call,
/// too: the very call must stand there.
///
/// # Errors
/// 42501.
fn must_be_asked_for(fcinfo: pg_sys::FunctionCallInfo, function: &Changing) -> Result<(), ErrorReport> {
    let Changing { name: function, .. } = *function;
    if strings_conform() {
        // Where the text says what an argument is, it must be that: a function of somebody else's whose code stands at the same place of its
        // own text may have been called instead.
        let says = |text: &str, offset| call_at(text, offset, function).is_some_and(|said| is_the_call(fcinfo, &said));
        if call_in_client_text(fcinfo).is_some_and(|(text, offset)| says(&text, offset)) {
            return Ok(());
        }
        // In a block it is not known where, so the arguments must be constants.
        let may_be_in_a_block = changing::IN_DO_BLOCKS.iter().any(|known| known.name == function);
        let in_block = |text: &str| {
            let said = |said: &Vec<Argument>| !said.contains(&Argument::Unknown) && is_the_call(fcinfo, said);
            block_calls(text, function).iter().any(said)
        };
        if may_be_in_a_block && do_block_at_hand(fcinfo).is_some_and(|text| in_block(&text)) {
            return Ok(());
        }
    }
    Err(refused(
        function,
        "42501",
        format!("runbook.{function} can't be called here"),
        Some("The client's statement does not call it directly; something that the statement runs does.".to_owned()),
        Some(format!("Call it as a statement of its own: SELECT runbook.{function}(…);")),
    ))
}

/// The most bytes of a reason, a comment or a permit's statement: the ledger keeps them forever.
const LIMIT: usize = 64 * 1024;

/// Refuses a text that is too long.
///
/// # Errors
/// 54000.
pub fn limited(what: &str, text: &str) -> Result<(), ErrorReport> {
    if text.len() <= LIMIT {
        return Ok(());
    }
    let message = format!("the {what} has {} bytes, more than the limit of {LIMIT}", text.len());
    Err(refusal("54000", message, None, Some("Shorten it, or put long texts into a revision.".to_owned())))
}

/// A reason that somebody gives for `what`, such as `opening an epoch`; `example` shows how.
///
/// # Errors
/// 54000 where it is too long; 22023 where it says nothing.
pub fn limited_reason(reason: &str, what: &str, example: &str) -> Result<(), ErrorReport> {
    limited("reason", reason)?;
    if reason.trim().is_empty() {
        return Err(refusal("22023", format!("{what} needs a reason"), None, Some(example.to_owned())));
    }
    Ok(())
}
