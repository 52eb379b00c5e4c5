//! A whole daemon within the test's process, on ports the system chose.

#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::Value as Json;
use statsdeck::clock::SystemClock;
use statsdeck::config::Config;
use statsdeck::daemon::{Daemon, Error};
use statsdeck::ingest::{Address, Inherited};
use statsdeck::telemetry::Telemetry;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A daemon and the runtime it lives in.
pub struct Running {
    runtime: tokio::runtime::Runtime,
    daemon: Daemon,
    pub http: SocketAddr,
    pub admin: Option<SocketAddr>,
    /// Where StatsD is taken, in the order of the config; and the UDP ones alone.
    pub addresses: Vec<Address>,
    pub udp: Vec<SocketAddr>,
    sender: UdpSocket,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Free ports, windows of 200 ms unless `extra` says otherwise.
pub fn config_text(dir: &Path, extra: &str) -> String {
    let mut text = format!("data_dir = {dir:?}\n");
    if !extra.contains("[[listen]]") {
        text += "[[listen]]\naddress = \"udp://127.0.0.1:0\"\n";
    }
    if !extra.contains("[window]") {
        text += "[window]\ninterval = \"200ms\"\n";
    }
    if !extra.contains("[http]") {
        text += "[http]\naddress = \"127.0.0.1:0\"\n";
    }
    text + extra
}

pub fn start(dir: &Path, extra: &str) -> Running {
    try_start(dir, extra).unwrap_or_else(|error| panic!("{error}"))
}

pub fn try_start(dir: &Path, extra: &str) -> Result<Running, Error> {
    try_start_on(Inherited::default(), dir, extra)
}

/// On sockets that are there already.
pub fn try_start_on(inherited: Inherited, dir: &Path, extra: &str) -> Result<Running, Error> {
    let path = dir.join("statsdeck.toml");
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(&path, config_text(dir, extra)).unwrap();
    let load = move || Config::load(Some(&path), &[]);
    let config = load().unwrap_or_else(|error| panic!("{error}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let daemon =
        runtime.block_on(Daemon::start_on(inherited, config, Box::new(load), Arc::new(SystemClock)))?;
    let (http, addresses) = (daemon.http_address(), daemon.addresses().to_vec());
    let udp = addresses.iter().filter_map(|address| match address {
        Address::Udp(address) => Some(*address),
        _ => None,
    });
    let udp = udp.collect();
    let admin = daemon.admin_address();
    Ok(Running {
        runtime,
        daemon,
        http,
        admin,
        addresses,
        udp,
        sender: UdpSocket::bind("127.0.0.1:0").unwrap(),
    })
}

impl Running {
    /// Sends a packet to the first listener.
    pub fn send(&self, packet: &str) {
        self.send_to(0, packet);
    }

    pub fn send_to(&self, listener: usize, packet: &str) {
        self.send_bytes_to(listener, packet.as_bytes());
    }

    pub fn send_bytes_to(&self, listener: usize, packet: &[u8]) {
        self.sender.send_to(packet, self.udp[listener]).unwrap();
    }

    pub fn telemetry(&self) -> &Arc<Telemetry> {
        self.daemon.telemetry()
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.post_bytes(path, headers, body.as_bytes())
    }

    pub fn post_bytes(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.request_bytes(&[head.as_bytes(), body].concat())
    }

    pub fn request(&self, request: &str) -> Answer {
        self.request_bytes(request.as_bytes())
    }

    fn request_bytes(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
        let status =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_owned() };
        Answer { status, head: head.to_owned(), body }
    }

    /// The value of an instant query, `None` while it has no result. More than
    /// one series is an error.
    pub fn query(&self, expr: &str) -> Option<f64> {
        let encoded: String = form_urlencoded::byte_serialize(expr.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer.status, 200, "{expr}: {}", answer.body);
        let json = answer.json();
        let result = json["data"]["result"].as_array().unwrap_or_else(|| panic!("{json}"));
        assert!(result.len() <= 1, "{expr}: {json}");
        result.first().map(|series| series["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// Waits until a query has this value.
    pub fn await_query(&self, expr: &str, expected: f64) {
        let mut last = None;
        wait_until(|| {
            last = self.query(expr);
            last == Some(expected)
        })
        .unwrap_or_else(|| panic!("{expr} is {last:?}, not {expected}"));
    }

    /// Samples of the scrape page, by name with labels.
    pub fn scrape(&self) -> Vec<(String, f64)> {
        let page = self.get("/metrics").body;
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
                (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
            })
            .collect()
    }

    /// One sample of the scrape page.
    pub fn scraped(&self, name: &str) -> Option<f64> {
        self.scrape().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn await_scraped(&self, name: &str, expected: f64) {
        let mut last = None;
        wait_until(|| {
            last = self.scraped(name);
            last == Some(expected)
        })
        .unwrap_or_else(|| panic!("{name} is {last:?}, not {expected}"));
    }

    pub fn reload(&mut self) -> Result<(), String> {
        self.runtime.block_on(self.daemon.reload())
    }

    pub fn stop(self) {
        self.runtime.block_on(self.daemon.stop());
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}

/// Tries until it is so, for at most ten seconds.
pub fn wait_until(mut so: impl FnMut() -> bool) -> Option<()> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        if so() {
            return Some(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}
