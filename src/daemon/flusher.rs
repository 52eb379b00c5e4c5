//! The flush: closes a window, has it written, tells who waits for it.
//!
//! Runs on a thread of its own. A window that the store does not take is kept
//! and tried again with the next one, within a bound; meanwhile it can be read
//! and rules see it, once.

use super::allocator;
use super::self_metrics::SelfMetrics;
use crate::aggregate::{Partial, Registry, SampleTable, Table, Windows};
use crate::clock::Clock;
use crate::lock::lock;
use crate::model::FlushBatch;
use crate::store::{Error as StoreError, Store};
use crate::telemetry::Telemetry;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Memory of the windows that may wait for the store: an hour of 40,000
/// counters in 10 s windows. Beyond it the oldest window is given up, and its
/// samples are counted; the newest one stays, whatever it takes.
pub const RETRY_BYTES_MAX: usize = 512 << 20;

/// After a flush of more samples than this, what it needed goes back to the
/// system at once.
const GIVE_BACK_SAMPLES: usize = 10_000;

/// What a flush works on.
pub struct Flusher {
    pub clock: Arc<dyn Clock>,
    pub interval: Duration,
    pub tables: Vec<Arc<Mutex<Table>>>,
    /// What was sampled elsewhere.
    pub samples: Arc<Mutex<SampleTable>>,
    pub registry: Arc<Registry>,
    pub windows: Arc<Mutex<Windows>>,
    pub store: Arc<Store>,
    pub telemetry: Arc<Telemetry>,
    /// Told the end of each window once it can be read; taken away when the
    /// stop begins, so that pages which follow it end.
    pub flushed: Arc<Mutex<Option<watch::Sender<i64>>>>,
    /// Called with a window's end once it can be read: rules are evaluated here.
    pub after: Box<dyn FnMut(i64) + Send>,
    pub own: SelfMetrics,
    /// What the store did not take yet, oldest first; it holds all of them for
    /// those who read.
    pub waiting: VecDeque<Arc<FlushBatch>>,
}

impl Flusher {
    /// Flushes at each window's end until `stop` says so or is dropped, then
    /// the open window at last.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut was_ahead = false;
        loop {
            let now_ms = self.clock.now_ms();
            let end_ms = lock(&self.windows).next_end_ms(now_ms);
            let ahead_ms = ahead_ms(end_ms, now_ms, self.interval.as_millis() as i64);
            if ahead_ms.is_some() != was_ahead {
                was_ahead = ahead_ms.is_some();
                report_ahead(ahead_ms);
            }
            // When the clock was set back the end is far: windows keep their
            // pace all the same.
            let wait = Duration::from_millis((end_ms - now_ms).max(0) as u64).min(self.interval);
            match stop.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => self.flush(end_ms),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let end_ms = self.clock.now_ms().max(lock(&self.windows).last_end_ms() + 1);
        self.flush(end_ms);
        if !self.waiting.is_empty() {
            let samples: usize = self.waiting.iter().map(|batch| batch.samples()).sum();
            tracing::error!(
                samples,
                windows = self.waiting.len(),
                "lost: the store could not take them before the stop"
            );
        }
    }

    /// Closes the open window at `end_ms`.
    fn flush(&mut self, end_ms: i64) {
        let begun = Instant::now();
        let mut partials: Vec<_> = self.tables.iter().map(|table| lock(table).take()).collect();
        partials.push(self.own.partial(&self.telemetry, &self.registry, end_ms));
        partials.push(Partial { samples: lock(&self.samples).take(end_ms), ..Partial::default() });
        // After the tables, so that every series in them is named.
        let new_series = self.registry.take_new();
        let batch = {
            let mut windows = lock(&self.windows);
            let batch = windows.flush(end_ms, new_series, partials);
            self.registry.note_ended(&windows.ended());
            self.registry.note_time(end_ms);
            batch
        };
        let samples = batch.samples();
        self.telemetry.samples_flushed.add(samples as u64);
        self.waiting.push_back(Arc::new(batch));
        self.write();
        self.tell(end_ms);
        if samples > GIVE_BACK_SAMPLES {
            allocator::give_back();
        }
        let took_us = begun.elapsed().as_micros() as i64;
        self.telemetry.flushes.add(1);
        self.telemetry.flush_duration_us.add(took_us as u64);
        self.telemetry.flush_last_duration_us.set(took_us);
        self.telemetry.flush_last_end_ms.set(end_ms);
    }

