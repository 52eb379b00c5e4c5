//! Every way in: what is sent over it is what can be queried, and what is
//! refused, cut out or closed is counted.

mod harness;

use harness::{Running, start, try_start, try_start_on, wait_until};
use statsdeck::ingest::{Address, Inherited};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// One listener with these lines in its section.
fn listen(dir: &Path, section: &str) -> Running {
    start(dir, &format!("[[listen]]\n{section}\n"))
}

fn unix(dir: &Path, scheme: &str) -> (PathBuf, String) {
    let path = dir.join("in.sock");
    let line = format!("address = \"{scheme}://{}\"\n", path.display());
    (path, line)
}

fn tcp(daemon: &Running) -> TcpStream {
    let Address::Tcp(address) = daemon.addresses[0] else { panic!("not TCP") };
    TcpStream::connect(address).unwrap()
}

/// Lines received by `transport`.
fn received(transport: &str) -> String {
    format!("statsdeck_lines_received_total{{transport=\"{transport}\"}}")
}

/// One of the listener's own figures.
fn figure(daemon: &Running, name: &str, reason: &str) -> String {
    let reason = if reason.is_empty() { String::new() } else { format!(",reason=\"{reason}\"") };
    format!("{name}{{listener=\"{}\"{reason}}}", daemon.addresses[0])
}

fn framed(packet: &str) -> Vec<u8> {
    let mut framed = u32::try_from(packet.len()).unwrap().to_le_bytes().to_vec();
    framed.extend_from_slice(packet.as_bytes());
    framed
}

/// Whether the other side has closed the connection.
fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn udp_is_taken_by_ipv4_and_ipv6() {
    let dir = dir();
    let sections = "address = \"udp://127.0.0.1:0\"\n[[listen]]\naddress = \"udp://[::1]:0\"";
    let daemon = listen(dir.path(), sections);
    daemon.send_to(0, "a:1|c");
    let six = UdpSocket::bind("[::1]:0").unwrap();
    six.send_to(b"a:2|c", daemon.udp[1]).unwrap();
    daemon.await_query("a", 3.0);
    daemon.stop();
}

#[test]
fn tcp_takes_lines_however_they_are_cut() {
    let dir = dir();
    let daemon = listen(dir.path(), "address = \"tcp://127.0.0.1:0\"\ntag_styles = [\"influx\"]");
    let mut stream = tcp(&daemon);
    stream.set_nodelay(true).unwrap();
    for part in ["a:1|c\na:2", "|c\n", "\r\n", "b:5|", "g\r\na:4|c\n"] {
        stream.write_all(part.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon.await_query("a", 7.0);
    daemon.await_query("b", 5.0);
    stream.write_all(b"in,k=v:1|c\nin;k=v:2|c\n").unwrap();
    daemon.await_query("in{k=\"v\"}", 1.0);
    daemon.await_query("{\"in;k=v\"}", 2.0);
    // The last line needs no line feed.
    stream.write_all(b"a:8|c").unwrap();
    drop(stream);
    daemon.await_query("a", 15.0);
    daemon.await_scraped(&received("tcp"), 7.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections", ""), 0.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections_accepted_total", ""), 1.0);
    daemon.stop();
}

#[test]
fn a_line_that_is_too_long_is_cut_out_and_the_rest_goes_on() {
    let dir = dir();
    let daemon =
        start(dir.path(), "[limits]\nline_bytes = 100\n[[listen]]\naddress = \"tcp://127.0.0.1:0\"\n");
    let mut stream = tcp(&daemon);
    stream.write_all(b"a:1|c\n").unwrap();
    // Far more than any buffer.
    for _ in 0..300 {
        stream.write_all(&[b'x'; 10_000]).unwrap();
    }
    stream.write_all(format!("\na:2|c\n{}\na:4|c\n", "y".repeat(101)).as_bytes()).unwrap();
    daemon.await_query("a", 7.0);
    daemon.await_scraped("statsdeck_lines_rejected_total{reason=\"line_too_long\"}", 2.0);
    daemon.await_scraped(&received("tcp"), 5.0);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);
    daemon.stop();
}

