//! The timeline of the server, and how it came to be.

use pgrx::pg_sys;

/// The timeline that is written to. Not on a standby.
pub fn current() -> u32 {
    // SAFETY: reads shared memory; outside of recovery, as everybody who writes is.
    unsafe { pg_sys::GetWALInsertionTimeLine() }
}

/// The history file of the timeline; `None` if it can't be read. The first timeline has none.
pub fn history() -> Option<String> {
    let timeline = current();
    if timeline == 1 {
        return Some(String::new());
    }
    // A backend's directory is that of the data.
    std::fs::read_to_string(format!("pg_wal/{timeline:08X}.history")).ok()
}