    /// Everything up to `end_ms` can be read, be it written or not.
    fn tell(&mut self, end_ms: i64) {
        (self.after)(end_ms);
        if let Some(flushed) = &*lock(&self.flushed) {
            flushed.send_replace(end_ms);
        }
    }

    /// Writes what waits; what the store does not take it holds.
    fn write(&mut self) {
        let mut disk_is_full = false;
        while let Some(batch) = self.waiting.front() {
            let samples = batch.samples();
            match self.store.append(batch) {
                Ok(()) => {
                    self.telemetry.samples_written.add(samples as u64);
                    self.waiting.pop_front();
                }
                Err(error @ (StoreError::OutOfOrder { .. } | StoreError::Batch { .. })) => {
                    // Trying again cannot help.
                    tracing::error!(%error, samples, "window given up");
                    self.telemetry.store_errors.add(1);
                    self.give_up();
                }
                Err(error) => {
                    tracing::error!(%error, windows = self.waiting.len(), "cannot write; will be tried again");
                    self.telemetry.store_errors.add(1);
                    disk_is_full = error.is_disk_full();
                    break;
                }
            }
        }
        // All others are held since they came.
        if let Some(newest) = self.waiting.back() {
            self.store.hold(newest.clone());
        }
        let mut bytes: usize = self.waiting.iter().map(|batch| batch.memory()).sum();
        while bytes > RETRY_BYTES_MAX
            && self.waiting.len() > 1
            && let Some(oldest) = self.waiting.front()
        {
            tracing::error!(window_end_ms = oldest.end_ms, "window given up: too many wait for the store");
            bytes -= oldest.memory();
            self.give_up();
        }
        let retrying: usize = self.waiting.iter().map(|batch| batch.samples()).sum();
        self.telemetry.samples_retrying.set(retrying as i64);
        self.telemetry.windows_retrying.set(self.waiting.len() as i64);
        self.telemetry.disk_is_full.set(disk_is_full.into());
        let since = &self.telemetry.store_failing_since_ms;
        match (self.waiting.is_empty(), since.value()) {
            (true, _) => since.set(0),
            (false, 0) => since.set(self.clock.now_ms()),
            (false, _) => {}
        }
    }

    fn give_up(&mut self) {
        if let Some(batch) = self.waiting.pop_front() {
            self.store.let_go(batch.end_ms);
            self.telemetry.samples_dropped.add(batch.samples() as u64);
        }
    }
}

impl Drop for Flusher {
    /// However the thread ends: who follows the flushes hears of it.
    fn drop(&mut self) {
        drop(lock(&self.flushed).take());
    }
}

/// How far the open window is ahead of the clock, when by more than two windows:
/// the clock was set back, or was ahead when data was written before.
fn ahead_ms(end_ms: i64, now_ms: i64, interval_ms: i64) -> Option<i64> {
    let start_ms = end_ms - interval_ms;
    (start_ms - now_ms > 2 * interval_ms).then_some(start_ms - now_ms)
}

