//! Threads that compute: in the background, and helpers, as many as there are
//! cores without one, for all computations of the process together.
//!
//! Whoever asks works as well, so that nothing waits for a helper that is not
//! there. What is made is taken in the order of its numbers by one thread at a
//! time, and no thread is far ahead of what was taken: memory stays bounded,
//! and the outcome does not depend on who was faster. Helpers have the priority
//! of the thread that asks.

use crate::lock::lock;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// A tenth of what threads of the usual priority get where both want to run.
const NICENESS: libc::c_int = 10;

/// How long a thread of the background waits for more to do, and most that wait:
/// to start one takes as long as a small query.
const IDLE_TIME: Duration = Duration::from_secs(10);
const IDLE_MAX: usize = 4;

/// As many as there are cores without one: the system reads files to tell.
static HELPERS_MAX: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(0, |cores| cores.get() - 1));

/// Helpers at work in the whole process.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Makes `count` things by `make`, from number 0 on, and hands each to `take`,
/// in order. Stops at the first error of either.
///
/// # Errors
/// That error.
pub fn in_order<T: Send, E: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<(), E> + Send,
) -> Result<(), E> {
    let helpers = Helpers::called(count.saturating_sub(1));
    if helpers.0 == 0 {
        return (0..count).try_for_each(|number| take(make(number)?));
    }
    let work = Work {
        next: AtomicUsize::new(0),
        count,
        // Each thread may have one thing done beside the one that it makes.
        ahead: 2 * (helpers.0 + 1),
        turn: Mutex::new(Turn { due: 0, made: BTreeMap::new(), stopped: false, error: None, take }),
        turned: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..helpers.0 {
            // Without it, the others do its part.
            let _ = thread::Builder::new().name("helper".into()).spawn_scoped(scope, || work.run(&make));
        }
        work.run(&make);
    });
    let turn = work.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    turn.error.map_or(Ok(()), Err)
}

/// Most threads that work at once, that of whoever asks among them.
pub fn most() -> usize {
    *HELPERS_MAX + 1
}

/// Makes `count` things and gives them in order.
///
/// # Errors
/// The first error of `make`.
pub fn all<T: Send, E: Send>(count: usize, make: impl Fn(usize) -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    let mut made = Vec::with_capacity(count);
    in_order(count, make, |thing| {
        made.push(thing);
        Ok(())
    })?;
    Ok(made)
}

/// Runs `work` on a thread that gives way to all others and does nothing else
/// meanwhile: where there is not time for all, those who receive come first. The
/// receiver has what came of it; nothing, when it panicked or there was no thread
/// to be had.
pub fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    // Who does not wait any more does not want it.
    let work: Job = Box::new(move || drop(sender.send(work())));
    let idle = lock(&IDLE).pop_first();
    match idle {
        Some((_, place)) => place.give(work),
        // Without a thread the sender is dropped, which the receiver tells.
        None => {
            let number = STARTED.fetch_add(1, Ordering::Relaxed);
            let run = move || run_in_background(number, work);
            let _ = thread::Builder::new().name("background".into()).spawn(run);
        }
    }
    receiver
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads of [`in_background`] that wait. The oldest is called first: the memory
/// that a thread freed is best used again by itself.
static IDLE: Mutex<BTreeMap<usize, Arc<Place>>> = Mutex::new(BTreeMap::new());
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// Where a thread that waits is given what to do.
#[derive(Default)]
struct Place {
    job: Mutex<Option<Job>>,
    given: Condvar,
}

impl Place {
    fn give(&self, job: Job) {
        *lock(&self.job) = Some(job);
        self.given.notify_one();
    }

    fn wait(&self, most: Duration) -> Option<Job> {
        let waited = self.given.wait_timeout_while(lock(&self.job), most, |job| job.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}

fn run_in_background(number: usize, first: Job) {
    give_way();
    let place = Arc::new(Place::default());
    let mut next = Some(first);
    while let Some(job) = next {
        // Told already; whoever asked has nothing, as the sender is dropped.
        let _ = catch_unwind(AssertUnwindSafe(job));
        {
            let mut idle = lock(&IDLE);
            if idle.len() >= IDLE_MAX {
                break;
            }
            idle.insert(number, Arc::clone(&place));
        }
        next = place.wait(IDLE_TIME);
        while next.is_none() && lock(&IDLE).remove(&number).is_none() {
            // It was called in this moment.
            next = place.wait(IDLE_TIME);
        }
    }
}

/// Lowers the priority of this thread, and of those that it starts, for good.
fn give_way() {
    // SAFETY: takes numbers alone. 0 is the calling thread; failing, it stays as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
    }
}

/// Helpers that are called; free again when dropped.
struct Helpers(usize);

impl Helpers {
    fn called(wanted: usize) -> Self {
        let most = *HELPERS_MAX;
        let mut called = 0;
        let _ = BUSY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |busy| {
            called = wanted.min(most.saturating_sub(busy));
            Some(busy + called)
        });
        Helpers(called)
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        BUSY.fetch_sub(self.0, Ordering::Relaxed);
    }
}

