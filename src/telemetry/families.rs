//! Our own counters as exposed series: one row a family.

use super::{Counter, Family, FamilyKind, Limited, Overflowed, Socket, Telemetry, Transport};
use crate::model::Reject;
use FamilyKind::{Counter as C, Gauge as G};
use Of::{Datagrams, Plain, Reasons, Sockets, Streams};

/// Labels and value.
pub(super) type Sample = (Vec<(&'static str, String)>, f64);

/// Name, kind, help, and what the values are.
type Row = (&'static str, FamilyKind, &'static str, Of);

type OfSocket = fn(&Socket) -> f64;

/// What a family's values are of.
enum Of {
    /// One, without labels.
    Plain(fn(&Telemetry) -> f64),
    /// One for each value of a label.
    Reasons(&'static str, fn(&Telemetry) -> Vec<(&'static str, &Counter)>),
    /// One a socket, by `listener`: of all, of those that take packets, of those
    /// that take connections (and there by `reason`, if one is named).
    Sockets(OfSocket),
    Datagrams(OfSocket),
    Streams(&'static [(Option<&'static str>, OfSocket)]),
}

impl Of {
    fn samples(&self, telemetry: &Telemetry, sockets: &[std::sync::Arc<Socket>]) -> Vec<Sample> {
        let listener = |socket: &Socket| ("listener", socket.address.clone());
        let by_socket = |is_shown: fn(&Socket) -> bool, value: &OfSocket| {
            let shown = sockets.iter().filter(|socket| is_shown(socket));
            shown.map(|socket| (vec![listener(socket)], value(socket))).collect()
        };
        match self {
            Plain(value) => vec![(vec![], value(telemetry))],
            Reasons(label, counters) => counters(telemetry)
                .into_iter()
                .map(|(reason, counter)| (vec![(*label, reason.to_owned())], counter.value() as f64))
                .collect(),
            Sockets(value) => by_socket(|_| true, value),
            Datagrams(value) => by_socket(|socket| !socket.is_stream, value),
            Streams(values) => {
                let mut samples = Vec::new();
                for socket in sockets.iter().filter(|socket| socket.is_stream) {
                    for (reason, value) in *values {
                        let reason = reason.map(|reason| ("reason", reason.to_owned()));
                        samples
                            .push((std::iter::once(listener(socket)).chain(reason).collect(), value(socket)));
                    }
                }
                samples
            }
        }
    }
}

/// Every figure of `telemetry` itself, families together.
pub(super) fn families(telemetry: &Telemetry, sockets: &[std::sync::Arc<Socket>]) -> Vec<Family> {
    let family = |(name, kind, help, of): &Row| Family {
        name,
        kind: *kind,
        help,
        samples: of.samples(telemetry, sockets),
    };
    FAMILIES.iter().map(family).collect()
}

