//! The loop of one receiving thread: wait for packets, let more pile up, hand
//! them on.
//!
//! A reader that is woken for each packet spends its time waking up. So after a
//! batch that was not full the thread naps for half a millisecond, and the
//! kernel's buffer does the batching.

use super::socket::{self, Batch};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a short batch lets packets pile up.
const NAP: Duration = Duration::from_micros(500);
/// How long a read waits before the thread looks whether it shall stop.
const WAIT: Duration = Duration::from_millis(50);
/// Batches taken after the order to stop, so that a sender who does not stop
/// cannot hold us: two million packets.
const DRAIN_BATCHES_MAX: usize = 2_000_000 / socket::BATCH;

/// One UDP listener.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: SocketAddr,
    /// Bytes to ask the kernel for.
    pub receive_buffer: usize,
    /// Sockets, and threads, that share the port.
    pub threads: usize,
}

/// A bound socket, not yet read.
#[derive(Debug)]
pub struct Listener {
    socket: Arc<UdpSocket>,
}

impl Listener {
    /// Binds all sockets of a listener. With port 0 they share the port that
    /// the first one got.
    pub fn bind(options: &Options) -> io::Result<Vec<Listener>> {
        let mut address = options.address;
        (0..options.threads.max(1))
            .map(|_| {
                let shared = options.threads > 1;
                let socket = socket::bind(address, options.receive_buffer, WAIT, shared)?;
                address = socket.local_addr()?;
                Ok(Listener { socket: Arc::new(socket) })
            })
            .collect()
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, to ask about its drops while it is read.
    pub fn socket(&self) -> Arc<UdpSocket> {
        self.socket.clone()
    }

    /// Reads until `stop` is set, then what is left in the socket's buffer while
    /// further packets are refused; `take` gets each batch. Errors of single reads are passed to `failed` and survived.
    pub fn run(self, stop: &AtomicBool, mut take: impl FnMut(&Batch), mut failed: impl FnMut(io::Error)) {
        let mut batch = Batch::default();
        while !stop.load(Ordering::Acquire) {
            match batch.receive(&self.socket, true) {
                Ok(0) => {}
                Ok(received) => {
                    take(&batch);
                    if received < socket::BATCH {
                        std::thread::sleep(NAP);
                    }
                }
                Err(error) => {
                    failed(error);
                    std::thread::sleep(WAIT);
                }
            }
        }
        // A socket that is connected, here to itself, takes nothing from others:
        // from now on senders are refused instead of being heard by nobody.
        let refusing = self.socket.local_addr().and_then(|address| self.socket.connect(address));
        if let Err(error) = refusing {
            failed(error);
        }
        for _ in 0..DRAIN_BATCHES_MAX {
            match batch.receive(&self.socket, false) {
                Ok(0) | Err(_) => break,
                Ok(_) => take(&batch),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: SocketAddr, threads: usize) -> Options {
        Options { address, receive_buffer: 1 << 16, threads }
    }

    #[test]
    fn the_threads_of_a_listener_share_its_port() {
        let listeners = Listener::bind(&options("127.0.0.1:0".parse().unwrap(), 3)).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_address().unwrap()).collect();
        assert_eq!(addresses, [addresses[0]; 3]);
    }

    #[test]
    fn at_the_stop_what_was_received_is_read_and_what_comes_later_is_refused() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            stop_while_sending(address.parse().unwrap());
        }
    }

    fn stop_while_sending(address: SocketAddr) {
        let listener = Listener::bind(&options(address, 1)).unwrap().pop().unwrap();
        // As somebody who asks about drops would; it keeps the socket open.
        let watched = listener.socket();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(("127.0.0.1", listener.local_address().unwrap().port())).unwrap();
        let stop = AtomicBool::new(false);
        let (mut received, mut sent) = (0, 0);
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                listener.run(&stop, |batch| received += batch.packets().count(), |error| panic!("{error}"));
            });
            for at in 0..1_000_000 {
                if at == 500 {
                    stop.store(true, Ordering::Release);
                }
                // Slow enough for the small buffer.
                if at % 20 == 0 {
                    std::thread::sleep(Duration::from_micros(300));
                }
                match sender.send(b"x") {
                    Ok(_) => sent += 1,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                        break;
                    }
                }
            }
            reading.join().unwrap();
        });
        let (dropped, _) = socket::memory_info(&watched).unwrap();
        // A refusal is told by the next send.
        assert_eq!(received + dropped as usize, sent - 1);
    }

    #[test]
    fn another_daemon_cannot_take_packets_away() {
        let ours = Listener::bind(&options("127.0.0.1:0".parse().unwrap(), 1)).unwrap();
        let address = ours[0].local_address().unwrap();
        for threads in [1, 2] {
            let error = Listener::bind(&options(address, threads)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
