//! The border between two phases. An upgrade stops there until it is told to go on: in between, the application is released.
//!
//! What has been applied before counts too. So of many deployments that start an upgrade at the same time, the second does not go where the
//! first has stopped.

use crate::revision::Phase;

/// How many of the steps an upgrade takes: up to the first one of a later phase than `through`, or, where nobody has said how far to go, up
/// to the first border. `before` is the phase of what the first step builds upon. `None` where it takes all.
pub fn stop(before: Option<Phase>, phases: &[Phase], through: Option<Phase>) -> Option<usize> {
    match through {
        Some(last) => phases.iter().position(|phase| *phase > last),
        None => (0..phases.len()).find(|&at| begins(before, phases, at)),
    }
}

/// Whether the step begins a later phase than the one before it.
pub fn begins(before: Option<Phase>, phases: &[Phase], at: usize) -> bool {
    let before = if at == 0 { before } else { Some(phases[at - 1]) };
    before.is_some_and(|before| phases[at] > before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Contract, Expand, Migrate};

    #[test]
    fn it_stops_where_a_later_phase_begins() {
        for (before, phases, through, expected) in [
            (None, &[][..], None, None),
            (None, &[Contract], None, None),
            (None, &[Expand, Expand], None, None),
            (None, &[Expand, Migrate, Contract], None, Some(1)),
            (Some(Expand), &[Migrate, Contract], None, Some(0)),
            (Some(Expand), &[Contract], None, Some(0)),
            (Some(Migrate), &[Migrate, Contract], None, Some(1)),
            // The next change begins; nothing of it takes anything away.
            (Some(Migrate), &[Expand, Expand, Contract], None, Some(2)),
            (Some(Contract), &[Contract, Expand], None, None),
            (Some(Expand), &[Expand, Migrate, Contract], Some(Migrate), Some(2)),
            (None, &[Expand, Migrate, Contract], Some(Contract), None),
            (Some(Contract), &[Contract, Expand], Some(Migrate), Some(0)),
            (None, &[Migrate, Expand, Migrate], Some(Expand), Some(0)),
        ] {
            assert_eq!(stop(before, phases, through), expected, "{phases:?} after {before:?}, through {through:?}");
        }
    }
}