struct Work<T, E, F> {
    next: AtomicUsize,
    count: usize,
    ahead: usize,
    turn: Mutex<Turn<T, E, F>>,
    turned: Condvar,
}

struct Turn<T, E, F> {
    /// Number of the thing that is taken next, and those that wait for it.
    due: usize,
    made: BTreeMap<usize, T>,
    stopped: bool,
    error: Option<E>,
    take: F,
}

impl<T: Send, E: Send, F: FnMut(T) -> Result<(), E> + Send> Work<T, E, F> {
    fn run(&self, make: &(impl Fn(usize) -> Result<T, E> + Sync)) {
        // Nobody may wait for a thread that panicked.
        let stop = StopOnPanic(self);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count || !self.wait_until_near(number) {
                break;
            }
            let result = make(number);
            let mut turn = lock(&self.turn);
            turn.accept(number, result);
            let stopped = turn.stopped;
            drop(turn);
            self.turned.notify_all();
            if stopped {
                break;
            }
        }
        drop(stop);
    }

    /// False when there is nothing left to do.
    fn wait_until_near(&self, number: usize) -> bool {
        let mut turn = lock(&self.turn);
        while !turn.stopped && number > turn.due + self.ahead {
            turn = self.turned.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        !turn.stopped
    }
}

impl<T, E, F: FnMut(T) -> Result<(), E>> Turn<T, E, F> {
    fn accept(&mut self, number: usize, result: Result<T, E>) {
        if self.stopped {
            return;
        }
        let taken = result.and_then(|thing| {
            self.made.insert(number, thing);
            while let Some(thing) = self.made.remove(&self.due) {
                self.due += 1;
                (self.take)(thing)?;
            }
            Ok(())
        });
        if let Err(error) = taken {
            self.stopped = true;
            self.error = Some(error);
        }
    }
}

struct StopOnPanic<'a, T: Send, E: Send, F: FnMut(T) -> Result<(), E> + Send>(&'a Work<T, E, F>);

impl<T: Send, E: Send, F: FnMut(T) -> Result<(), E> + Send> Drop for StopOnPanic<'_, T, E, F> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.turn).stopped = true;
            self.0.turned.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_taken_in_order_whoever_makes_them() {
        for count in [0, 1, 2, 3, 1000] {
            let slow = |number: usize| {
                // The first of each pair takes longer.
                let spins = if number.is_multiple_of(2) { 10_000 } else { 10 };
                Ok::<_, ()>((0..spins).fold(number, |number, _| std::hint::black_box(number)))
            };
            assert_eq!(all(count, slow), Ok((0..count).collect()));
        }
    }

    #[test]
    fn an_error_of_maker_or_taker_ends_it() {
        let made = AtomicUsize::new(0);
        let make = |number| {
            made.fetch_add(1, Ordering::Relaxed);
            if number == 7 { Err("made") } else { Ok(number) }
        };
        assert_eq!(all(1_000_000, make), Err("made"));
        assert!(made.load(Ordering::Relaxed) < 100);
        let take = |number| if number == 3 { Err("taken") } else { Ok(()) };
        assert_eq!(in_order(1_000_000, Ok, take), Err("taken"));
    }

    #[test]
    fn work_in_the_background_is_done_or_given_up() {
        assert_eq!(in_background(|| 7).blocking_recv(), Ok(7));
        assert!(in_background(|| panic!("as is tested")).blocking_recv().is_err());
        for _ in 0..50 {
            let many: Vec<_> = (0..20).map(|number| in_background(move || number)).collect();
            let done: Vec<i32> = many.into_iter().map(|one| one.blocking_recv().unwrap()).collect();
            assert!(done.into_iter().eq(0..20));
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_helpers_are_free_again() {
        for _ in 0..20 {
            let panics = std::panic::catch_unwind(|| {
                all(100, |number| if number == 5 { panic!("as is tested") } else { Ok::<_, ()>(number) })
            });
            assert!(panics.is_err());
        }
        assert_eq!(all(10, Ok::<_, ()>).map(|made| made.len()), Ok(10));
    }
}
