//! Control: what would weaken the guard itself is an action like any other, of class `control`.

use crate::guard::break_glass;
use crate::guard::enforcement::Enforcement;
use crate::guard::judge::{allow_call, out_of_hours};
use crate::guard::outcome::facts;
use crate::guard::permits::{Claim, claim};
use crate::ledger;
use crate::ledger::refusal::refused;
use crate::pg::hooks::events::client_query;
use crate::store::settings;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::spi::quote_literal;
use runbook_core::changing::{Changing, Weakens};
use runbook_core::command::Name;
use runbook_core::ledger::Kind;
use runbook_core::policy::Verdict;

/// Passes or refuses a call that weakens the guard, by what it does to `table` if it is about one; `what` says how, for the message.
///
/// # Errors
/// 42501 where policy asks for an approval of control actions and no permit covers the call.
pub fn decide(function: &Changing, table: Option<&Name>, what: &str) -> Result<(), ErrorReport> {
    debug_assert!(function.weakens != Weakens::Nothing, "what weakens nothing needs no approval");
    let enforcement = Enforcement::current()?;
    if enforcement == Enforcement::Off {
        return Ok(());
    }
    if break_glass::is_broken() {
        return Ok(());
    }
    let policy = settings::policy()?;
    let name = Name { schema: Some("runbook".to_owned()), ..Name::bare(function.name) };
    let actions = runbook_core::classify::control_call(&name, table);
    let Some((action, verdict)) = policy.obstacle(&actions) else {
        let Some(closed) = policy.closed(&actions) else { return Ok(()) };
        return out_of_hours("SELECT", &actions, &closed, enforcement);
    };
    let mut detail = format!("It would {what}, and the policy for control actions is {}.", verdict.as_str());
    if verdict == Verdict::RequireApproval {
        match claim(&actions, &policy)? {
            Claim::Granted => return Ok(()),
            Claim::OutOfHours(closed) => return out_of_hours("SELECT", &actions, &closed, enforcement),
            Claim::Refused(why) => detail = format!("{detail} {why}"),
            Claim::None => {}
        }
    }
    if enforcement == Enforcement::Record {
        return ledger::record(Kind::DdlWouldBlock, facts("SELECT", &actions, verdict.into(), &detail, None));
    }
    let hint = match verdict {
        Verdict::Deny => {
            format!(
                "Only breaking the glass allows it: SELECT runbook.break_glass('REASON'); then {}",
                allow_call(action, &policy)
            )
        }
        _ => {
            let call = client_query().filter(|text| text.len() <= 200).unwrap_or_else(|| "SELECT …".to_owned());
            format!("Request a permit for the call: SELECT runbook.request_permit({}, 'REASON');", quote_literal(call.trim()))
        }
    };
    Err(refused(function.name, "42501", format!("{action} is control and not approved"), Some(detail), Some(hint)))
}
