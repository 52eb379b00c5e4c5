//! The receiving threads and tasks: socket, table, ledger. Each socket that
//! takes packets has a table of its own, and so has each listener that takes
//! connections.

use super::kernel_drops::{Told, Watched};
use super::reject_log::RejectLog;
use crate::aggregate::Table;
use crate::aggregate::table::Refusal;
use crate::clock::Clock;
use crate::config::config::Listener as ListenerConfig;
use crate::ingest::framing::{Framing, Piece};
use crate::ingest::listener::{DatagramListener, StreamListener};
use crate::ingest::{Address, Inherited, socket};
use crate::protocol::{Dialect, Reject, TagStyles};
use crate::telemetry::{Socket as Books, Telemetry, Transport};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;

/// A Unix socket queues so many packets before clients must wait; below that,
/// bursts of a client that does not wait are lost where nobody can count them.
const UNIX_QUEUE_MIN: u32 = 256;

/// Sockets of one listener, bound but not read.
#[derive(Debug)]
pub struct Bound {
    pub address: Address,
    dialect: Dialect,
    tag_styles: TagStyles,
    asked_buffer: usize,
    framing: Framing,
    sockets: Sockets,
}

#[derive(Debug)]
enum Sockets {
    Datagram(Vec<DatagramListener>),
    Stream(Box<StreamListener>),
}

/// Takes over or binds the sockets of a listener.
pub fn bind(config: &ListenerConfig, inherited: &mut Inherited) -> io::Result<Bound> {
    let options = &config.socket;
    let (address, sockets) = if options.address.is_datagram() {
        let listeners = DatagramListener::bind(options, inherited)?;
        let address = listeners.first().map_or(&options.address, DatagramListener::address);
        if listeners.len() < options.threads {
            tracing::warn!(
                listener = %address,
                sockets = listeners.len(),
                threads = options.threads,
                "fewer sockets were handed over than there are threads; each thread needs one \
                 (in a socket unit ReusePort=yes and the address once a thread)"
            );
        }
        (address.clone(), Sockets::Datagram(listeners))
    } else {
        let listener = StreamListener::bind(options, inherited)?;
        (listener.address().clone(), Sockets::Stream(Box::new(listener)))
    };
    Ok(Bound {
        address,
        dialect: config.dialect,
        tag_styles: config.tag_styles,
        asked_buffer: options.receive_buffer,
        framing: options.framing,
        sockets,
    })
}

/// What all receivers work with.
pub struct Around {
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
    pub rejects: Arc<RejectLog>,
    pub told: Arc<Told>,
}

/// Everything that receives.
pub struct Receivers {
    around: Around,
    threads: Vec<JoinHandle<()>>,
    watched: Vec<Arc<Watched>>,
    stop_threads: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop_tasks: watch::Sender<bool>,
}

impl Receivers {
    pub fn new(around: Around) -> Receivers {
        Receivers {
            around,
            threads: Vec::new(),
            watched: Vec::new(),
            stop_threads: Arc::default(),
            tasks: Vec::new(),
            stop_tasks: watch::channel(false).0,
        }
    }

