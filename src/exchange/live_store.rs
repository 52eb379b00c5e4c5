//! A store that is read while a daemon changes it: where a file went away, the
//! store is opened anew, and read as it is then.
//!
//! What became coarser meanwhile is read as that. What was dropped for good is an
//! error: nothing is left out without a word.

use super::error::Error;
use crate::model::TimeRange;
use crate::store::{self, Stats, Store};
use std::cell::{Cell, RefCell};

/// A file may go away while the store is read, and others the next time.
const TRIES: usize = 5;

type Open<'a> = Box<dyn Fn() -> Result<Store, store::Error> + 'a>;

/// See the module's head.
pub struct LiveStore<'a> {
    open: Open<'a>,
    store: RefCell<Store>,
    /// Whether one that was open before had damage.
    was_damaged: Cell<bool>,
}

impl<'a> LiveStore<'a> {
    /// Opens it by `open`, for reading alone.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn new(open: impl Fn() -> Result<Store, store::Error> + 'a) -> Result<Self, store::Error> {
        let store = RefCell::new(open_anew(&open)?);
        Ok(LiveStore { open: Box::new(open), store, was_damaged: Cell::new(false) })
    }

    /// Reads of `range`, and again of the store as it is then when a file went
    /// away.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Dropped`] when a part of the range is gone,
    /// [`Error::Store`].
    pub fn read<T>(
        &self,
        range: TimeRange,
        read: impl Fn(&Store) -> Result<T, store::Error>,
    ) -> Result<T, Error> {
        for _ in 1..TRIES {
            match read(&self.store.borrow()) {
                Err(store::Error::Gone { .. }) => {}
                done => return Ok(done?),
            }
            self.reopen(range)?;
        }
        Ok(read(&self.store.borrow())?)
    }

    /// Looks at what needs no file.
    pub fn look<T>(&self, look: impl Fn(&Store) -> T) -> T {
        look(&self.store.borrow())
    }

    /// Whether some of what was read is damaged.
    pub fn is_damaged(&self) -> bool {
        let Stats { blocks_lost, chunks_lost, frames_lost, .. } = self.look(Store::stats);
        self.was_damaged.get() || blocks_lost + chunks_lost + frames_lost > 0
    }

    fn reopen(&self, range: TimeRange) -> Result<(), Error> {
        self.was_damaged.set(self.is_damaged());
        let starts_after = |store: &Store| store.starts_after_ms().unwrap_or(i64::MAX);
        let before_ms = self.look(starts_after).max(range.start_ms.saturating_sub(1));
        let store = open_anew(&self.open)?;
        let until_ms = starts_after(&store);
        if until_ms > before_ms {
            return Err(Error::Dropped { until_ms: until_ms.min(range.end_ms) });
        }
        self.store.replace(store);
        Ok(())
    }
}

/// Files may go away already while it is opened.
fn open_anew(open: &dyn Fn() -> Result<Store, store::Error>) -> Result<Store, store::Error> {
    for _ in 1..TRIES {
        match open() {
            Err(store::Error::Gone { .. }) => {}
            Err(store::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    open()
}
