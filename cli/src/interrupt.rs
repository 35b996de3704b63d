//! What Ctrl-C means: a wish that whoever follows a job looks for; or, during one long call, that the server shall cancel it.

use crate::client::Client;
use crate::context::Context;
use crate::error::{self, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

type Cancel = Box<dyn Fn() + Send>;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static CANCEL: Mutex<Option<Cancel>> = Mutex::new(None);

/// Ctrl-C no longer ends the process.
pub fn install() {
    // A second handler in one process is an error, and means the same.
    let _ = ctrlc::set_handler(|| match &*CANCEL.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(cancel) => cancel(),
        None => INTERRUPTED.store(true, Ordering::Relaxed),
    });
}

/// Whether Ctrl-C was pressed since the last call.
pub fn taken() -> bool {
    INTERRUPTED.swap(false, Ordering::Relaxed)
}

/// Makes a call that Ctrl-C has the server cancel: without that the server would go on, and commit, with nobody there to read what it says. A second
/// one leaves it alone.
pub fn cancelling<T>(client: &mut Client, context: &Context, call: impl FnOnce(&mut Client) -> T) -> Result<T> {
    let (token, tls, asked) = (client.cancel_token(), context.tls()?, AtomicBool::new(false));
    let cancel = move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        error::cancelled();
        let (token, tls) = (token.clone(), tls.clone());
        // The server may not answer.
        std::thread::spawn(move || {
            if token.cancel_query(tls).is_err() {
                std::process::exit(130);
            }
        });
    };
    let set = |cancel| *CANCEL.lock().unwrap_or_else(PoisonError::into_inner) = cancel;
    set(Some(Box::new(cancel) as Cancel));
    install();
    let done = call(client);
    set(None);
    Ok(done)
}
