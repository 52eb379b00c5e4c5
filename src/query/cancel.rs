//! A cord that stops an evaluation from outside: pulled by who waits for the
//! answer, looked at in every loop of the engine.

use super::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const TIMED_OUT: u8 = 2;

/// Clones share one state; the first pull counts.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicU8>);

impl Cancel {
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Nobody wants the answer any more.
    pub fn cancel(&self) {
        self.pull(CANCELLED);
    }

    /// The time is up.
    pub fn time_out(&self) {
        self.pull(TIMED_OUT);
    }

    /// # Errors
    /// [`Error::Cancelled`] or [`Error::TimedOut`] once it was pulled.
    pub fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            CANCELLED => Err(Error::Cancelled),
            _ => Err(Error::TimedOut),
        }
    }

    fn pull(&self, reason: u8) {
        // A failed exchange means that it was pulled before: nothing to do.
        let _ = self.0.compare_exchange(RUNNING, reason, Ordering::Relaxed, Ordering::Relaxed);
    }
}
