//! One migrator at a time.

use crate::error::refusal;
use crate::pg::lock;
use crate::store::{self, catalog};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Takes the migrator's lock until the end of the transaction, waiting at most `patience`.
///
/// # Errors
/// 55P03 with who holds it.
pub fn take(patience: Duration) -> store::Result<()> {
    let start = Instant::now();
    let mut told = false;
    while !lock::try_migrator() {
        if !told {
            told = true;
            let holder = catalog::migrator()?.map_or_else(String::new, |holder| format!(": {holder}"));
            pgrx::notice!("another migrator is at work{holder}; waiting at most {} s", patience.as_secs());
        }
        if start.elapsed() >= patience {
            let holder = catalog::migrator()?.map(|holder| format!("It is {holder}."));
            return Err(refusal(
                "55P03",
                "another migrator is at work in this database",
                holder,
                Some(
                    "Try again when it has finished, or wait longer: SELECT runbook.configure('migrator_wait', '600');"
                        .to_owned(),
                ),
            ));
        }
        lock::pause(PAUSE);
    }
    Ok(())
}
