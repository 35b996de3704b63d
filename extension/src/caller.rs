//! Who may change the runbook: the login itself, acting for itself, at the top level.
//!
//! Identity is the login, but privileges are those of the role in force. Where the two could come apart, in a SECURITY
//! DEFINER function, an index expression, a trigger on somebody else's table, another person could lend the one and steal
//! the other; so functions that change the runbook refuse to be called there.

use crate::error::refusal;
use crate::pg::identity;
use crate::session;
use pgrx::pg_sys::panic::ErrorReport;

/// Refuses a call that the login did not make itself. `role` is the role that the login itself must be a member of.
///
/// # Errors
/// 42501 inside SECURITY DEFINER functions, restricted operations and triggers, and for logins that only borrow the role;
/// 55000 inside a revision.
pub fn must_be_the_login(function: &str, role: &str) -> Result<(), ErrorReport> {
    let refuse = |why: String| {
        Err(refusal(
            "42501",
            format!("runbook.{function} can't be called here"),
            Some(why),
            Some("Call it as a statement of its own, as a login that is a member of the role.".to_owned()),
        ))
    };
    if session::with(|applying| applying.is_some()) {
        let detail = "A revision is being applied in this session.".to_owned();
        return Err(refusal(
            "55000",
            format!("a revision can't call runbook.{function}"),
            Some(detail),
            Some("Call it before or after.".to_owned()),
        ));
    }
    if !identity::acts_for_itself() {
        return refuse(
            "It is called with the privileges of somebody else: from a SECURITY DEFINER function or a maintenance command."
                .to_owned(),
        );
    }
    if identity::trigger_depth() > 0 {
        return refuse("It is called from a trigger.".to_owned());
    }
    if !identity::session_is_member(role) {
        return refuse(format!("Login \"{}\" is not a member of {role}.", identity::session_role()));
    }
    Ok(())
}
