//! Where the last connection went to, for what errors say.

use std::fmt;
use std::sync::{Mutex, PoisonError};

static PLACE: Mutex<Option<Place>> = Mutex::new(None);

/// Where the last connection went to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Socket directories, or hosts, each with its port.
    pub server: String,
    /// The database.
    pub database: String,
    /// The login.
    pub login: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database \"{}\" at {} as \"{}\"", self.database, self.server, self.login)
    }
}

/// Takes note of where a connection goes to.
pub fn remember(place: Place) {
    *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
}

/// Where the last connection went to, if there was one.
pub fn last() -> Option<Place> {
    PLACE.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
