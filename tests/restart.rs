//! Restarting on a socket that outlives the daemon, as with systemd's socket
//! units: under a steady load nothing is lost and nothing is taken twice. And
//! what the service manager is told meanwhile.

use statsdeck::ingest::socket;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const RESTARTS: usize = 10;
/// What the kernel counts for a short packet, generously.
const PACKET_BYTES: u32 = 1024;
const RATE_MAX: u32 = 10_000;
/// Packets that each daemon has to take before the next restart.
const PACKETS_BETWEEN: f64 = 2000.0;

/// Starts the daemon as a service manager would, with `udp` as number 3 and
/// `http` as number 4; a shell moves them there, and gives the process number.
fn start(dir: &Path, udp: &UdpSocket, http: &TcpListener) -> Child {
    let script = "exec 3<&0 4>&1 0</dev/null 1>&2; \
                  LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=statsd:http exec \"$0\" --config \"$1\"";
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_statsdeck")])
        .arg(dir.join("statsdeck.toml"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::from(OwnedFd::from(udp.try_clone().unwrap())))
        .stdout(Stdio::from(OwnedFd::from(http.try_clone().unwrap())))
        .spawn()
        .unwrap()
}

fn terminate(child: &mut Child) {
    let killed = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
}

/// The answer to a query of one number. Also while the daemon starts: the
/// connection waits in the socket that outlives it.
fn query(http: SocketAddr, expr: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let expr: String = form_urlencoded::byte_serialize(expr.as_bytes()).collect();
    let request = format!("GET /api/v1/query?query={expr} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    json["data"]["result"][0]["value"][1].as_str().map(|value| value.parse().unwrap())
}

/// A third sum, which no loss and doubling together would leave as it is.
fn mixed(at: u64) -> u64 {
    at.wrapping_mul(at) % 10_007
}

#[test]
fn ten_restarts_under_load_lose_no_packet() {
    let dir = tempfile::tempdir().unwrap();
    let udp: socket2::Socket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
    socket::ask_receive_buffer(&udp, 16 << 20).unwrap();
    let udp: UdpSocket = udp.into();
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let (udp_address, http_address) = (udp.local_addr().unwrap(), http.local_addr().unwrap());
    let config = format!(
        "data_dir = {:?}\n[window]\ninterval = \"500ms\"\n[http]\naddress = \"{http_address}\"\n\
         [[listen]]\naddress = \"udp://{udp_address}\"\nreceive_buffer = \"16MiB\"\n",
        dir.path().join("data"),
    );
    std::fs::write(dir.path().join("statsdeck.toml"), config).unwrap();
    // As fast as the socket can hold three seconds of it.
    let (_, buffer) = socket::memory_info(&udp).unwrap();
    let rate = (buffer / PACKET_BYTES / 3).clamp(20, RATE_MAX);

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(udp_address).unwrap();
            let (begun, mut at, mut sum, mut mixture) = (Instant::now(), 0u64, 0, 0);
            while !done.load(Ordering::Acquire) {
                let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                while at < due {
                    at += 1;
                    let lines = format!("n:1|c\nsum:{at}|c\nmixed:{}|c", mixed(at));
                    sender.send(lines.as_bytes()).unwrap();
                    (sum, mixture) = (sum + at, mixture + mixed(at));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            (at, sum, mixture)
        });
        let mut running = start(dir.path(), &udp, &http);
        let mut before = 0.0;
        for restart in 0..RESTARTS {
            // It works: what came while it was away is taken, and more.
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let total = query(http_address, "n").unwrap_or(0.0);
                if total >= before + PACKETS_BETWEEN.min(f64::from(rate)) {
                    before = total;
                    break;
                }
                assert!(Instant::now() < deadline, "nothing is taken after restart {restart}");
                std::thread::sleep(Duration::from_millis(20));
            }
            terminate(&mut running);
            running = start(dir.path(), &udp, &http);
        }
        done.store(true, Ordering::Release);
        let sent = sending.join().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while query(http_address, "n") != Some(sent.0 as f64) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let totals = ["n", "sum", "mixed"].map(|name| query(http_address, name).unwrap_or(-1.0) as u64);
        terminate(&mut running);
        let (dropped, _) = socket::memory_info(&udp).unwrap();
        println!("{} packets over {RESTARTS} restarts at {rate}/s, {dropped} dropped by the kernel", sent.0);
        assert_eq!(dropped, 0, "the socket could not hold what came during a restart");
        assert_eq!(totals, [sent.0, sent.1, sent.2]);
    });
    // Also across the last stop: nothing is left in the socket.
    udp.set_nonblocking(true).unwrap();
    assert!(udp.recv(&mut [0; 9]).is_err());
}

#[test]
fn the_service_manager_hears_when_it_is_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let config = "[http]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("statsdeck.toml"), config).unwrap();
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_statsdeck"))
        .arg("--config")
        .arg(dir.path().join("statsdeck.toml"))
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .env("RUST_LOG", "warn")
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "200000")
        .spawn()
        .unwrap();
    let hear = || {
        let mut heard = [0; 64];
        let len = manager.recv(&mut heard).unwrap();
        String::from_utf8_lossy(&heard[..len]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1"; 3]);
    terminate(&mut daemon);
    let rest: Vec<String> = std::iter::repeat_with(hear).take_while(|word| word != "STOPPING=1").collect();
    assert!(rest.iter().all(|word| word == "WATCHDOG=1"), "{rest:?}");
}
