//! `set_maintenance_window`, `drop_maintenance_window`.

use crate::error::refusal;
use crate::guard::caller::{enter, given};
use crate::guard::control;
use crate::ledger;
use crate::spi::clock;
use crate::store::settings;
use chrono::Timelike;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use runbook_core::action::Class;
use runbook_core::changing;
use runbook_core::ledger::Kind;
use runbook_core::window::{Window, parse_days};
use serde_json::json;

/// Sets a maintenance window: actions of these classes run only while one of their windows is open.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn set_maintenance_window(
    fcinfo: pg_sys::FunctionCallInfo,
    name: Option<&str>,
    classes: Option<Vec<Option<String>>>,
    days: Option<&str>,
    opens: Option<&str>,
    closes: Option<&str>,
    time_zone: Option<&str>,
) -> Result<(), ErrorReport> {
    let call = enter(fcinfo, &changing::SET_MAINTENANCE_WINDOW)?;
    let name = call.given(name, "name")?;
    let classes = call.given(classes, "classes")?;
    let classes = classes.into_iter().map(|class| given(class, "set_maintenance_window", "a class"));
    let classes: Vec<String> = classes.collect::<Result<_, _>>()?;
    let days = call.given(days, "days")?;
    let opens = call.given(opens, "opens")?;
    let closes = call.given(closes, "closes")?;
    let time_zone = call.given(time_zone, "time_zone")?;
    let wrong = |what: &str, value: &str, hint: &str| {
        Err(refusal("22023", format!("invalid {what} for a maintenance window: \"{value}\""), None, Some(hint.to_owned())))
    };
    let all: Vec<&str> = Class::ALL.iter().map(|class| class.as_str()).collect();
    let Some(parsed) = classes.iter().map(|class| Class::parse(class)).collect::<Option<Vec<Class>>>() else {
        return wrong("classes", &classes.join(", "), &format!("The classes are {}.", all.join(", ")));
    };
    if parsed.is_empty() || name.trim().is_empty() {
        return wrong("name or classes", name, "Give a name and at least one class, such as ARRAY['blocking'].");
    }
    let Some(weekdays) = parse_days(days) else {
        return wrong("days", days, "Write them as daily, mon-fri or sat,sun.");
    };
    let (Some(opens_at), Some(closes_at)) = (time(opens), time(closes)) else {
        return wrong("time", &format!("{opens} to {closes}"), "Write times as 22:00; midnight is 00:00.");
    };
    // An abbreviation means what a session says that it means.
    if (time_zone != "UTC" && !time_zone.contains('/')) || !clock::time_zone_exists(time_zone)? {
        return wrong("time zone", time_zone, "Use UTC, or a full name of pg_timezone_names, such as Europe/Berlin.");
    }
    // The first window of a class restricts it; another one, or another shape, opens what was shut.
    let policy = settings::policy()?;
    if policy.window(name).is_some() || parsed.iter().any(|class| policy.is_windowed(*class)) {
        control::decide(&changing::SET_MAINTENANCE_WINDOW, None, "change when actions may run")?;
    }
    let window = Window {
        name: name.to_owned(),
        classes: parsed,
        days: weekdays,
        opens: opens_at,
        closes: closes_at,
        time_zone: time_zone.to_owned(),
    };
    let old = policy.window(name).map(describe);
    settings::set_window(&window, days)?;
    ledger::record(Kind::PolicyChanged, json!({"window": name, "old": old, "new": describe(&window)}))
}

/// A time of a day, as PostgreSQL reads it too.
fn time(text: &str) -> Option<chrono::NaiveTime> {
    let text = text.trim();
    let time: Option<chrono::NaiveTime> = text.parse().or_else(|_| format!("{text}:00").parse()).ok();
    // PostgreSQL takes a leap second for the next minute, and that of midnight is no time of a day; it rounds what is finer than its
    // microseconds.
    time.filter(|time| time.nanosecond() < 1_000_000_000 && time.nanosecond().is_multiple_of(1_000))
}

/// Removes a maintenance window; false if there was none.
#[pg_extern]
#[search_path(pg_catalog, runbook, pg_temp)]
fn drop_maintenance_window(fcinfo: pg_sys::FunctionCallInfo, name: Option<&str>) -> Result<bool, ErrorReport> {
    let call = enter(fcinfo, &changing::DROP_MAINTENANCE_WINDOW)?;
    let name = call.given(name, "name")?;
    let Some(old) = settings::window(name)? else { return Ok(false) };
    control::decide(&changing::DROP_MAINTENANCE_WINDOW, None, "remove a maintenance window")?;
    settings::drop_window(name)?;
    ledger::record(Kind::PolicyChanged, json!({"window": name, "old": old}))?;
    Ok(true)
}

fn describe(window: &Window) -> serde_json::Value {
    json!({
        "classes": window.classes.iter().map(|class| class.as_str()).collect::<Vec<_>>(),
        "days": window.days.iter().map(|day| day.to_string().to_lowercase()).collect::<Vec<_>>(),
        "opens": window.opens.to_string(), "closes": window.closes.to_string(), "time_zone": window.time_zone,
    })
}
