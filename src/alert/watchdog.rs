//! Time limit of a rule's query: one thread an evaluation that pulls the
//! engine's cord when a query runs for too long. One slow rule costs its own
//! result, not those of the others.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::query::Cancel;

/// What the thread looks at.
#[derive(Default)]
pub struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    watched: Option<(Instant, Cancel)>,
    done: bool,
}

impl Watchdog {
    /// Runs `work` beside a thread that keeps its limits.
    pub fn guard<T>(work: impl FnOnce(&Watchdog) -> T) -> T {
        let watchdog = Watchdog::default();
        std::thread::scope(|scope| {
            scope.spawn(|| watchdog.watch());
            // Also when `work` panics: the scope waits for the thread.
            let _end = End(&watchdog);
            work(&watchdog)
        })
    }

    /// A cord that is pulled `limit` from now, unless another is asked for before.
    pub fn limit(&self, limit: Duration) -> Cancel {
        let cancel = Cancel::new();
        self.lock().watched = Some((Instant::now() + limit, cancel.clone()));
        self.changed.notify_one();
        cancel
    }

    fn watch(&self) {
        let mut state = self.lock();
        while !state.done {
            let now = Instant::now();
            state = match &state.watched {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some((until, cancel)) if *until <= now => {
                    cancel.time_out();
                    state.watched = None;
                    state
                }
                Some((until, _)) => {
                    let wait = *until - now;
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'a>(&'a Watchdog);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().done = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_too_long_is_stopped() {
        let (quick, slow) = Watchdog::guard(|watchdog| {
            let quick = watchdog.limit(Duration::from_secs(3_600));
            let slow = watchdog.limit(Duration::from_millis(1));
            while slow.check().is_ok() {
                std::thread::yield_now();
            }
            (quick, slow)
        });
        assert!(quick.check().is_ok());
        assert!(slow.check().unwrap_err().to_string().contains("longer than it may"));
    }

    #[test]
    fn it_ends_at_once_when_the_work_is_done() {
        let started = Instant::now();
        Watchdog::guard(|watchdog| watchdog.limit(Duration::from_secs(3_600)));
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