#[test]
fn a_unix_stream_takes_lines_and_datadogs_packets() {
    let dir = dir();
    let (path, line) = unix(dir.path(), "unix");
    let daemon = listen(dir.path(), &line);
    UnixStream::connect(&path).unwrap().write_all(b"a:1|c\na:2|c").unwrap();
    daemon.await_query("a", 3.0);
    daemon.await_scraped(&received("unix"), 2.0);
    daemon.stop();
    let daemon = listen(
        dir.path(),
        &(line + "framing = \"datadog\"\ndialect = \"dogstatsd\"\npacket_bytes = \"8KiB\""),
    );
    let mut stream = UnixStream::connect(&path).unwrap();
    let sent = [framed("a:4|c\nb:-5|g"), framed(""), framed(&"c:1|c\n".repeat(1365))].concat();
    for part in sent.chunks(1000) {
        stream.write_all(part).unwrap();
    }
    daemon.await_query("a", 7.0);
    daemon.await_query("b", -5.0);
    daemon.await_query("c", 1365.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_packets_received_total", ""), 3.0);
    // One that is announced as too long ends the connection, and no other.
    let mut wrong = UnixStream::connect(&path).unwrap();
    wrong.write_all(&framed(&"d:1|c\n".repeat(1366))).unwrap();
    assert!(is_closed(&mut wrong));
    stream.write_all(&framed("a:8|c")).unwrap();
    daemon.await_query("a", 15.0);
    assert_eq!(daemon.query("d"), None);
    let closed = figure(&daemon, "statsdeck_connections_closed_total", "packet_too_long");
    daemon.await_scraped(&closed, 1.0);
    daemon.stop();
}

#[test]
fn a_unix_datagram_socket_takes_packets() {
    let dir = dir();
    let (path, line) = unix(dir.path(), "unixgram");
    let daemon = listen(dir.path(), &(line + "packet_bytes = \"1KiB\""));
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(&path).unwrap();
    for _ in 0..1000 {
        sender.send(b"a:1|c\nb:2|c").unwrap();
    }
    // Cut off within a line, which half of might read as another.
    sender.send(format!("a:1|c\nb:{}|c", "1".repeat(2000)).as_bytes()).unwrap();
    daemon.await_query("a", 1001.0);
    daemon.await_query("b", 2000.0);
    daemon.await_scraped(&received("unixgram"), 2002.0);
    daemon.await_scraped("statsdeck_lines_rejected_total{reason=\"line_too_long\"}", 1.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_packets_truncated_total", ""), 1.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_packets_received_total", ""), 1001.0);
    daemon.stop();
}

#[test]
fn events_and_service_checks_come_over_every_transport() {
    let dir = dir();
    let at = |file: &str| dir.path().join(file);
    let sections = [
        "address = \"tcp://127.0.0.1:0\"\n".into(),
        format!("address = \"unixgram://{}\"\n", at("gram").display()),
        format!("address = \"unix://{}\"\n", at("lines").display()),
        format!("address = \"unix://{}\"\nframing = \"datadog\"\n", at("framed").display()),
    ];
    let daemon = listen(dir.path(), &sections.join("[[listen]]\n"));
    // A title may hold what ends fields.
    let packet = |way: &str| {
        let title = format!("{way}|c:1");
        format!("_e{{{},4}}:{title}|a\\nb|#k:v\n_sc|from.{way}|1|m:slow|#no:tag\na:1|c\n", title.len())
    };
    let mut stream = tcp(&daemon);
    let sent = packet("tcp");
    for part in sent.as_bytes().chunks(7) {
        stream.write_all(part).unwrap();
    }
    UnixDatagram::unbound().unwrap().send_to(packet("gram").as_bytes(), at("gram")).unwrap();
    UnixStream::connect(at("lines")).unwrap().write_all(packet("lines").as_bytes()).unwrap();
    UnixStream::connect(at("framed")).unwrap().write_all(&framed(&packet("framed"))).unwrap();
    daemon.await_query("a", 4.0);
    let titles = || {
        let json = daemon.get("/api/v1/markers").json();
        let mut titles: Vec<String> =
            json["data"].as_array().unwrap().iter().map(|m| m["title"].as_str().unwrap().into()).collect();
        titles.sort();
        titles
    };
    wait_until(|| titles().len() == 4).expect("the events are kept");
    assert_eq!(titles(), ["framed|c:1", "gram|c:1", "lines|c:1", "tcp|c:1"]);
    for way in ["tcp", "gram", "lines", "framed"] {
        daemon.await_query(&format!("service_check{{check=\"from.{way}\"}}"), 1.0);
    }
    daemon.await_query("count(service_check)", 4.0);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);
    daemon.stop();
}

