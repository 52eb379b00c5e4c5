//! The daemon's own threads: each runs until it is told to stop, and is waited for.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};

/// Threads by their names. Dropped without [`Threads::stop`] they stop, too, but
/// nobody waits.
#[derive(Debug, Default)]
pub struct Threads {
    running: Vec<Thread>,
}

#[derive(Debug)]
struct Thread {
    name: &'static str,
    stop: Sender<()>,
    handle: JoinHandle<()>,
}

impl Threads {
    /// Starts a thread that has to return once the other end of what it is given
    /// is dropped.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        &mut self,
        name: &'static str,
        run: impl FnOnce(&Receiver<()>) + Send + 'static,
    ) -> io::Result<()> {
        let (stop, stops) = mpsc::channel();
        let handle = Builder::new().name(name.into()).spawn(move || run(&stops))?;
        self.running.push(Thread { name, stop, handle });
        Ok(())
    }

    /// Whether a thread of that name has neither returned nor panicked.
    pub fn is_running(&self, name: &str) -> bool {
        self.running.iter().any(|thread| thread.name == name && !thread.handle.is_finished())
    }

    /// Tells all to stop, then waits for each. A panic of one is logged.
    pub fn stop(self) {
        let told = self.running.into_iter().map(|Thread { name, stop, handle }| {
            drop(stop);
            (name, handle)
        });
        // All of them first, so that they end side by side.
        let handles: Vec<_> = told.collect();
        for (name, handle) in handles {
            if handle.join().is_err() {
                tracing::error!(thread = name, "a thread ended by a panic");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_run_until_they_are_stopped_and_are_waited_for() {
        let mut threads = Threads::default();
        let (tell, told) = mpsc::channel();
        for name in ["one", "two"] {
            let tell = tell.clone();
            let run = move |stop: &Receiver<()>| {
                assert!(stop.recv().is_err(), "nothing but an end comes");
                tell.send(name).unwrap();
            };
            threads.start(name, run).unwrap();
        }
        assert!(threads.is_running("one") && threads.is_running("two") && !threads.is_running("three"));
        assert!(told.try_recv().is_err());
        threads.stop();
        let mut ended: Vec<_> = told.try_iter().collect();
        ended.sort_unstable();
        assert_eq!(ended, ["one", "two"]);
    }

    #[test]
    fn a_panic_of_one_is_seen_and_hinders_no_other() {
        let mut threads = Threads::default();
        threads.start("bad", |_| panic!("on purpose")).unwrap();
        threads.start("good", |stop| assert!(stop.recv().is_err())).unwrap();
        while threads.is_running("bad") {
            std::thread::yield_now();
        }
        assert!(threads.is_running("good"));
        threads.stop();
    }
}