const FAMILIES: &[Row] = &[
    (
        "statsdeck_packets_received_total",
        C,
        "Packets received, by socket.",
        Sockets(|s| s.packets.value() as f64),
    ),
    ("statsdeck_bytes_received_total", C, "Bytes received, by socket.", Sockets(|s| s.bytes.value() as f64)),
    (
        "statsdeck_packets_truncated_total",
        C,
        "Packets longer than the receive buffer's slot.",
        Datagrams(|s| s.truncated.value() as f64),
    ),
    (
        "statsdeck_kernel_dropped_packets_total",
        C,
        "Packets the kernel dropped because the socket's receive buffer was full.",
        Datagrams(|s| s.kernel_dropped.value() as f64),
    ),
    (
        "statsdeck_receive_buffer_bytes",
        G,
        "Receive buffer in force, as the kernel counts it.",
        Datagrams(|s| s.receive_buffer_bytes.value() as f64),
    ),
    (
        "statsdeck_packets_refused_total",
        C,
        "Packets from sources that are not in the listener's allow-list.",
        Datagrams(|s| s.packets_refused.value() as f64),
    ),
    (
        "statsdeck_connections",
        G,
        "Connections open, by listener.",
        Streams(&[(None, |s| s.connections.value() as f64)]),
    ),
    (
        "statsdeck_connections_accepted_total",
        C,
        "Connections taken, by listener.",
        Streams(&[(None, |s| s.connections_accepted.value() as f64)]),
    ),
    (
        "statsdeck_connections_refused_total",
        C,
        "Connections closed at once: from outside of the allow-list, or beyond the limit.",
        Streams(&[
            (Some("source"), |s| s.connections_refused_source.value() as f64),
            (Some("limit"), |s| s.connections_refused_limit.value() as f64),
        ]),
    ),
    (
        "statsdeck_connections_closed_total",
        C,
        "Connections closed by us: idle for too long, or announcing a packet longer than allowed.",
        Streams(&[
            (Some("idle"), |s| s.connections_closed_idle.value() as f64),
            (Some("packet_too_long"), |s| s.connections_closed_packet.value() as f64),
        ]),
    ),
    (
        "statsdeck_lines_received_total",
        C,
        "Lines received, before any is judged.",
        Reasons("transport", |t| {
            Transport::ALL.iter().map(|of| (of.as_str(), &t.lines_received[*of as usize])).collect()
        }),
    ),
    (
        "statsdeck_lines_accepted_total",
        C,
        "Lines whose values were taken.",
        Plain(|t| t.lines_accepted.value() as f64),
    ),
    (
        "statsdeck_lines_rejected_total",
        C,
        "Lines that were not understood, by reason.",
        Reasons("reason", |t| {
            Reject::ALL.iter().map(|of| (of.as_str(), &t.lines_rejected[*of as usize])).collect()
        }),
    ),
    (
        "statsdeck_lines_limited_total",
        C,
        "Well-formed lines left out by a limit or by a mapping, by reason.",
        Reasons("reason", |t| {
            Limited::ALL.iter().map(|of| (of.as_str(), &t.lines_limited[*of as usize])).collect()
        }),
    ),
    (
        "statsdeck_lines_overflowed_total",
        C,
        "Accepted lines whose values went into an overflow series, as a limit was reached.",
        Reasons("reason", |t| {
            Overflowed::ALL.iter().map(|of| (of.as_str(), &t.lines_overflowed[*of as usize])).collect()
        }),
    ),
    (
        "statsdeck_labels_cut_total",
        C,
        "Names and label values cut off at limits.label_bytes, when a spelling was new.",
        Plain(|t| t.labels_cut.value() as f64),
    ),
    (
        "statsdeck_lines_unaccounted",
        G,
        "Lines received less accepted, rejected and limited; 0 when the books balance.",
        Plain(|t| t.lines_unaccounted() as f64),
    ),
    (
        "statsdeck_lines_backdated_total",
        C,
        "Accepted lines whose |T is before the open window and that count in their own.",
        Plain(|t| t.lines_backdated.value() as f64),
    ),
    (
        "statsdeck_lines_too_late_total",
        C,
        "Accepted lines whose |T is before the open window and that count in it for all that.",
        Plain(|t| t.lines_too_late.value() as f64),
    ),
    (
        "statsdeck_overflows_total",
        C,
        "Values left out because their sum would be infinite.",
        Plain(|t| t.overflows.value() as f64),
    ),
    (
        "statsdeck_series",
        G,
        "Series alive: received within their type's expiry.",
        Plain(|t| t.series_active.value() as f64),
    ),
    ("statsdeck_flushes_total", C, "Windows closed.", Plain(|t| t.flushes.value() as f64)),
    (
        "statsdeck_flush_duration_seconds_total",
        C,
        "Time spent closing windows, writing included.",
        Plain(|t| t.flush_duration_us.value() as f64 / 1e6),
    ),
    (
        "statsdeck_flush_last_duration_seconds",
        G,
        "Time the last flush took, writing included.",
        Plain(|t| t.flush_last_duration_us.value() as f64 / 1e6),
    ),
    (
        "statsdeck_flush_last_end_timestamp_seconds",
        G,
        "End of the last window that was flushed.",
        Plain(|t| t.flush_last_end_ms.value() as f64 / 1e3),
    ),
    (
        "statsdeck_samples_flushed_total",
        C,
        "Samples handed to the store.",
        Plain(|t| t.samples_flushed.value() as f64),
    ),
    (
        "statsdeck_samples_written_total",
        C,
        "Samples the store has made durable.",
        Plain(|t| t.samples_written.value() as f64),
    ),
    (
        "statsdeck_samples_dropped_total",
        C,
        "Samples given up because the store failed for too long.",
        Plain(|t| t.samples_dropped.value() as f64),
    ),
    (
        "statsdeck_samples_retrying",
        G,
        "Samples waiting for the store to take them.",
        Plain(|t| t.samples_retrying.value() as f64),
    ),
    (
        "statsdeck_windows_retrying",
        G,
        "Windows waiting for the store to take them.",
        Plain(|t| t.windows_retrying.value() as f64),
    ),
    ("statsdeck_store_errors_total", C, "Writes that failed.", Plain(|t| t.store_errors.value() as f64)),
    (
        "statsdeck_scrape_clashing_series",
        G,
        "Series left out of the scrape page because another has their escaped name.",
        Plain(|t| t.scrape_clashing_series.value() as f64),
    ),
    (
        "statsdeck_http_requests_total",
        C,
        "HTTP requests answered.",
        Plain(|t| t.http_requests.value() as f64),
    ),
    (
        "statsdeck_config_reloads_total",
        C,
        "Reloads that were applied.",
        Plain(|t| t.config_reloads.value() as f64),
    ),
    (
        "statsdeck_config_reload_failures_total",
        C,
        "Reloads that were refused; the old config went on.",
        Plain(|t| t.config_reload_failures.value() as f64),
    ),
];
