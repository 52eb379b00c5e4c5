//! The loops that take connections and read them, a task each.
//!
//! All connections of a listener read into one buffer in turn, so that an idle
//! one costs no more than its unfinished line. They are bounded in number and
//! in idle time; what is refused or closed is counted in the listener's books.

use crate::ingest::framing::{Deframer, Piece};
use crate::ingest::options::Options;
use crate::ingest::socket_file::SocketFile;
use crate::ingest::{Address, Inherited};
use crate::telemetry::Socket as Books;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// A peer that is gone without a word is noticed after some minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// After the order to stop a connection is read until nothing comes for so
/// long, and no longer than that.
const STOP_SILENCE: Duration = Duration::from_millis(100);
const STOP_MAX: Duration = Duration::from_secs(2);
/// After a failure to accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound socket that takes connections, none taken yet.
#[derive(Debug)]
pub struct StreamListener {
    acceptor: Acceptor,
    address: Address,
    options: Options,
    /// Others have the socket too, and go on with it after us.
    inherited: bool,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What the connections of a listener share.
struct Shared<T> {
    options: Options,
    books: Arc<Books>,
    chunk: Mutex<Box<[u8]>>,
    take: T,
}

/// What a read found.
enum Read {
    Bytes,
    Nothing,
    End,
    PacketTooLong(u32),
}

impl StreamListener {
    /// Takes over the socket of a listener that is there already, or binds it.
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address is taken, cannot be had, or is for packets.
    pub fn bind(options: &Options, inherited: &mut Inherited) -> io::Result<StreamListener> {
        let mut taken = inherited.take(&options.address);
        let is_inherited = !taken.is_empty();
        let (socket, file) = match (taken.pop(), &options.address) {
            (Some(socket), _) => (socket, None),
            (None, Address::Tcp(address)) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                // Connections of a daemon that has just ended do not hold the port.
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                (socket, None)
            }
            (None, Address::UnixStream(path)) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                let file = SocketFile::bind(&socket, path, options.mode)?;
                socket.listen(BACKLOG)?;
                (socket, Some(file))
            }
            (None, Address::Udp(_) | Address::UnixDatagram(_)) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        socket.set_nonblocking(true)?;
        let (acceptor, address) = match &options.address {
            Address::Tcp(_) => {
                let listener = TcpListener::from_std(socket.into())?;
                let address = Address::Tcp(listener.local_addr()?);
                (Acceptor::Tcp(listener), address)
            }
            _ => (Acceptor::Unix(UnixListener::from_std(socket.into())?), options.address.clone()),
        };
        Ok(StreamListener { acceptor, address, options: options.clone(), inherited: is_inherited, file })
    }

