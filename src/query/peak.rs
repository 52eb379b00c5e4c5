//! The most samples and values that an evaluation held at a time, in samples of 16
//! bytes: what was read and is worked on, what waits for other operands, and what
//! is computed. By several threads; limits nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Peak {
    /// Weight of the samples that are being worked on.
    read: AtomicUsize,
    most: AtomicUsize,
}

impl Peak {
    /// Runs `work` on samples of this weight, beside so many values `held`.
    pub fn reading<T>(&self, weight: usize, held: usize, work: impl FnOnce() -> T) -> T {
        self.read.fetch_add(weight, Ordering::Relaxed);
        self.note(held);
        let result = work();
        self.read.fetch_sub(weight, Ordering::Relaxed);
        result
    }

    /// So many values are held beside the samples.
    pub fn note(&self, held: usize) {
        let now = held.saturating_add(self.read.load(Ordering::Relaxed));
        // Most often it is no more than there was: then nothing is written.
        if now > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(now, Ordering::Relaxed);
        }
    }

    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}
