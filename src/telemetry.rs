//! Our own counters: the ledger of lines and batches, and what else tells how
//! the daemon fares. Plain atomics; who counts holds an `Arc` of it.
//!
//! The ledger must balance: lines received = accepted + rejected + limited,
//! and samples flushed = written + dropped (+ those being retried).

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

/// A figure of a socket.
type OfSocket = fn(&Socket) -> f64;

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
        let mut families = Vec::new();
        let mut family = |name, kind, help, samples: Vec<(Vec<(&'static str, String)>, f64)>| {
            families.push(Family { name, kind, help, samples });
        };
        use FamilyKind::{Counter as C, Gauge as G};
        let plain = |value: f64| vec![(vec![], value)];
        let count = |counter: &Counter| vec![(vec![], counter.value() as f64)];
        let level = |level: &Level| vec![(vec![], level.value() as f64)];
        let sockets = self.sockets.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let listener = |s: &Socket| ("listener", s.address.clone());
        let by_socket = |value: &dyn Fn(&Socket) -> f64| {
            sockets.iter().map(|s| (vec![listener(s)], value(s))).collect::<Vec<_>>()
        };
        let by_datagram_socket = |value: &dyn Fn(&Socket) -> f64| {
            let sockets = sockets.iter().filter(|s| !s.is_stream);
            sockets.map(|s| (vec![listener(s)], value(s))).collect::<Vec<_>>()
        };
        let by_stream = |values: &[(&str, OfSocket)]| {
            let mut samples = Vec::new();
            for s in sockets.iter().filter(|s| s.is_stream) {
                for (reason, value) in values {
                    let reason =
                        Some(("reason", reason.to_string())).filter(|(_, reason)| !reason.is_empty());
                    samples.push((std::iter::once(listener(s)).chain(reason).collect(), value(s)));
                }
            }
            samples
        };
        family(
            "statsdeck_packets_received_total",
            C,
            "Packets received, by socket.",
            by_socket(&|s| s.packets.value() as f64),
        );
        family(
            "statsdeck_bytes_received_total",
            C,
            "Bytes received, by socket.",
            by_socket(&|s| s.bytes.value() as f64),
        );
        family(
            "statsdeck_packets_truncated_total",
            C,
            "Packets longer than the receive buffer's slot.",
            by_datagram_socket(&|s| s.truncated.value() as f64),
        );
        family(
            "statsdeck_kernel_dropped_packets_total",
            C,
            "Packets the kernel dropped because the socket's receive buffer was full.",
            by_datagram_socket(&|s| s.kernel_dropped.value() as f64),
        );
        family(
            "statsdeck_receive_buffer_bytes",
            G,
            "Receive buffer in force, as the kernel counts it.",
            by_datagram_socket(&|s| s.receive_buffer_bytes.value() as f64),
        );
        family(
            "statsdeck_packets_refused_total",
            C,
            "Packets from sources that are not in the listener's allow-list.",
            by_datagram_socket(&|s| s.packets_refused.value() as f64),
        );
        family(
            "statsdeck_connections",
            G,
            "Connections open, by listener.",
            by_stream(&[("", |s| s.connections.value() as f64)]),
        );
        family(
            "statsdeck_connections_accepted_total",
            C,
            "Connections taken, by listener.",
            by_stream(&[("", |s| s.connections_accepted.value() as f64)]),
        );
        family(
            "statsdeck_connections_refused_total",
            C,
            "Connections closed at once: from outside of the allow-list, or beyond the limit.",
            by_stream(&[
                ("source", |s| s.connections_refused_source.value() as f64),
                ("limit", |s| s.connections_refused_limit.value() as f64),
            ]),
        );
        family(
            "statsdeck_connections_closed_total",
            C,
            "Connections closed by us: idle for too long, or announcing a packet longer than allowed.",
            by_stream(&[
                ("idle", |s| s.connections_closed_idle.value() as f64),
                ("packet_too_long", |s| s.connections_closed_packet.value() as f64),
            ]),
        );
        family(
            "statsdeck_lines_received_total",
            C,
            "Lines received, before any is judged.",
            Transport::ALL
                .iter()
                .map(|t| {
                    (vec![("transport", t.as_str().into())], self.lines_received[*t as usize].value() as f64)
                })
                .collect(),
        );
        family(
            "statsdeck_lines_accepted_total",
            C,
            "Lines whose values were taken.",
            count(&self.lines_accepted),
        );
        family(
            "statsdeck_lines_rejected_total",
            C,
            "Lines that were not understood, by reason.",
            Reject::ALL
                .iter()
                .map(|r| {
                    (vec![("reason", r.as_str().into())], self.lines_rejected[*r as usize].value() as f64)
                })
                .collect(),
        );
        family(
            "statsdeck_lines_limited_total",
            C,
            "Well-formed lines left out by a limit or by a mapping, by reason.",
            Limited::ALL
                .iter()
                .map(|l| {
                    (vec![("reason", l.as_str().into())], self.lines_limited[*l as usize].value() as f64)
                })
                .collect(),
        );
        family(
            "statsdeck_lines_overflowed_total",
            C,
            "Accepted lines whose values went into an overflow series, as a limit was reached.",
            Overflowed::ALL
                .iter()
                .map(|o| {
                    (vec![("reason", o.as_str().into())], self.lines_overflowed[*o as usize].value() as f64)
                })
                .collect(),
        );
        family(
            "statsdeck_labels_cut_total",
            C,
            "Names and label values cut off at limits.label_bytes, when a spelling was new.",
            count(&self.labels_cut),
        );
        family(
            "statsdeck_lines_unaccounted",
            G,
            "Lines received less accepted, rejected and limited; 0 when the books balance.",
            plain(self.lines_unaccounted() as f64),
        );
        family(
            "statsdeck_lines_backdated_total",
            C,
            "Accepted lines whose |T is before the open window and that count in their own.",
            count(&self.lines_backdated),
        );
        family(
            "statsdeck_lines_too_late_total",
            C,
            "Accepted lines whose |T is before the open window and that count in it for all that.",
            count(&self.lines_too_late),
        );
        family(
            "statsdeck_overflows_total",
            C,
            "Values left out because their sum would be infinite.",
            count(&self.overflows),
        );
        family(
            "statsdeck_series",
            G,
            "Series alive: received within their type's expiry.",
            level(&self.series_active),
        );
        family("statsdeck_flushes_total", C, "Windows closed.", count(&self.flushes));
        family(
            "statsdeck_flush_duration_seconds_total",
            C,
            "Time spent closing windows, writing included.",
            plain(self.flush_duration_us.value() as f64 / 1e6),
        );
        family(
            "statsdeck_flush_last_duration_seconds",
            G,
            "Time the last flush took, writing included.",
            plain(self.flush_last_duration_us.value() as f64 / 1e6),
        );
        family(
            "statsdeck_flush_last_end_timestamp_seconds",
            G,
            "End of the last window that was flushed.",
            plain(self.flush_last_end_ms.value() as f64 / 1e3),
        );
        family(
            "statsdeck_samples_flushed_total",
            C,
            "Samples handed to the store.",
            count(&self.samples_flushed),
        );
        family(
            "statsdeck_samples_written_total",
            C,
            "Samples the store has made durable.",
            count(&self.samples_written),
        );
        family(
            "statsdeck_samples_dropped_total",
            C,
            "Samples given up because the store failed for too long.",
            count(&self.samples_dropped),
        );
        family(
            "statsdeck_samples_retrying",
            G,
            "Samples waiting for the store to take them.",
            level(&self.samples_retrying),
        );
        family(
            "statsdeck_windows_retrying",
            G,
            "Windows waiting for the store to take them.",
            level(&self.windows_retrying),
        );
        family("statsdeck_store_errors_total", C, "Writes that failed.", count(&self.store_errors));
        family(
            "statsdeck_scrape_clashing_series",
            G,
            "Series left out of the scrape page because another has their escaped name.",
            level(&self.scrape_clashing_series),
        );
        family("statsdeck_http_requests_total", C, "HTTP requests answered.", count(&self.http_requests));
        family(
            "statsdeck_config_reloads_total",
            C,
            "Reloads that were applied.",
            count(&self.config_reloads),
        );
        family(
            "statsdeck_config_reload_failures_total",
            C,
            "Reloads that were refused; the old config went on.",
            count(&self.config_reload_failures),
        );
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
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    Counter,
    Gauge,
}
