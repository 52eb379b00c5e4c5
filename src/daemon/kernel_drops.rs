//! What the kernel dropped for want of room in a socket's receive buffer: the
//! books of it, what of it is recent, and what was told of it already.
//!
//! An inherited socket outlives the daemon, and its count with it: a file in
//! the data directory holds how much of the count is told, so that nothing is
//! told twice and drops during a restart are told after it.

use crate::clock::Clock;
use crate::ingest::socket;
use crate::telemetry::Socket as Books;
use socket2::Socket;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How often the kernel is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// What counts as recent, and the grain of it.
const RECENT_MS: i64 = 3_600_000;
const GRAIN_MS: i64 = 60_000;

/// A socket that is read, its books, and its count as of the last look.
#[derive(Debug)]
pub struct Watched {
    socket: Arc<Socket>,
    pub books: Arc<Books>,
    inherited: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seen: u32,
    /// There were drops since it was last remembered what is told.
    is_unwritten: bool,
    /// When and how many, by the minute.
    recent: VecDeque<(i64, u64)>,
}

impl Watched {
    /// `told` is what is known of the counts of inherited sockets.
    pub fn new(socket: Arc<Socket>, books: Arc<Books>, inherited: bool, told: &Told) -> Watched {
        let count = socket::memory_info(&*socket).map_or(0, |(drops, _)| drops);
        let seen = if inherited { told.seen(&socket).filter(|seen| *seen <= count).unwrap_or(0) } else { 0 };
        let state = Mutex::new(State { seen, is_unwritten: false, recent: VecDeque::new() });
        Watched { socket, books, inherited, state }
    }

    /// Brings the kernel's figures into the books.
    pub fn look(&self, now_ms: i64) {
        let Ok((drops, buffer)) = socket::memory_info(&*self.socket) else { return };
        self.books.receive_buffer_bytes.set(i64::from(buffer));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The kernel's count may begin anew after four thousand million.
        let new = u64::from(drops.wrapping_sub(state.seen));
        state.seen = drops;
        state.note(now_ms, new);
        state.is_unwritten |= new > 0;
        self.books.kernel_dropped.add(new);
    }

    /// Whether drops of an inherited socket were told that are not remembered;
    /// asked again, no.
    fn take_unwritten(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.is_unwritten) && self.inherited
    }

    /// Packets dropped within the last hour.
    pub fn recent(&self, now_ms: i64) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.note(now_ms, 0);
        state.recent.iter().map(|(_, dropped)| dropped).sum()
    }
}

impl State {
    fn note(&mut self, now_ms: i64, dropped: u64) {
        let minute = now_ms - now_ms.rem_euclid(GRAIN_MS);
        // Also what is in the future of a clock that was set back.
        self.recent.retain(|(at_ms, _)| (0..RECENT_MS).contains(&(minute - at_ms)));
        match self.recent.back_mut() {
            _ if dropped == 0 => {}
            Some((at_ms, sum)) if *at_ms == minute => *sum += dropped,
            _ => self.recent.push_back((minute, dropped)),
        }
    }
}

/// How much of an inherited socket's count was told, by the kernel's number of
/// the socket in this run of the machine.
#[derive(Debug)]
pub struct Told {
    path: PathBuf,
    boot: String,
    seen: HashMap<u64, u32>,
}

impl Told {
    /// Reads what an earlier daemon told; of what cannot be read nothing was.
    pub fn read(data_dir: &Path) -> Told {
        let path = data_dir.join("kernel-drops");
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        let is_ours = lines.next() == Some(boot.as_str());
        let seen = lines.take_while(|_| is_ours).filter_map(|line| {
            let (cookie, seen) = line.split_once(' ')?;
            Some((cookie.parse().ok()?, seen.parse().ok()?))
        });
        Told { seen: seen.collect(), path, boot }
    }

    fn seen(&self, socket: &Socket) -> Option<u32> {
        self.seen.get(&socket::cookie(socket).ok()?).copied()
    }

    /// Writes what has been told of the inherited ones among `watched`.
    pub fn write(&self, watched: &[Arc<Watched>]) -> io::Result<()> {
        let mut text = format!("{}\n", self.boot);
        for watched in watched.iter().filter(|watched| watched.inherited) {
            let seen = watched.state.lock().unwrap_or_else(PoisonError::into_inner).seen;
            text += &format!("{} {seen}\n", socket::cookie(&*watched.socket)?);
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &self.path)
    }
}

/// Looks at all of them, again and again, until the other end of `stop` is
/// dropped. A thread of its own: a store that builds blocks does not make it late.
pub fn watch(watched: &[Arc<Watched>], told: &Told, clock: &dyn Clock, stop: &mpsc::Receiver<()>) {
    loop {
        look(watched, told, clock.now_ms());
        match stop.recv_timeout(INTERVAL) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Looks at all of them, and remembers what was told.
pub fn look(watched: &[Arc<Watched>], told: &Told, now_ms: i64) {
    let mut unwritten = false;
    for watched in watched {
        watched.look(now_ms);
        unwritten |= watched.take_unwritten();
    }
    if unwritten && let Err(error) = told.write(watched) {
        tracing::warn!(%error, "cannot remember what the kernel dropped; a restart may tell it twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn overflow(receiver: &UdpSocket) -> u32 {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..500 {
            sender.send_to(&[0; 1000], receiver.local_addr().unwrap()).unwrap();
        }
        socket::memory_info(receiver).unwrap().0
    }

    #[test]
    fn drops_of_an_inherited_socket_are_told_once_whoever_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket: Socket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        socket.set_recv_buffer_size(2048).unwrap();
        let receiver: UdpSocket = socket.into();
        let mut told_before = 0;
        for restart in 0..3 {
            // While nobody looks.
            let dropped = overflow(&receiver);
            let told = Told::read(dir.path());
            let (socket, books) = (Arc::new(receiver.try_clone().unwrap().into()), Arc::default());
            let watched = [Arc::new(Watched::new(socket, books, true, &told))];
            look(&watched, &told, 0);
            assert!(dropped > told_before);
            assert_eq!(
                watched[0].books.kernel_dropped.value(),
                u64::from(dropped - told_before),
                "{restart}"
            );
            told_before = dropped;
        }
    }

    #[test]
    fn drops_that_the_start_found_are_remembered_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket: Socket = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        socket.set_recv_buffer_size(2048).unwrap();
        let receiver: UdpSocket = socket.into();
        let dropped = overflow(&receiver);
        for expected in [dropped, 0] {
            let told = Told::read(dir.path());
            let (socket, books) = (Arc::new(receiver.try_clone().unwrap().into()), Arc::default());
            let watched = [Arc::new(Watched::new(socket, books, true, &told))];
            // As the start does, before there is a keeper.
            watched[0].look(0);
            look(&watched, &told, 0);
            assert_eq!(watched[0].books.kernel_dropped.value(), u64::from(expected));
        }
    }

    #[test]
    fn what_is_an_hour_old_is_not_recent() {
        let mut state = State { seen: 0, is_unwritten: false, recent: VecDeque::new() };
        let sum = |state: &State| state.recent.iter().map(|(_, dropped)| dropped).sum::<u64>();
        for second in 0..7200 {
            state.note(second * 1000, 1);
            assert!(state.recent.len() <= 60);
        }
        assert!((3541..=3600).contains(&sum(&state)), "{}", sum(&state));
        state.note(3 * RECENT_MS, 0);
        assert_eq!(sum(&state), 0);
    }
}
