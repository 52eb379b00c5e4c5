//! What the ruler counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start; read them with [`Counters::read`].
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) evaluations: AtomicU64,
    pub(super) evaluation_failures: AtomicU64,
    missed: AtomicU64,
    pub(super) alerts_over_limit: AtomicU64,
    pub(super) save_failures: AtomicU64,
}

/// The totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rules evaluated, failed ones included.
    pub evaluations: u64,
    pub evaluation_failures: u64,
    /// Windows for which no rule was evaluated, since those before took too long.
    pub missed: u64,
    /// Label sets that became no alert because their rule had its full number.
    pub alerts_over_limit: u64,
    /// Evaluations whose changes could not be stored at once.
    pub save_failures: u64,
}

impl Counters {
    /// Counts a window for which no rule is evaluated.
    pub fn note_missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Totals {
        Totals {
            evaluations: self.evaluations.load(Ordering::Relaxed),
            evaluation_failures: self.evaluation_failures.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            alerts_over_limit: self.alerts_over_limit.load(Ordering::Relaxed),
            save_failures: self.save_failures.load(Ordering::Relaxed),
        }
    }
}
