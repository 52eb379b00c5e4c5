//! The loop of one thread that receives packets: wait for them, let more pile
//! up, hand them on.
//!
//! A reader that is woken for each packet spends its time waking up. So after a
//! batch that was not full the thread naps for half a millisecond, or for up to
//! two when the kernel's buffer holds what a burst brings meanwhile, and the
//! buffer does the batching. Not so on a Unix socket: its queue is short, and a
//! client that finds it full waits, or loses what it has.

use crate::ingest::options::Options;
use crate::ingest::socket::{self, Batch};
use crate::ingest::socket_file::SocketFile;
use crate::ingest::{Address, Inherited};
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a short batch lets packets pile up, at least and at most.
const NAP: Duration = Duration::from_micros(500);
const NAP_MAX: Duration = Duration::from_millis(2);
/// What a burst can put into the buffer: two million small packets a second,
/// of 1280 bytes each with the kernel's own.
const BURST_BYTES_PER_S: f64 = 2e6 * 1280.0;
/// How long a read waits before the thread looks whether it shall stop.
const WAIT: Duration = Duration::from_millis(50);
/// Batches taken after the order to stop, so that a sender who does not stop
/// cannot hold us: two million packets.
const DRAIN_BATCHES_MAX: usize = 2_000_000 / socket::BATCH;

/// A bound socket, not yet read.
#[derive(Debug)]
pub struct DatagramListener {
    socket: Arc<Socket>,
    address: Address,
    options: Options,
    /// Others have the socket too, and go on with it after us.
    inherited: bool,
    file: Option<SocketFile>,
}

impl DatagramListener {
    /// Takes over the sockets of a listener that are there already, or binds
    /// them. With port 0 they share the port that the first one got.
    ///
    /// # Errors
    /// When the address is taken, cannot be had, or is for connections.
    pub fn bind(options: &Options, inherited: &mut Inherited) -> io::Result<Vec<DatagramListener>> {
        let listener = |socket: Socket, address: Address, inherited: bool, file: Option<SocketFile>| {
            DatagramListener { socket: Arc::new(socket), address, options: options.clone(), inherited, file }
        };
        let taken = inherited.take(&options.address);
        if !taken.is_empty() {
            let take = |socket: Socket| {
                socket.set_nonblocking(false)?;
                socket.set_read_timeout(Some(WAIT))?;
                if !options.address.is_unix() {
                    socket::grow_receive_buffer(&socket, options.receive_buffer)?;
                }
                Ok(listener(socket, options.address.clone(), true, None))
            };
            return taken.into_iter().map(take).collect();
        }
        match &options.address {
            Address::Udp(address) => {
                let mut address = *address;
                let shared = options.threads > 1;
                let bind = |_| {
                    let socket = socket::bind(address, options.receive_buffer, WAIT, shared)?;
                    address = socket.local_addr()?;
                    Ok(listener(socket.into(), Address::Udp(address), false, None))
                };
                (0..options.threads.max(1)).map(bind).collect()
            }
            Address::UnixDatagram(path) => {
                let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
                socket.set_read_timeout(Some(WAIT))?;
                let file = SocketFile::bind(&socket, path, options.mode)?;
                Ok(vec![listener(socket, options.address.clone(), false, Some(file))])
            }
            Address::Tcp(_) | Address::UnixStream(_) => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// As bound.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the socket was there before us.
    pub fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// The socket, to ask about its drops while it is read.
    pub fn socket(&self) -> Arc<Socket> {
        self.socket.clone()
    }

    /// Reads until `stop` is set; `take` gets each batch. Errors of single reads
    /// are passed to `failed` and survived.
    ///
    /// At the stop further packets are refused, and what is in the socket's
    /// buffer is read. What an inherited socket holds is left to the next reader.
    pub fn run(mut self, stop: &AtomicBool, mut take: impl FnMut(&Batch), mut failed: impl FnMut(io::Error)) {
        let mut batch = Batch::new(self.options.bounds.packet_bytes_max, self.options.allow.take());
        let nap = (!self.address.is_unix()).then(|| nap(self.socket.recv_buffer_size().unwrap_or(0)));
        while !stop.load(Ordering::Acquire) {
            match batch.receive(&*self.socket, true) {
                Ok(0) => {}
                Ok(received) => {
                    take(&batch);
                    if let Some(nap) = nap.filter(|_| received < socket::BATCH) {
                        std::thread::sleep(nap);
                    }
                }
                Err(error) => {
                    failed(error);
                    std::thread::sleep(WAIT);
                }
            }
        }
        if self.inherited {
            return;
        }
        drop(self.file.take());
        if let Err(error) = self.refuse() {
            failed(error);
        }
        for _ in 0..DRAIN_BATCHES_MAX {
            match batch.receive(&*self.socket, false) {
                Ok(0) | Err(_) => break,
                Ok(_) => take(&batch),
            }
        }
    }

    /// From now on senders are refused instead of being heard by nobody.
    fn refuse(&self) -> io::Result<()> {
        match &self.address {
            // A socket that is connected, here to itself, takes nothing from others.
            Address::Udp(_) => self.socket.connect(&self.socket.local_addr()?),
            _ => self.socket.shutdown(Shutdown::Read),
        }
    }
}

/// How long the buffer can do without being read.
fn nap(buffer_bytes: usize) -> Duration {
    Duration::from_secs_f64(buffer_bytes as f64 / BURST_BYTES_PER_S).clamp(NAP, NAP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::framing::{Bounds, Framing};
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    fn options(address: Address, threads: usize) -> Options {
        Options {
            address,
            receive_buffer: 1 << 16,
            threads,
            allow: None,
            framing: Framing::Lines,
            bounds: Bounds { line_bytes_max: 8192, packet_bytes_max: socket::SLOT_BYTES },
            mode: 0o600,
            connections_max: 1,
            idle: None,
        }
    }

    fn udp(address: &str, threads: usize) -> Options {
        options(Address::Udp(address.parse().unwrap()), threads)
    }

    fn bind(options: &Options) -> io::Result<Vec<DatagramListener>> {
        DatagramListener::bind(options, &mut Inherited::default())
    }

    #[test]
    fn naps_are_as_long_as_the_buffer_bears() {
        for (buffer_bytes, expected_us) in [(0, 500), (425_984, 500), (2_560_000, 1000), (16 << 20, 2000)] {
            assert_eq!(nap(buffer_bytes).as_micros(), expected_us, "{buffer_bytes}");
        }
    }

    #[test]
    fn the_threads_of_a_listener_share_its_port() {
        let listeners = bind(&udp("127.0.0.1:0", 3)).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.address().clone()).collect();
        assert_eq!(addresses, vec![addresses[0].clone(); 3]);
    }

    #[test]
    fn at_the_stop_what_was_received_is_read_and_what_comes_later_is_refused() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let listener = bind(&udp(address, 1)).unwrap().pop().unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            let Address::Udp(address) = *listener.address() else { panic!("not UDP") };
            sender.connect(("127.0.0.1", address.port())).unwrap();
            let received = stop_while_sending(listener, || sender.send(b"x"));
            // A refusal is told by the next send.
            assert_eq!(received.taken, received.sent - 1, "{address}");
        }
    }

