//! What `[[listen]]` means: sockets that take StatsD, of each kind.
//!
//! A key that has no effect on an address is a mistake, and said to be one.

use super::config::{Listener, number, socket_address};
use super::error::Problem;
use super::file;
use super::size::parse_bytes;
use crate::ingest::allow::Allow;
use crate::ingest::framing::{Bounds, Framing};
use crate::ingest::{self, Address, socket};
use crate::model::duration;
use crate::protocol::tag_style::TagStyle;
use crate::protocol::{Dialect, TagStyles};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

/// Sockets and threads that one listener may have.
const THREADS_MAX: u64 = 64;
const RECEIVE_BUFFER: u64 = 8 << 20;
const RECEIVE_BUFFER_MAX: u64 = 1 << 30;
const PACKET_BYTES: u64 = socket::SLOT_BYTES as u64;
const PACKET_BYTES_MIN: u64 = 512;
/// Whoever is on the machine may send, as over UDP; nobody else may read or list.
const MODE: u32 = 0o722;
const CONNECTIONS: u64 = 256;
const CONNECTIONS_MAX: u64 = 65_536;
const IDLE_MS: u64 = 3_600_000;
/// Longest path of a socket file, by the kernel's `sockaddr_un`.
const PATH_BYTES_MAX: usize = 107;
const NETWORKS_MAX: usize = 256;

/// The listeners; without any section the one on UDP port 8125.
pub fn listeners(
    written: Option<&[file::Listen]>,
    line_bytes_max: usize,
    problems: &mut Vec<Problem>,
) -> Vec<Listener> {
    let Some(written) = written else {
        let address = Address::Udp(SocketAddr::from(([127, 0, 0, 1], 8125)));
        let socket = defaults(address, line_bytes_max);
        return vec![Listener { socket, dialect: Dialect::Statsd, tag_styles: TagStyles::ALL }];
    };
    let mut listeners: Vec<Listener> = Vec::new();
    for (at, section) in written.iter().enumerate() {
        let mut reading = Reading { section, at, problems };
        let Some(address) = reading.address() else { continue };
        if listeners.iter().any(|other| is_same(&other.socket.address, &address)) {
            let message = "another [[listen]] has this address; for more threads set its threads";
            reading.problem(section.address.span(), "address", message);
        }
        reading.refuse_without_effect(&address);
        let socket = reading.options(address, line_bytes_max);
        let (dialect, tag_styles) = (reading.dialect(), reading.tag_styles());
        listeners.push(Listener { socket, dialect, tag_styles });
    }
    listeners
}

fn defaults(address: Address, line_bytes_max: usize) -> ingest::Options {
    ingest::Options {
        address,
        receive_buffer: RECEIVE_BUFFER as usize,
        threads: 1,
        allow: None,
        framing: Framing::Lines,
        bounds: Bounds { line_bytes_max, packet_bytes_max: PACKET_BYTES as usize },
        mode: MODE,
        connections_max: CONNECTIONS as usize,
        idle: Some(Duration::from_millis(IDLE_MS)),
    }
}

fn is_same(one: &Address, other: &Address) -> bool {
    let any_port = matches!(one, Address::Udp(a) | Address::Tcp(a) if a.port() == 0);
    match (one, other) {
        // A path can hold one socket, of whatever kind.
        (
            Address::UnixDatagram(a) | Address::UnixStream(a),
            Address::UnixDatagram(b) | Address::UnixStream(b),
        ) => a == b,
        _ => one == other && !any_port,
    }
}

struct Reading<'a> {
    section: &'a file::Listen,
    at: usize,
    problems: &'a mut Vec<Problem>,
}

