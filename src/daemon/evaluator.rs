//! The thread that evaluates rules, so that a slow one holds up no flush: a
//! window that ended late would hold what belongs to the next.
//!
//! Only the newest window waits for its turn; one whose turn did not come is
//! left out. Dropping it evaluates what still waits, within [`STOP_WAIT`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a stop waits for an evaluation to end.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// See the module's head.
pub struct Evaluator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// How long a flush waits for its evaluation.
    patience: Duration,
}

#[derive(Default)]
struct Shared {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Default)]
struct Turn {
    /// End of the window to be evaluated next.
    wanted_ms: Option<i64>,
    is_busy: bool,
    is_over: bool,
}

impl Evaluator {
    /// `evaluate` is called with the end of a window. Within `patience` pages
    /// that hear of a flush find its states.
    pub fn start(patience: Duration, mut evaluate: impl FnMut(i64) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        let thread = std::thread::Builder::new().name("rules".into()).spawn(move || {
            while let Some(end_ms) = its.next() {
                // Rules must not stay unwatched because one evaluation failed.
                if catch_unwind(AssertUnwindSafe(|| evaluate(end_ms))).is_err() {
                    tracing::error!(window_end_ms = end_ms, "the evaluation of the rules ended by a panic");
                }
            }
        })?;
        Ok(Evaluator { shared, thread: Some(thread), patience })
    }

    /// Has the rules evaluated for `end_ms`. Whether no earlier window was left out for it.
    pub fn evaluate(&self, end_ms: i64) -> bool {
        let mut turn = self.shared.lock();
        let before = turn.wanted_ms.replace(end_ms);
        self.shared.changed.notify_all();
        self.shared.wait_idle(turn, self.patience);
        before.is_none()
    }
}

impl Drop for Evaluator {
    fn drop(&mut self) {
        let mut turn = self.shared.lock();
        turn.is_over = true;
        self.shared.changed.notify_all();
        if !self.shared.wait_idle(turn, STOP_WAIT) {
            tracing::warn!("the rules are not evaluated for the last window: that takes too long");
            return;
        }
        // At its end it lets go of what it reads from; its panics were caught.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The window whose turn it is; `None` at the end.
    fn next(&self) -> Option<i64> {
        let mut turn = self.lock();
        turn.is_busy = false;
        self.changed.notify_all();
        loop {
            if let Some(end_ms) = turn.wanted_ms.take() {
                turn.is_busy = true;
                return Some(end_ms);
            }
            if turn.is_over {
                return None;
            }
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether nothing was left to do within `wait`.
    fn wait_idle(&self, turn: MutexGuard<'_, Turn>, wait: Duration) -> bool {
        let has_work = |turn: &mut Turn| turn.is_busy || turn.wanted_ms.is_some();
        let waited = self.changed.wait_timeout_while(turn, wait, has_work);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_slow_evaluation_holds_up_no_flush_and_only_the_newest_window_waits() {
        let (go, gate) = mpsc::channel::<()>();
        let (done, ends) = mpsc::channel();
        let evaluator = Evaluator::start(Duration::from_millis(1), move |end_ms| {
            done.send(end_ms).unwrap();
            gate.recv().unwrap();
        });
        let evaluator = evaluator.unwrap();
        assert!(evaluator.evaluate(1));
        assert_eq!(ends.recv().unwrap(), 1);
        assert!(evaluator.evaluate(2), "waits while 1 is evaluated");
        assert!(!evaluator.evaluate(3), "2 is left out");
        (0..2).for_each(|_| go.send(()).unwrap());
        drop(evaluator);
        assert_eq!(ends.iter().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_quick_evaluation_is_over_when_the_flush_goes_on() {
        let last = Arc::new(Mutex::new(0));
        let its = last.clone();
        let evaluator =
            Evaluator::start(Duration::from_secs(60), move |end_ms| *its.lock().unwrap() = end_ms);
        let evaluator = evaluator.unwrap();
        for end_ms in 1..100 {
            assert!(evaluator.evaluate(end_ms));
            assert_eq!(*last.lock().unwrap(), end_ms);
        }
        drop(evaluator);
        assert_eq!(Arc::strong_count(&last), 1, "what it reads from is let go of");
    }

    #[test]
    fn rules_are_watched_on_after_a_panic() {
        let (done, ends) = mpsc::channel();
        let evaluator = Evaluator::start(Duration::from_secs(60), move |end_ms| {
            assert!(end_ms > 1, "as it happens");
            done.send(end_ms).unwrap();
        });
        let evaluator = evaluator.unwrap();
        (1..=2).for_each(|end_ms| assert!(evaluator.evaluate(end_ms)));
        assert_eq!(ends.recv().unwrap(), 2);
    }
}