    #[test]
    fn at_the_stop_a_unix_socket_is_read_and_closed_likewise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = bind(&options(Address::UnixDatagram(path.clone()), 1)).unwrap().pop().unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        let received = stop_while_sending(listener, || sender.send(b"x"));
        assert_eq!(received.taken, received.sent);
        assert!(!path.exists());
    }

    #[test]
    fn what_an_inherited_socket_holds_is_left_to_the_next_reader() {
        let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = Address::Udp(ours.local_addr().unwrap());
        let options = Options { receive_buffer: 1 << 21, ..options(address, 1) };
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(ours.local_addr().unwrap()).unwrap();
        let (mut taken, mut sent) = (0, 0);
        for _ in 0..5 {
            let mut inherited = Inherited::from(vec![ours.try_clone().unwrap().into()]);
            let listener = DatagramListener::bind(&options, &mut inherited).unwrap().pop().unwrap();
            let stop = AtomicBool::new(false);
            for _ in 0..200 {
                sent += sender.send(b"x").unwrap();
            }
            // In the middle of it.
            listener.run(
                &stop,
                |batch| {
                    taken += batch.packets().count();
                    stop.store(true, Ordering::Release);
                },
                |error| panic!("{error}"),
            );
            assert!(taken < sent);
        }
        ours.set_nonblocking(true).unwrap();
        while ours.recv(&mut [0; 9]).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, sent);
    }

    struct Received {
        /// Packets taken, or dropped by the kernel.
        taken: usize,
        sent: usize,
    }

    fn stop_while_sending(listener: DatagramListener, send: impl Fn() -> io::Result<usize>) -> Received {
        // As somebody who asks about drops would; it keeps the socket open.
        let watched = listener.socket();
        let stop = AtomicBool::new(false);
        let (mut taken, mut sent) = (0, 0);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                listener.run(&stop, |batch| taken += batch.packets().count(), |error| panic!("{error}"));
            });
            for at in 0..1_000_000 {
                if at == 500 {
                    stop.store(true, Ordering::Release);
                }
                // Slow enough for the small buffer.
                if at % 20 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
                match send() {
                    Ok(_) => sent += 1,
                    Err(error) => {
                        use io::ErrorKind::{BrokenPipe, ConnectionRefused};
                        assert!(matches!(error.kind(), ConnectionRefused | BrokenPipe), "{error}");
                        break;
                    }
                }
            }
            reading.join().unwrap();
        });
        let (dropped, _) = socket::memory_info(&*watched).unwrap();
        Received { taken: taken + dropped as usize, sent }
    }

    #[test]
    fn another_daemon_cannot_take_packets_away() {
        let ours = bind(&udp("127.0.0.1:0", 1)).unwrap();
        let Address::Udp(address) = ours[0].address() else { panic!("not UDP") };
        for threads in [1, 2] {
            let error = bind(&udp(&address.to_string(), threads)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
