//! Maintenance windows: when actions of a class may run.
//!
//! Owns the arithmetic of weekdays and local times; it reads no clock and knows no time zone database: callers say what the
//! clocks of a window's time zone show. A class without a window may run at any time.

use crate::action::Class;
use chrono::{Datelike, Days, NaiveDateTime, NaiveTime, Weekday};

/// One window: on these days it opens, local time of its zone, and it closes the same day or the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its name.
    pub name: String,
    /// The classes that it is for.
    pub classes: Vec<Class>,
    /// The days on which it opens.
    pub days: Vec<Weekday>,
    /// When it opens.
    pub opens: NaiveTime,
    /// When it closes; not later than `opens` means the next day, equal means open for 24 hours.
    pub closes: NaiveTime,
    /// Name of the time zone, for messages.
    pub time_zone: String,
}

impl Window {
    /// Whether it is open at `now`, local time of its zone.
    pub fn is_open(&self, now: NaiveDateTime) -> bool {
        let yesterday = now.date().pred_opt().map(|day| day.weekday());
        let today = self.days.contains(&now.weekday());
        let since_yesterday = yesterday.is_some_and(|day| self.days.contains(&day));
        if self.opens < self.closes {
            today && now.time() >= self.opens && now.time() < self.closes
        } else {
            (today && now.time() >= self.opens) || (since_yesterday && now.time() < self.closes)
        }
    }

    /// When it opens next after `now`, local time of its zone.
    pub fn next_opening(&self, now: NaiveDateTime) -> Option<NaiveDateTime> {
        (0..=7)
            .filter_map(|ahead| now.date().checked_add_days(Days::new(ahead)))
            .filter(|day| self.days.contains(&day.weekday()))
            .map(|day| day.and_time(self.opens))
            .find(|opening| *opening > now)
    }
}

/// Why a class may not run now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The class.
    pub class: Class,
    /// When the first of its windows opens, as people write it: `Sat 2026-11-28 22:00 Europe/Berlin`.
    pub next: String,
    /// That window's name.
    pub window: String,
}

/// The first of `classes` that has windows none of which is open. Each window comes with what the clocks of its zone show.
pub fn closed(windows: &[(Window, NaiveDateTime)], classes: impl IntoIterator<Item = Class>) -> Option<Closed> {
    classes.into_iter().find_map(|class| {
        let mine: Vec<&(Window, NaiveDateTime)> =
            windows.iter().filter(|(window, _)| window.classes.contains(&class)).collect();
        if mine.is_empty() || mine.iter().any(|(window, now)| window.is_open(*now)) {
            return None;
        }
        let soonest = mine
            .iter()
            .filter_map(|(window, now)| window.next_opening(*now).map(|opening| (opening - *now, opening, window)))
            .min_by_key(|(wait, ..)| *wait);
        Some(match soonest {
            Some((_, opening, window)) => Closed {
                class,
                next: format!("{} {}", opening.format("%a %Y-%m-%d %H:%M"), window.time_zone),
                window: window.name.clone(),
            },
            None => Closed { class, next: "never".to_owned(), window: mine[0].0.name.clone() },
        })
    })
}

/// Reads days as people write them: `daily`, `mon-fri`, `sat,sun`.
pub fn parse_days(text: &str) -> Option<Vec<Weekday>> {
    if text.trim().eq_ignore_ascii_case("daily") {
        return parse_days("mon-sun");
    }
    let mut days = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (Weekday, Weekday) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let mut day = first;
        loop {
            if !days.contains(&day) {
                days.push(day);
            }
            if day == last {
                break;
            }
            day = day.succ();
        }
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &str, opens: &str, closes: &str) -> Window {
        let time = |text: &str| text.parse().unwrap();
        Window {
            name: "night".into(),
            classes: vec![Class::Blocking],
            days: parse_days(days).unwrap(),
            opens: time(opens),
            closes: time(closes),
            time_zone: "Europe/Berlin".into(),
        }
    }

    fn at(text: &str) -> NaiveDateTime {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        let night = window("fri", "22:00:00", "04:00:00");
        assert!(night.is_open(at("2026-11-27T22:00:00")), "Friday evening");
        assert!(night.is_open(at("2026-11-28T03:59:59")), "Saturday before four");
        assert!(!night.is_open(at("2026-11-28T04:00:00")));
        assert!(!night.is_open(at("2026-11-28T22:30:00")), "Saturday evening");
        assert!(!night.is_open(at("2026-11-27T03:00:00")), "Friday before four");
    }

    #[test]
    fn the_next_opening_may_be_a_week_away() {
        let night = window("fri", "22:00:00", "23:00:00");
        assert_eq!(night.next_opening(at("2026-11-27T22:00:00")), Some(at("2026-12-04T22:00:00")));
        assert_eq!(night.next_opening(at("2026-11-27T21:59:00")), Some(at("2026-11-27T22:00:00")));
    }

    #[test]
    fn only_classes_that_have_a_window_are_bound_to_one() {
        let now = at("2026-11-25T12:00:00");
        let windows = [(window("sat,sun", "08:00:00", "12:00:00"), now)];
        assert_eq!(closed(&windows, [Class::Additive]), None);
        let found = closed(&windows, [Class::Additive, Class::Blocking]).unwrap();
        assert_eq!(found.next, "Sat 2026-11-28 08:00 Europe/Berlin");
        assert_eq!(closed(&[(windows[0].0.clone(), at("2026-11-28T09:00:00"))], [Class::Blocking]), None);
    }

    #[test]
    fn of_two_windows_one_open_is_enough_and_the_sooner_is_named() {
        let now = at("2026-11-25T12:00:00");
        let both = [(window("sun", "08:00:00", "09:00:00"), now), (window("thu", "01:00:00", "02:00:00"), now)];
        assert_eq!(closed(&both, [Class::Blocking]).unwrap().next, "Thu 2026-11-26 01:00 Europe/Berlin");
        let open = [(window("sun", "08:00:00", "09:00:00"), now), (window("daily", "00:00:00", "00:00:00"), now)];
        assert_eq!(closed(&open, [Class::Blocking]), None);
    }

    #[test]
    fn days_are_read_as_people_write_them() {
        assert_eq!(parse_days("fri-mon").unwrap().len(), 4);
        assert_eq!(parse_days("Sat, Sun").unwrap(), [Weekday::Sat, Weekday::Sun]);
        assert_eq!(parse_days("someday"), None);
        assert_eq!(parse_days(""), None);
    }
}