    /// Reads the sockets of a listener from now on; `table` makes the tables.
    pub fn start(
        &mut self,
        bound: Bound,
        mut table: impl FnMut(Transport, TagStyles) -> Arc<Mutex<Table>>,
    ) -> io::Result<()> {
        let transport = transport(&bound.address);
        let filler = |table, books| Filler {
            table,
            books,
            transport,
            dialect: bound.dialect,
            clock: self.around.clock.clone(),
            rejects: self.around.rejects.clone(),
            telemetry: self.around.telemetry.clone(),
        };
        match bound.sockets {
            Sockets::Stream(listener) => {
                let books = self.around.telemetry.socket(bound.address.to_string(), true);
                let filler = filler(table(transport, bound.tag_styles), books.clone());
                let counts_packets = bound.framing == Framing::Datadog;
                let take = move |piece: Piece<'_>| {
                    if counts_packets && matches!(piece, Piece::Packet(_)) {
                        filler.books.packets.add(1);
                    }
                    filler.take(&mut filler.lock(), filler.clock.now_ms(), piece);
                };
                let running = listener.run(books, take, self.stop_tasks.subscribe());
                self.tasks.push(tokio::spawn(running));
            }
            Sockets::Datagram(listeners) => {
                if bound.address.is_unix() {
                    report_queue(&bound.address);
                }
                let sockets = listeners.len();
                for (at, listener) in listeners.into_iter().enumerate() {
                    let part = if sockets > 1 { format!("#{at}") } else { String::new() };
                    let address = format!("{}{part}", bound.address);
                    let books = self.around.telemetry.socket(address, false);
                    let inherited = listener.is_inherited();
                    let watched =
                        Watched::new(listener.socket(), books.clone(), inherited, &self.around.told);
                    watched.look(self.around.clock.now_ms());
                    self.watched.push(Arc::new(watched));
                    if !bound.address.is_unix() {
                        report_buffer(bound.asked_buffer, &books);
                    }
                    let (filler, stop) =
                        (filler(table(transport, bound.tag_styles), books), self.stop_threads.clone());
                    let thread = std::thread::Builder::new().name(format!("receive-{at}"));
                    self.threads.push(thread.spawn(move || filler.run(listener, &stop))?);
                }
            }
        }
        Ok(())
    }

    /// The sockets that take packets.
    pub fn watched(&self) -> &[Arc<Watched>] {
        &self.watched
    }

    /// Stops all of them: what was received is in the tables afterwards, and
    /// what the kernel dropped up to the end is in the last window's books.
    pub async fn stop(self) {
        self.stop_threads.store(true, Ordering::Release);
        self.stop_tasks.send_replace(true);
        // All are waited for, whatever becomes of one.
        let mut all_well = true;
        for task in self.tasks {
            all_well &= task.await.is_ok();
        }
        let (threads, watched, around) = (self.threads, self.watched, self.around);
        let joined = tokio::task::spawn_blocking(move || {
            let joined = threads.into_iter().map(|thread| thread.join().is_ok());
            let all_well = joined.fold(true, |all, one| all & one);
            super::kernel_drops::look(&watched, &around.told, around.clock.now_ms());
            all_well
        });
        if !joined.await.unwrap_or(false) || !all_well {
            tracing::error!("a receiver ended by a panic");
        }
    }
}

/// Fills a table from a socket and keeps the ledger.
struct Filler {
    table: Arc<Mutex<Table>>,
    books: Arc<Books>,
    transport: Transport,
    dialect: Dialect,
    clock: Arc<dyn Clock>,
    rejects: Arc<RejectLog>,
    telemetry: Arc<Telemetry>,
}

impl Filler {
    fn run(&self, listener: DatagramListener, stop: &AtomicBool) {
        let take = |batch: &socket::Batch| {
            let now_ms = self.clock.now_ms();
            let mut table = self.lock();
            let (mut packets, mut bytes) = (0, 0);
            for packet in batch.packets() {
                packets += 1;
                bytes += packet.len() as u64;
            }
            batch.pieces(|piece| self.take(&mut table, now_ms, piece));
            self.books.packets.add(packets);
            self.books.bytes.add(bytes);
            self.books.truncated.add(batch.truncated() as u64);
            self.books.packets_refused.add(batch.refused() as u64);
        };
        let failed =
            |error: io::Error| tracing::error!(%error, listener = self.books.address, "cannot receive");
        listener.run(stop, take, failed);
    }

    fn take(&self, table: &mut Table, now_ms: i64, piece: Piece<'_>) {
        let refused = |line: &[u8], refusal| self.rejects.note(now_ms, &self.books.address, line, refusal);
        match piece {
            Piece::Packet(packet) => table.packet(now_ms, packet, self.dialect, refused),
            Piece::TooLong(line) => {
                self.telemetry.received(self.transport, 1);
                self.telemetry.rejected(Reject::LineTooLong);
                refused(line, Refusal::Rejected(Reject::LineTooLong));
            }
        }
    }

    /// Free but for the moment of a flush, and for other connections' chunks.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn transport(address: &Address) -> Transport {
    match address {
        Address::Udp(_) => Transport::Udp,
        Address::Tcp(_) => Transport::Tcp,
        Address::UnixDatagram(_) => Transport::UnixDatagram,
        Address::UnixStream(_) => Transport::UnixStream,
    }
}

fn report_buffer(asked: usize, books: &Books) {
    // The kernel doubles what is asked, for its own bookkeeping.
    let got = books.receive_buffer_bytes.value() / 2;
    if got < asked as i64 {
        tracing::warn!(
            listener = books.address,
            asked,
            got,
            "the receive buffer is smaller than asked; packets may be lost in bursts. \
             To allow it: sysctl -w net.core.rmem_max={asked}"
        );
    }
}

fn report_queue(address: &Address) {
    let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen");
    let Some(queue) = queue.ok().and_then(|text| text.trim().parse::<u32>().ok()) else { return };
    if queue < UNIX_QUEUE_MIN {
        tracing::warn!(
            listener = %address,
            queue,
            "a Unix socket's queue is short here; clients that do not wait lose packets in bursts. \
             To lengthen it: sysctl -w net.unix.max_dgram_qlen=512, then restart"
        );
    }
}