#[test]
fn a_socket_file_has_its_mode_is_replaced_when_stale_and_goes_with_the_daemon() {
    for scheme in ["unix", "unixgram"] {
        let dir = dir();
        let (path, line) = unix(dir.path(), scheme);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let daemon = listen(dir.path(), &line);
        assert_eq!(mode(), 0o722, "{scheme}");
        // Another daemon does not take it away, and says whose it is.
        let other = dir.path().join("other");
        let Err(error) = try_start(&other, &format!("[[listen]]\n{line}")) else { panic!("it started") };
        let error = error.to_string();
        assert!(error.contains(&format!("{scheme}://{}", path.display())), "{error}");
        assert!(error.contains("another process listens"), "{error}");
        daemon.stop();
        assert!(!path.exists(), "{scheme}");
        // As after a crash: the file is there, and nobody behind it.
        drop(UnixListener::bind(&path).unwrap());
        assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
        let daemon = listen(dir.path(), &(line.clone() + "mode = \"0600\""));
        assert_eq!(mode(), 0o600, "{scheme}");
        daemon.stop();
        // What is no socket is not ours to remove.
        std::fs::write(&path, "precious").unwrap();
        let Err(error) = try_start(dir.path(), &format!("[[listen]]\n{line}")) else { panic!("it started") };
        assert!(error.to_string().contains("which is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}

#[test]
fn connections_beyond_the_limit_are_closed_and_idle_ones_make_room() {
    let dir = dir();
    let daemon = listen(dir.path(), "address = \"tcp://127.0.0.1:0\"\nconnections = 2\nidle = \"700ms\"");
    let mut first = tcp(&daemon);
    let second = tcp(&daemon);
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections", ""), 2.0);
    assert!(is_closed(&mut tcp(&daemon)));
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections_refused_total", "limit"), 1.0);
    // One that speaks stays; what an idle one had begun counts.
    (&second).write_all(b"a:1|c").unwrap();
    wait_until(|| {
        first.write_all(b"b:1|c\n").unwrap();
        std::thread::sleep(Duration::from_millis(100));
        daemon.scraped(&figure(&daemon, "statsdeck_connections", "")) == Some(1.0)
    })
    .expect("the idle one is closed");
    daemon.await_query("a", 1.0);
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections_closed_total", "idle"), 1.0);
    let mut third = tcp(&daemon);
    third.write_all(b"c:1|c\n").unwrap();
    daemon.await_query("c", 1.0);
    daemon.stop();
}

#[test]
fn sources_that_are_not_allowed_are_refused_and_counted() {
    let dir = dir();
    let elsewhere = "allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]";
    let here = "allow = [\"192.0.2.0/24\", \"127.0.0.0/8\"]";
    let daemon = listen(dir.path(), &format!("address = \"udp://127.0.0.1:0\"\n{elsewhere}"));
    for _ in 0..3 {
        daemon.send("a:1|c");
    }
    daemon.await_scraped(&figure(&daemon, "statsdeck_packets_refused_total", ""), 3.0);
    daemon.await_scraped(&received("udp"), 0.0);
    daemon.stop();
    let daemon = listen(dir.path(), &format!("address = \"udp://127.0.0.1:0\"\n{here}"));
    daemon.send("a:1|c");
    daemon.await_query("a", 1.0);
    daemon.stop();
    let daemon = listen(dir.path(), &format!("address = \"tcp://127.0.0.1:0\"\n{elsewhere}"));
    assert!(is_closed(&mut tcp(&daemon)));
    daemon.await_scraped(&figure(&daemon, "statsdeck_connections_refused_total", "source"), 1.0);
    daemon.stop();
    let daemon = listen(dir.path(), &format!("address = \"tcp://127.0.0.1:0\"\n{here}"));
    tcp(&daemon).write_all(b"a:2|c\n").unwrap();
    daemon.await_query("a", 3.0);
    daemon.stop();
}

#[test]
fn what_a_connection_had_sent_before_the_stop_is_there_after_it() {
    let hour = "[window]\ninterval = \"1h\"\n";
    for scheme in ["tcp", "unix"] {
        let dir = dir();
        let (path, line) = unix(dir.path(), "unix");
        let line = if scheme == "unix" { line } else { "address = \"tcp://127.0.0.1:0\"".into() };
        let daemon = start(dir.path(), &format!("{hour}[[listen]]\n{line}\n"));
        let bytes = "a:1|c\n".repeat(50_000);
        let mut streams: Vec<Box<dyn Write>> = Vec::new();
        for _ in 0..4 {
            let mut stream: Box<dyn Write> = if scheme == "unix" {
                Box::new(UnixStream::connect(&path).unwrap())
            } else {
                Box::new(tcp(&daemon))
            };
            stream.write_all(bytes.as_bytes()).unwrap();
            streams.push(stream);
        }
        daemon.stop();
        drop(streams);
        let daemon = start(dir.path(), hour);
        daemon.await_query("a", 200_000.0);
        daemon.stop();
    }
}

#[test]
fn sockets_that_are_there_already_are_used_and_left_open() {
    let dir = dir();
    let (gram, stream) = (dir.path().join("gram"), dir.path().join("stream"));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let gram_socket = UnixDatagram::bind(&gram).unwrap();
    let stream_socket = UnixListener::bind(&stream).unwrap();
    let config = format!(
        "[http]\naddress = \"{}\"\n[[listen]]\naddress = \"udp://{}\"\n[[listen]]\naddress = \"tcp://{}\"\n\
         [[listen]]\naddress = \"unixgram://{}\"\n[[listen]]\naddress = \"unix://{}\"\n",
        http.local_addr().unwrap(),
        udp.local_addr().unwrap(),
        tcp.local_addr().unwrap(),
        gram.display(),
        stream.display(),
    );
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 1..=3 {
        // Before anybody reads.
        sender.send_to(b"a:1|c", udp.local_addr().unwrap()).unwrap();
        TcpStream::connect(tcp.local_addr().unwrap()).unwrap().write_all(b"b:1|c").unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"c:1|c", &gram).unwrap();
        UnixStream::connect(&stream).unwrap().write_all(b"d:1|c").unwrap();
        let sockets = vec![
            udp.try_clone().unwrap().into(),
            tcp.try_clone().unwrap().into(),
            http.try_clone().unwrap().into(),
            gram_socket.try_clone().unwrap().into(),
            stream_socket.try_clone().unwrap().into(),
        ];
        let daemon = try_start_on(Inherited::from(sockets), dir.path(), &config).unwrap();
        for name in ["a", "b", "c", "d"] {
            daemon.await_query(name, f64::from(round));
        }
        daemon.stop();
        assert!(gram.exists() && stream.exists(), "files of others are not ours to remove");
    }
}

#[test]
fn what_the_kernel_dropped_is_told_on_the_first_page() {
    let dir = dir();
    let socket: socket2::Socket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    socket.set_recv_buffer_size(2048).unwrap();
    let ours: UdpSocket = socket.try_clone().unwrap().into();
    let address = ours.local_addr().unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..500 {
        sender.send_to(b"a:1|c", address).unwrap();
    }
    let config = format!("[[listen]]\naddress = \"udp://{address}\"\nreceive_buffer = \"2KiB\"\n");
    let daemon = try_start_on(Inherited::from(vec![socket]), dir.path(), &config).unwrap();
    let dropped = figure(&daemon, "statsdeck_kernel_dropped_packets_total", "");
    wait_until(|| daemon.query("a").is_some()).expect("some were received");
    let (dropped, taken) = (daemon.scraped(&dropped).unwrap(), daemon.query("a").unwrap());
    assert_eq!(dropped + taken, 500.0);
    let page = daemon.get("/dashboard").body;
    let told = format!("The kernel dropped {dropped} packets on udp://{address} in the last hour");
    assert!(page.contains(&told), "{page}");
    assert!(page.contains("sysctl -w net.core.rmem_max=8388608"), "{page}");
    daemon.stop();
}

#[test]
fn an_overload_is_accounted_for_to_the_packet_and_pages_are_answered() {
    let dir = dir();
    let config = "[limits]\nseries = 30\n\
                  [[listen]]\naddress = \"udp://127.0.0.1:0\"\nreceive_buffer = \"16KiB\"\n";
    let daemon = start(dir.path(), config);
    let done = AtomicBool::new(false);
    let sent: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        // Most are good, some beyond the limit, some nonsense.
                        let line = match sent % 50 {
                            0 => "nonsense".to_owned(),
                            at => format!("over.load.{at}:1|c"),
                        };
                        sender.send_to(line.as_bytes(), daemon.udp[0]).unwrap();
                        sent += 1;
                    }
                    sent
                })
            })
            .collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            let asked = Instant::now();
            assert_eq!(daemon.get("/-/ready").status, 200);
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    });
    let mut books = String::new();
    wait_until(|| {
        let page = daemon.scrape();
        let total = |name: &str| {
            page.iter().filter(|(known, _)| known.starts_with(name)).map(|(_, value)| value).sum::<f64>()
                as usize
        };
        let [accepted, limited, rejected, dropped, overflowed] = [
            "statsdeck_lines_accepted_total",
            "statsdeck_lines_limited_total",
            "statsdeck_lines_rejected_total",
            "statsdeck_kernel_dropped_packets_total",
            // Beyond the limit of series: accepted, and counted apart.
            "statsdeck_lines_overflowed_total",
        ]
        .map(total);
        books = format!(
            "sent {sent}, accepted {accepted} ({overflowed} overflowed), limited {limited}, \
             rejected {rejected}, dropped {dropped}"
        );
        let all_happened = [accepted, overflowed, rejected, dropped].iter().all(|count| *count > 0);
        all_happened && accepted + limited + rejected + dropped == sent
    })
    .unwrap_or_else(|| panic!("{books}"));
    println!("{books}");
    daemon.stop();
}
