//! Our own counters: the ledger of lines and batches, and what else tells how
//! the daemon fares. Plain atomics; who counts holds an `Arc` of it.
//!
//! The ledger must balance: lines received = accepted + rejected + limited,
//! and samples flushed = written + dropped (+ those being retried).

mod families;
mod offenders;

pub use offenders::{Offence, Offenders};

use crate::model::Reject;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How lines came in; the `transport` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    Udp = 0,
    Http = 1,
    Tcp = 2,
    UnixDatagram = 3,
    UnixStream = 4,
    RemoteWrite = 5,
}

impl Transport {
    pub const ALL: [Transport; 6] = [
        Transport::Udp,
        Transport::Http,
        Transport::Tcp,
        Transport::UnixDatagram,
        Transport::UnixStream,
        Transport::RemoteWrite,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Http => "http",
            Transport::Tcp => "tcp",
            Transport::UnixDatagram => "unixgram",
            Transport::UnixStream => "unix",
            Transport::RemoteWrite => "remote_write",
        }
    }
}

/// Why a well-formed line was not taken; the `reason` label of
/// `statsdeck_lines_limited_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Limited {
    /// `limits.series` are there already.
    Series = 0,
    /// A mapping says `action: drop`.
    MappingDrop = 1,
    /// An event, while more of them wait to be written than there is room for.
    Markers = 2,
}

impl Limited {
    pub const ALL: [Limited; 3] = [Limited::Series, Limited::MappingDrop, Limited::Markers];

    pub fn as_str(self) -> &'static str {
        match self {
            Limited::Series => "series",
            Limited::MappingDrop => "mapping_drop",
            Limited::Markers => "markers",
        }
    }
}

/// Why the values of an accepted line went into an overflow series; the
/// `reason` label of `statsdeck_lines_overflowed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Overflowed {
    /// `limits.series` are there already.
    Series = 0,
    /// The series of its `limits.prefix` are there already.
    Prefix = 1,
}

impl Overflowed {
    pub const ALL: [Overflowed; 2] = [Overflowed::Series, Overflowed::Prefix];

    pub fn as_str(self) -> &'static str {
        match self {
            Overflowed::Series => "series",
            Overflowed::Prefix => "prefix",
        }
    }
}

/// What one listening socket has seen.
#[derive(Debug, Default)]
pub struct Socket {
    /// The address as bound, such as `udp://127.0.0.1:8125`.
    pub address: String,
    /// It takes connections, or else packets.
    pub is_stream: bool,
    /// On a stream those that have their length before them.
    pub packets: Counter,
    pub bytes: Counter,
    /// Datagrams that were longer than any datagram may be.
    pub truncated: Counter,
    /// Packets the kernel threw away because the receive buffer was full.
    pub kernel_dropped: Counter,
    pub receive_buffer_bytes: Level,
    /// Packets from outside of the allow-list.
    pub packets_refused: Counter,
    /// Connections that are open.
    pub connections: Level,
    pub connections_accepted: Counter,
    /// From outside of the allow-list, or beyond the limit.
    pub connections_refused_source: Counter,
    pub connections_refused_limit: Counter,
    /// For silence, or for a packet longer than allowed.
    pub connections_closed_idle: Counter,
    pub connections_closed_packet: Counter,
}

/// All of them.
#[derive(Default)]
pub struct Telemetry {
    pub lines_received: [Counter; Transport::ALL.len()],
    pub lines_accepted: Counter,
    pub lines_rejected: [Counter; Reject::ALL.len()],
    pub lines_limited: [Counter; Limited::ALL.len()],
    /// Accepted lines whose values went into an overflow series.
    pub lines_overflowed: [Counter; Overflowed::ALL.len()],
    /// Whose they were.
    pub offenders: Offenders,
    /// Names, and names and values of labels, that were cut off at
    /// `limits.label_bytes`.
    pub labels_cut: Counter,
    /// When a line came last, in ms since the epoch; 0: never.
    pub last_line_ms: Level,
    /// Accepted lines whose `|T` lies before the open window: those that count in
    /// their own, and those that count in the open one for all that.
    pub lines_backdated: Counter,
    pub lines_too_late: Counter,
    /// Values left out because their sum would leave a double's range.
    pub overflows: Counter,
    pub sockets: Mutex<Vec<std::sync::Arc<Socket>>>,
    pub series_active: Level,
    pub flushes: Counter,
    pub flush_duration_us: Counter,
    pub flush_last_duration_us: Level,
    pub flush_last_end_ms: Level,
    pub samples_flushed: Counter,
    pub samples_written: Counter,
    pub samples_dropped: Counter,
    pub samples_retrying: Level,
    pub windows_retrying: Level,
    /// Since when, in ms, samples wait for a store that does not take them; 0
    /// while none do. Not exposed: it is what `/-/ready` says.
    pub store_failing_since_ms: Level,
    /// Whether it does not because the disk is full: 1. Not exposed, either.
    pub disk_is_full: Level,
    pub store_errors: Counter,
    pub scrape_clashing_series: Level,
    pub http_requests: Counter,
    pub config_reloads: Counter,
    pub config_reload_failures: Counter,
    /// Figures that upper floors keep.
    others: Mutex<Vec<Figures>>,
}

/// Tells more figures when asked.
type Figures = Box<dyn Fn() -> Vec<Family> + Send + Sync>;

impl Telemetry {
    pub fn received(&self, transport: Transport, lines: u64) {
        self.lines_received[transport as usize].add(lines);
    }

    pub fn rejected(&self, reject: Reject) {
        self.lines_rejected[reject as usize].add(1);
    }

    pub fn limited(&self, limited: Limited) {
        self.lines_limited[limited as usize].add(1);
    }

    pub fn overflowed(&self, reason: Overflowed) {
        self.lines_overflowed[reason as usize].add(1);
    }

    /// Lines received that are neither accepted, rejected nor limited: 0,
    /// unless some are being worked on at this moment.
    pub fn lines_unaccounted(&self) -> i64 {
        let total = |counters: &[Counter]| counters.iter().map(Counter::value).sum::<u64>() as i64;
        total(&self.lines_received)
            - self.lines_accepted.value() as i64
            - total(&self.lines_rejected)
            - total(&self.lines_limited)
    }

    /// Opens the books of a socket.
    pub fn socket(&self, address: String, is_stream: bool) -> std::sync::Arc<Socket> {
        let socket = std::sync::Arc::new(Socket { address, is_stream, ..Socket::default() });
        self.sockets.lock().unwrap_or_else(|e| e.into_inner()).push(socket.clone());
        socket
    }

    /// Adds figures that are kept elsewhere to those exposed.
    pub fn add_figures(&self, figures: impl Fn() -> Vec<Family> + Send + Sync + 'static) {
        self.others.lock().unwrap_or_else(|e| e.into_inner()).push(Box::new(figures));
    }

    /// Every figure as an exposed series, families together.
    pub fn families(&self) -> Vec<Family> {
        let sockets = self.sockets.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let mut families = families::families(self, &sockets);
        for figures in self.others.lock().unwrap_or_else(|e| e.into_inner()).iter() {
            families.extend(figures());
        }
        families
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("lines_accepted", &self.lines_accepted).finish_non_exhaustive()
    }
}

/// A metric of our own, as exposed.
#[derive(Debug)]
pub struct Family {
    pub name: &'static str,
    pub kind: FamilyKind,
    pub help: &'static str,
    /// Labels and value.
    pub samples: Vec<families::Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    Counter,
    Gauge,
}