    /// As bound.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes connections until `stop` turns true; `take` gets what comes in. When
    /// this returns no connection is left, and all that had arrived was read.
    /// Connections that an inherited socket holds are left to the next reader.
    pub async fn run<T>(mut self, books: Arc<Books>, take: T, mut stop: watch::Receiver<bool>)
    where
        T: Fn(Piece<'_>) + Send + Sync + 'static,
    {
        let chunk = Mutex::new(vec![0; CHUNK_BYTES].into());
        let shared = Arc::new(Shared { options: self.options, books, chunk, take });
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.acceptor.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = connections.join_next() => {
                    note_end(ended, &shared.books, connections.len());
                    continue;
                }
            };
            match accepted {
                Ok((stream, source)) => shared.admit(stream, source, &mut connections, &stop),
                Err(error) => {
                    tracing::warn!(%error, listener = shared.books.address, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        drop(self.file.take());
        if !self.inherited {
            // Who connected before the stop has been told that it was heard; those
            // who go on connecting must not hold us.
            for _ in 0..BACKLOG {
                let accepted = tokio::time::timeout(PAUSE / 10, self.acceptor.accept()).await;
                let Ok(Ok((stream, source))) = accepted else { break };
                shared.admit(stream, source, &mut connections, &stop);
            }
        }
        drop(self.acceptor);
        while let Some(ended) = connections.join_next().await {
            note_end(ended, &shared.books, connections.len());
        }
    }
}

fn note_end(ended: Result<(), tokio::task::JoinError>, books: &Books, open: usize) {
    if ended.is_err() {
        tracing::error!(listener = books.address, "a connection's task ended by a panic");
    }
    books.connections.set(open as i64);
}

impl<T: Fn(Piece<'_>) + Send + Sync + 'static> Shared<T> {
    /// Reads a connection in a task of its own, unless it may not be.
    fn admit(
        self: &Arc<Self>,
        stream: Stream,
        source: Option<IpAddr>,
        connections: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) {
        let allowed = match (&self.options.allow, source) {
            (Some(allow), Some(source)) => allow.contains(source),
            _ => true,
        };
        if !allowed {
            self.books.connections_refused_source.add(1);
        } else if connections.len() >= self.options.connections_max {
            self.books.connections_refused_limit.add(1);
        } else {
            self.books.connections_accepted.add(1);
            connections.spawn(connection(self.clone(), stream, stop.clone()));
            self.books.connections.set(connections.len() as i64);
        }
    }

    /// One read, without waiting, and what it completes.
    fn read(&self, stream: &Stream, deframer: &mut Deframer) -> Read {
        let mut chunk = self.chunk.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match stream.try_read(&mut chunk) {
            Ok(0) => return Read::End,
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Read::Nothing;
            }
            // The peer has broken it off.
            Err(_) => return Read::End,
        };
        self.books.bytes.add(bytes.len() as u64);
        match deframer.feed(bytes, |piece| (self.take)(piece)) {
            Ok(()) => Read::Bytes,
            Err(too_long) => Read::PacketTooLong(too_long.0),
        }
    }

    /// Closes a connection whose bytes make no sense any more.
    fn give_up(&self, length: u32) {
        self.books.connections_closed_packet.add(1);
        tracing::warn!(
            listener = self.books.address,
            length,
            "a packet longer than packet_bytes was announced; the connection is closed. \
             Does the client write lengths before its packets (framing = \"datadog\")?"
        );
    }
}

async fn connection<T>(shared: Arc<Shared<T>>, stream: Stream, mut stop: watch::Receiver<bool>)
where
    T: Fn(Piece<'_>) + Send + Sync + 'static,
{
    let mut deframer = Deframer::new(shared.options.framing, shared.options.bounds);
    stream.keep_alive();
    loop {
        match next(&stream, shared.options.idle, &mut stop).await {
            Next::Readable => {}
            Next::Broken => break,
            Next::Idle => {
                shared.books.connections_closed_idle.add(1);
                break;
            }
            Next::Stop => {
                if let Err(length) = drain(&shared, &stream, &mut deframer).await {
                    return shared.give_up(length);
                }
                break;
            }
        }
        match shared.read(&stream, &mut deframer) {
            Read::Bytes | Read::Nothing => {}
            Read::End => break,
            Read::PacketTooLong(length) => return shared.give_up(length),
        }
        // One that always has something must not keep the others waiting.
        tokio::task::yield_now().await;
    }
    deframer.end(|piece| (shared.take)(piece));
}

/// What a connection waits for.
enum Next {
    Readable,
    Broken,
    Idle,
    Stop,
}

async fn next(stream: &Stream, idle: Option<Duration>, stop: &mut watch::Receiver<bool>) -> Next {
    let silence = async {
        match idle {
            Some(idle) => tokio::time::sleep(idle).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Next::Stop,
        ready = stream.readable() => if ready.is_ok() { Next::Readable } else { Next::Broken },
        () = silence => Next::Idle,
    }
}

/// Reads what has arrived, after telling the peer that no more is taken.
async fn drain<T>(shared: &Shared<T>, stream: &Stream, deframer: &mut Deframer) -> Result<(), u32>
where
    T: Fn(Piece<'_>) + Send + Sync + 'static,
{
    stream.refuse_more();
    let until = tokio::time::Instant::now() + STOP_MAX;
    while tokio::time::Instant::now() < until {
        let Ok(Ok(())) = tokio::time::timeout(STOP_SILENCE, stream.readable()).await else { break };
        match shared.read(stream, deframer) {
            Read::Bytes | Read::Nothing => {}
            Read::End => break,
            Read::PacketTooLong(length) => return Err(length),
        }
    }
    Ok(())
}

impl Acceptor {
    async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Acceptor::Tcp(listener) => {
                listener.accept().await.map(|(stream, source)| (Stream::Tcp(stream), Some(source.ip())))
            }
            Acceptor::Unix(listener) => {
                listener.accept().await.map(|(stream, _)| (Stream::Unix(stream), None))
            }
        }
    }
}

impl Stream {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn keep_alive(&self) {
        if let Stream::Tcp(stream) = self {
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
            // Without it a dead peer is noticed by its silence.
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
    }

    /// A Unix socket refuses further writes and still gives what it holds. TCP
    /// can only say that nothing will be answered, which clients take for the end.
    fn refuse_more(&self) {
        // One that is closed already needs no word.
        let _ = match self {
            Stream::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Stream::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Read),
        };
    }
}
