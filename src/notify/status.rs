//! How each receiver is doing: counters, what is waiting, and what is wrong.
//! Written by its worker, read by API and dashboard.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Shared with the worker.
#[derive(Debug)]
pub struct Status {
    pub name: String,
    /// As in the config: `slack`.
    pub kind: &'static str,
    /// Host or file; never the URL.
    pub endpoint: String,
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) folded: AtomicU64,
    pub(super) save_failures: AtomicU64,
    pub(super) waiting: AtomicU64,
    broken: AtomicBool,
    /// Texts and times change together; held for an assignment only.
    last: Mutex<Last>,
}

#[derive(Clone, Debug, Default)]
struct Last {
    sent_at_ms: Option<i64>,
    error: Option<(i64, String)>,
}

/// A receiver at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiverView {
    pub name: String,
    pub kind: &'static str,
    /// Host or file; never the URL.
    pub endpoint: String,
    /// Messages that were taken.
    pub sent: u64,
    /// Messages that were given up.
    pub failed: u64,
    /// Attempts that are made again.
    pub retried: u64,
    /// Firing alerts that found no room; told once there is some.
    pub dropped: u64,
    /// Alerts that were over before they could be told, or that fired again
    /// before their end could be.
    pub folded: u64,
    /// Messages that were sent and could not be noted as sent at once.
    pub save_failures: u64,
    /// Rules that have something to tell.
    pub waiting: u64,
    /// The receiver is gone or refuses us: other messages will not get through
    /// either until someone acts. Cleared by the next message that does.
    pub broken: bool,
    pub last_sent_at_ms: Option<i64>,
    /// Time in ms and reason, until a message gets through.
    pub last_error: Option<(i64, String)>,
}

impl Status {
    pub(super) fn new(name: String, kind: &'static str, endpoint: String) -> Self {
        Status {
            name,
            kind,
            endpoint,
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            folded: AtomicU64::new(0),
            save_failures: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            last: Mutex::default(),
        }
    }

    pub fn view(&self) -> ReceiverView {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ReceiverView {
            name: self.name.clone(),
            kind: self.kind,
            endpoint: self.endpoint.clone(),
            sent: self.sent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            folded: self.folded.load(Relaxed),
            save_failures: self.save_failures.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
            broken: self.broken.load(Relaxed),
            last_sent_at_ms: last.sent_at_ms,
            last_error: last.error,
        }
    }

    pub(super) fn delivered(&self, at_ms: i64) {
        self.sent.fetch_add(1, Relaxed);
        self.broken.store(false, Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Last { sent_at_ms: Some(at_ms), error: None };
    }

    pub(super) fn retrying(&self, at_ms: i64, reason: &str) {
        self.retried.fetch_add(1, Relaxed);
        self.note_error(at_ms, reason);
    }

    pub(super) fn gave_up(&self, at_ms: i64, reason: &str, broken: bool) {
        self.failed.fetch_add(1, Relaxed);
        if broken {
            self.broken.store(true, Relaxed);
        }
        self.note_error(at_ms, reason);
    }

    fn note_error(&self, at_ms: i64, reason: &str) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).error = Some((at_ms, reason.to_owned()));
    }
}
