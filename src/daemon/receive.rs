//! The receiving threads: socket, table, ledger.

use super::reject_log::RejectLog;
use crate::aggregate::Table;
use crate::clock::Clock;
use crate::config::config::Listener as ListenerConfig;
use crate::ingest::{Listener, socket};
use crate::protocol::Dialect;
use crate::telemetry::{Socket, Telemetry};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A socket whose thread is running.
#[derive(Debug)]
pub struct Receiver {
    pub thread: JoinHandle<()>,
    pub watched: Watched,
}

/// A socket and its books.
#[derive(Clone, Debug)]
pub struct Watched {
    pub socket: Arc<UdpSocket>,
    pub books: Arc<Socket>,
}

/// Sockets of one listener, bound but not read.
#[derive(Debug)]
pub struct Bound {
    pub address: SocketAddr,
    pub dialect: Dialect,
    asked_buffer: usize,
    listeners: Vec<Listener>,
}

/// Binds the sockets of a listener.
pub fn bind(config: &ListenerConfig) -> io::Result<Bound> {
    let listeners = Listener::bind(&config.socket)?;
    let address = match listeners.first() {
        Some(listener) => listener.local_address()?,
        None => config.socket.address,
    };
    Ok(Bound { address, dialect: config.dialect, asked_buffer: config.socket.receive_buffer, listeners })
}

/// Starts a thread for each socket; `table` makes the table that it fills.
pub fn start(
    bound: Bound,
    telemetry: &Telemetry,
    clock: &Arc<dyn Clock>,
    rejects: &Arc<RejectLog>,
    stop: &Arc<AtomicBool>,
    mut table: impl FnMut() -> Arc<Mutex<Table>>,
) -> io::Result<Vec<Receiver>> {
    let mut receivers = Vec::new();
    let sockets = bound.listeners.len();
    for (at, listener) in bound.listeners.into_iter().enumerate() {
        let thread_part = if sockets > 1 { format!("#{at}") } else { String::new() };
        let address = format!("udp://{}{thread_part}", bound.address);
        let watched = Watched { socket: listener.socket(), books: telemetry.socket(address.clone()) };
        watched.look();
        report_buffer(&address, bound.asked_buffer, &watched.books);
        let (clock, rejects, stop) = (clock.clone(), rejects.clone(), stop.clone());
        let (table, books, dialect) = (table(), watched.books.clone(), bound.dialect);
        let thread = std::thread::Builder::new().name(format!("receive-{at}")).spawn(move || {
            let take = |batch: &socket::Batch| {
                let now_ms = clock.now_ms();
                // Free but for the moment of a flush.
                let mut table = table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                let (mut packets, mut bytes) = (0, 0);
                for packet in batch.packets() {
                    packets += 1;
                    bytes += packet.len() as u64;
                    table.packet(now_ms, packet, dialect, |line, refusal| {
                        rejects.note(now_ms, &books.address, line, refusal);
                    });
                }
                books.packets.add(packets);
                books.bytes.add(bytes);
                books.truncated.add(batch.truncated() as u64);
            };
            let failed = |error: io::Error| tracing::error!(%error, listener = address, "cannot receive");
            listener.run(&stop, take, failed);
        })?;
        receivers.push(Receiver { thread, watched });
    }
    Ok(receivers)
}

impl Watched {
    /// Brings the kernel's figures into the books.
    pub fn look(&self) {
        if let Ok((drops, buffer)) = socket::memory_info(&self.socket) {
            self.books.kernel_dropped.set(i64::from(drops));
            self.books.receive_buffer_bytes.set(i64::from(buffer));
        }
    }
}

fn report_buffer(address: &str, asked: usize, books: &Socket) {
    // The kernel doubles what is asked, for its own bookkeeping.
    let got = books.receive_buffer_bytes.value() / 2;
    if got < asked as i64 {
        tracing::warn!(
            listener = address,
            asked,
            got,
            "the receive buffer is smaller than asked; packets may be lost in bursts. \
             To allow it: sysctl -w net.core.rmem_max={asked}"
        );
    }
}
