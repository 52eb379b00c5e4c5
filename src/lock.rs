//! How a lock is taken that a panic elsewhere may have spoiled: as it is, for
//! what is behind our locks is valid between statements.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module's head.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