impl Reading<'_> {
    fn key(&self, name: &str) -> String {
        format!("listen[{}].{name}", self.at)
    }

    fn problem(&mut self, span: std::ops::Range<usize>, name: &str, message: impl std::fmt::Display) {
        self.problems.push(Problem::new(span, self.key(name), message));
    }

    fn address(&mut self) -> Option<Address> {
        let (text, span) = (self.section.address.as_ref(), self.section.address.span());
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let key = self.key("address");
        match scheme {
            "udp" => socket_address(rest, &self.section.address, &key, self.problems).map(Address::Udp),
            "tcp" => socket_address(rest, &self.section.address, &key, self.problems).map(Address::Tcp),
            "unixgram" | "unix" => {
                let message = if !rest.starts_with('/') {
                    "the path must begin at the root, as in \"unixgram:///run/statsdeck/statsd.sock\""
                } else if rest.len() > PATH_BYTES_MAX {
                    "the path of a socket file has 107 bytes at most"
                } else if rest.contains('\0') || rest.ends_with('/') {
                    "the path must name a file"
                } else {
                    let path = Path::new(rest).to_owned();
                    let is_datagram = scheme == "unixgram";
                    return Some(if is_datagram {
                        Address::UnixDatagram(path)
                    } else {
                        Address::UnixStream(path)
                    });
                };
                self.problem(span, "address", message);
                None
            }
            _ => {
                let message = "must begin with udp://, tcp://, unixgram:// or unix://, \
                               as in \"udp://127.0.0.1:8125\" or \"unixgram:///run/statsdeck/statsd.sock\"";
                self.problem(span, "address", message);
                None
            }
        }
    }

    /// Keys that this kind of address knows nothing of.
    fn refuse_without_effect(&mut self, address: &Address) {
        let (section, scheme) = (self.section, address.scheme());
        let span = |given: &Option<Spanned<String>>| given.as_ref().map(Spanned::span);
        let count = |given: &Option<Spanned<u64>>| given.as_ref().map(Spanned::span);
        let (is_udp, is_stream) = (matches!(address, Address::Udp(_)), !address.is_datagram());
        let keys = [
            ("receive_buffer", span(&section.receive_buffer), is_udp, "udp://"),
            ("threads", count(&section.threads), is_udp, "udp://"),
            (
                "allow",
                section.allow.as_ref().map(Spanned::span),
                !address.is_unix(),
                "udp:// and tcp://; who may use a socket file is said by its mode",
            ),
            ("mode", span(&section.mode), address.is_unix(), "unixgram:// and unix://"),
            ("framing", span(&section.framing), is_stream, "tcp:// and unix://"),
            ("connections", count(&section.connections), is_stream, "tcp:// and unix://"),
            ("idle", span(&section.idle), is_stream, "tcp:// and unix://"),
        ];
        for (name, span, has_effect, place) in keys {
            if let Some(span) = span.filter(|_| !has_effect) {
                self.problem(span, name, format!("has no effect on {scheme}://; it is for {place}"));
            }
        }
    }

    fn options(&mut self, address: Address, line_bytes_max: usize) -> ingest::Options {
        let section = self.section;
        let mut options = defaults(address, line_bytes_max);
        let (threads, connections) = (self.key("threads"), self.key("connections"));
        options.threads = number(&section.threads, &threads, 1, 1..=THREADS_MAX, self.problems) as usize;
        options.connections_max =
            number(&section.connections, &connections, CONNECTIONS, 1..=CONNECTIONS_MAX, self.problems)
                as usize;
        if let Some(text) = &section.receive_buffer {
            let bytes = parse_bytes(text.as_ref()).filter(|bytes| *bytes <= RECEIVE_BUFFER_MAX);
            match bytes {
                Some(bytes) => options.receive_buffer = bytes as usize,
                None => {
                    let message = "must be a size up to 1GiB, such as \"8MiB\"";
                    self.problem(text.span(), "receive_buffer", message);
                }
            }
        }
        if let Some(text) = &section.packet_bytes {
            let bytes =
                parse_bytes(text.as_ref()).filter(|bytes| (PACKET_BYTES_MIN..=PACKET_BYTES).contains(bytes));
            match bytes {
                Some(bytes) => options.bounds.packet_bytes_max = bytes as usize,
                None => {
                    let message = "must be a size from 512B to 64KiB, such as \"8KiB\"";
                    self.problem(text.span(), "packet_bytes", message);
                }
            }
        }
        if let Some(text) = &section.mode {
            let digits = text.as_ref().bytes().all(|byte| matches!(byte, b'0'..=b'7'));
            match u32::from_str_radix(text.as_ref(), 8).ok().filter(|mode| digits && *mode <= 0o777) {
                Some(mode) => options.mode = mode,
                None => {
                    let message =
                        "must be octal, such as \"0722\" (everyone may send) or \"0720\" (the group)";
                    self.problem(text.span(), "mode", message);
                }
            }
        }
        options.framing = self.framing();
        if let Some(text) = &section.idle {
            match duration::parse_ms(text.as_ref()) {
                Ok(0) => options.idle = None,
                Ok(ms) => options.idle = Some(Duration::from_millis(ms)),
                Err(error) => self.problem(text.span(), "idle", error),
            }
        }
        options.allow = self.allow();
        options
    }

    fn framing(&mut self) -> Framing {
        let Some(word) = &self.section.framing else { return Framing::Lines };
        match word.as_ref().as_str() {
            "lines" => Framing::Lines,
            "datadog" => Framing::Datadog,
            _ => {
                let message = "must be \"lines\" (each ends with a line feed) or \"datadog\" \
                     (4 bytes of length before each packet)";
                self.problem(word.span(), "framing", message);
                Framing::Lines
            }
        }
    }

    fn allow(&mut self) -> Option<Allow> {
        let written = self.section.allow.as_ref()?;
        let mut allow = Allow::default();
        for text in written.as_ref() {
            match text.as_ref().parse() {
                Ok(network) => allow.0.push(network),
                Err(error) => self.problem(text.span(), "allow", format!("{:?} {error}", text.as_ref())),
            }
        }
        if written.as_ref().is_empty() {
            self.problem(
                written.span(),
                "allow",
                "allows nobody; name a network, or leave it out for everyone",
            );
        }
        if allow.0.len() > NETWORKS_MAX {
            self.problem(written.span(), "allow", format!("has more than {NETWORKS_MAX} networks"));
        }
        Some(allow)
    }

    fn dialect(&mut self) -> Dialect {
        let Some(word) = &self.section.dialect else { return Dialect::Statsd };
        match word.as_ref().as_str() {
            "statsd" => Dialect::Statsd,
            "dogstatsd" => Dialect::Dogstatsd,
            _ => {
                let message = "must be \"statsd\" (-10|g is a change) or \"dogstatsd\" (-10|g is a value)";
                self.problem(word.span(), "dialect", message);
                Dialect::Statsd
            }
        }
    }

    fn tag_styles(&mut self) -> TagStyles {
        let Some(words) = &self.section.tag_styles else { return TagStyles::ALL };
        let mut styles = TagStyles::NONE;
        for word in words.as_ref() {
            match TagStyle::parse(word) {
                Some(style) => styles = styles.with(style),
                None => {
                    let known = TagStyle::ALL.map(|style| format!("{:?}", style.as_str())).join(", ");
                    let message = format!("no such style: {word:?}; known are {known}");
                    self.problem(words.span(), "tag_styles", message);
                }
            }
        }
        styles
    }
}