fn report_ahead(ahead_ms: Option<i64>) {
    match ahead_ms {
        Some(ahead_ms) => tracing::warn!(
            ahead_seconds = ahead_ms / 1000,
            "the clock was set back, or was ahead before: windows go on from the last one written, so \
             what comes in now is in the future of the pages, and rules look there too. Set the clock \
             right; if it is right, move the data directory away to begin anew, or wait"
        ),
        None => tracing::info!("the clock has caught up with the windows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::{self, table};
    use crate::catalogue::Catalogue;
    use crate::clock::ManualClock;
    use crate::model::label::NAME;
    use crate::model::{Matcher, Points, Select, TimeRange};
    use crate::protocol::Dialect;
    use crate::store;
    use crate::store::memory::{Fault, MemoryBackend};
    use crate::telemetry::Transport;

    #[test]
    fn windows_ahead_of_the_clock_are_told_of() {
        let check = |end_ms, now_ms, ahead| assert_eq!(ahead_ms(end_ms, now_ms, 10_000), ahead, "{now_ms}");
        check(20_000, 10_000, None);
        check(20_000, 19_999, None);
        // Late with a flush, and a clock that is set right by little.
        check(20_000, 25_000, None);
        check(50_000, 20_000, None);
        check(50_000, 19_999, Some(20_001));
        check(i64::from(u32::MAX) * 1000, 0, Some(i64::from(u32::MAX) * 1000 - 10_000));
    }

    /// Newest total of the counter `a`.
    fn total(store: &Store, range: TimeRange) -> f64 {
        let matchers = &[Matcher::equal(NAME, "a")];
        let request = Select { matchers, range, step_ms: 0, max_series: 1, max_points: 100 };
        let found = store.select(&request).unwrap();
        match &found[0].points {
            Points::Floats(samples) => samples.last().unwrap().value,
            _ => panic!("no floats"),
        }
    }

    #[test]
    fn a_window_that_cannot_be_written_is_kept_and_rules_see_it_once() {
        let telemetry = Arc::new(Telemetry::default());
        let catalogue = Arc::new(Catalogue::new(100));
        let registry = Arc::new(Registry::new(catalogue.clone()));
        let options = aggregate::Options {
            interval_ms: 10_000,
            counter_expire_ms: 0,
            gauge_expire_ms: 0,
            timer_expire_ms: 0,
            set_expire_ms: 0,
        };
        let limits = table::Options {
            line_bytes_max: 100,
            labels_max: 1,
            label_bytes_max: 100,
            idle_windows_max: 10,
            spellings_max: 100,
        };
        let table = Table::new(limits, registry.clone(), telemetry.clone(), Transport::Udp);
        let table = Arc::new(Mutex::new(table));
        let disk = MemoryBackend::new();
        let (store, _) = Store::open(store::Options::new("/data"), disk.clone(), catalogue, 0).unwrap();
        let clock = Arc::new(ManualClock::at(0));
        let evaluated = Arc::new(Mutex::new(Vec::new()));
        let newest = TimeRange { start_ms: 0, end_ms: i64::MAX };
        let (flushed, follows) = watch::channel(0);
        let mut flusher = Flusher {
            clock: clock.clone(),
            interval: Duration::from_secs(10),
            tables: vec![table.clone()],
            samples: Arc::new(Mutex::new(SampleTable::new(registry.clone()))),
            registry,
            windows: Arc::new(Mutex::new(Windows::new(options, telemetry.clone(), vec![], 0))),
            store: Arc::new(store),
            telemetry: telemetry.clone(),
            flushed: Arc::new(Mutex::new(Some(flushed))),
            after: {
                let evaluated = evaluated.clone();
                Box::new(move |end_ms| lock(&evaluated).push(end_ms))
            },
            own: SelfMetrics::default(),
            waiting: VecDeque::new(),
        };
        let mut lines = 0.0;
        let mut flush = |end_ms, disk_works: bool| {
            if disk_works {
                disk.heal()
            } else {
                disk.fail_at(0, Fault::Fail, true)
            }
            lines += 1.0;
            lock(&table).packet(end_ms - 1, b"a:1|c", Dialect::Statsd, |_, _| {});
            clock.set(end_ms);
            flusher.flush(end_ms);
            assert_eq!(*follows.borrow(), end_ms, "pages hear of it");
            assert_eq!(telemetry.samples_retrying.value() > 0, !disk_works);
            assert_eq!(total(&flusher.store, newest), lines);
            (
                telemetry.windows_retrying.value(),
                flusher.store.stats().last_end_ms,
                telemetry.store_failing_since_ms.value(),
            )
        };
        assert_eq!(flush(10_000, true), (0, Some(10_000), 0));
        assert_eq!(flush(20_000, false), (1, Some(10_000), 20_000));
        assert_eq!(flush(30_000, false), (2, Some(10_000), 20_000));
        assert_eq!(flush(40_000, true), (0, Some(40_000), 0));
        assert_eq!(*lock(&evaluated), [10_000, 20_000, 30_000, 40_000]);
        assert_eq!(telemetry.samples_flushed.value(), telemetry.samples_written.value());
        assert_eq!(telemetry.samples_dropped.value(), 0);
        drop(flusher);
        assert!(follows.has_changed().is_err(), "who follows hears that it ended");
    }
}
