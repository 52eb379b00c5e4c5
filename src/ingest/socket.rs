//! Sockets that take packets, read many at a time: `recvmmsg(2)` and the
//! kernel's own count of what it dropped. The only file with system calls, and
//! `unsafe`.

use super::allow::Allow;
use super::framing::{Piece, cut_packet};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Packets taken in one call.
pub const BATCH: usize = 64;
/// Room for one packet: more than the largest UDP payload (65,507 bytes).
pub const SLOT_BYTES: usize = 65_536;
/// From one packet's place to the next: not a power of two, as beginnings would
/// push each other out of the processor's caches.
const STRIDE_BYTES: usize = SLOT_BYTES + 1472;
/// Index of the drop counter in what `SO_MEMINFO` returns
/// (`linux/sock_diag.h`: `SK_MEMINFO_DROPS`), and of the receive buffer.
const MEMINFO_DROPS: usize = 8;
const MEMINFO_RCVBUF: usize = 1;
const MEMINFO_LEN: usize = 9;

/// Binds a UDP socket with a receive buffer of `receive_buffer` bytes if the
/// system allows it, and reads that wait at most `wait`. With `shared` others
/// that say so too may have the same port: each gets a part of the packets.
pub fn bind(
    address: SocketAddr,
    receive_buffer: usize,
    wait: Duration,
    shared: bool,
) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    ask_receive_buffer(&socket, receive_buffer)?;
    socket.set_read_timeout(Some(wait))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Sets the receive buffer; without the right to exceed `net.core.rmem_max` the
/// kernel clamps it.
pub fn ask_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    force_receive_buffer(socket, bytes).or_else(|_| socket.set_recv_buffer_size(bytes))
}

/// The same for a socket whose buffer somebody has set already, with more rights
/// than we may have: it is not made smaller.
pub fn grow_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    // The kernel tells twice of what was asked for.
    if socket.recv_buffer_size()? / 2 >= bytes || force_receive_buffer(socket, bytes).is_ok() {
        return Ok(());
    }
    let clamp = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
    let clamp = clamp.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
    if clamp.min(bytes) > socket.recv_buffer_size()? / 2 {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(())
}

/// Takes over `count` sockets that the process was started with, numbered from
/// `first` on, so that no program that it starts gets them too. They are handed
/// out once: a second call gets none.
///
/// To be called before anything else is opened.
///
/// # Errors
/// When one of them is not open.
pub fn take_over(first: RawFd, count: u32) -> io::Result<Vec<Socket>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if count == 0 || TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let take = |descriptor: RawFd| {
        // SAFETY: the call takes numbers alone; a descriptor that is not open is an error.
        let set = unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is open, and whoever started the process left it to us; it
        // was taken by nobody yet, as this is done once.
        Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into())
    };
    (first..).take(count as usize).map(take).collect()
}

/// The kernel's number for a socket, which no other ever gets, and which it
/// keeps when it is handed from process to process.
pub fn cookie(socket: &impl AsFd) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut len = mem::size_of_val(&cookie) as libc::socklen_t;
    // SAFETY: `cookie` is valid for writes of `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut cookie).cast(),
            &mut len,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Packets dropped so far because the receive buffer was full, and the size of
/// that buffer in bytes (as the kernel counts it: twice what was asked for).
pub fn memory_info(socket: &impl AsFd) -> io::Result<(u32, u32)> {
    let mut info = [0u32; MEMINFO_LEN];
    let mut len = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is valid for writes of `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result == 0 {
        Ok((info[MEMINFO_DROPS], info[MEMINFO_RCVBUF]))
    } else {
        Err(io::Error::last_os_error())
    }
}

fn force_receive_buffer(socket: &Socket, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the option takes one `c_int`, which `bytes` is.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            mem::size_of_val(&bytes) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Buffers for one call's packets, made once and reused. About 4 MiB, of which
/// only what packets fill is ever touched.
pub struct Batch {
    slots: Box<[u8]>,
    lengths: [usize; BATCH],
    cut: [bool; BATCH],
    refused: [bool; BATCH],
    received: usize,
    packet_bytes_max: usize,
    allow: Option<Allow>,
    /// Where the packets came from; empty unless it matters.
    sources: Box<[libc::sockaddr_storage]>,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new(SLOT_BYTES, None)
    }
}

impl Batch {
    /// Packets longer than `packet_bytes_max` ([`SLOT_BYTES`] at most) are cut
    /// off; with `allow` those from elsewhere are refused.
    pub fn new(packet_bytes_max: usize, allow: Option<Allow>) -> Self {
        // SAFETY: all-zero is a valid `sockaddr_storage`, of no family.
        let nowhere: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Batch {
            slots: vec![0; BATCH * STRIDE_BYTES].into(),
            lengths: [0; BATCH],
            cut: [false; BATCH],
            refused: [false; BATCH],
            received: 0,
            packet_bytes_max: packet_bytes_max.min(SLOT_BYTES),
            sources: if allow.is_some() { vec![nowhere; BATCH].into() } else { Box::default() },
            allow,
        }
    }

    /// Receives up to [`BATCH`] packets: waits for the first one (up to the
    /// socket's time-out; not at all without `wait`), then takes what is there.
    /// Returns how many, refused ones included; 0 after a time-out.
    pub fn receive(&mut self, socket: &impl AsFd, wait: bool) -> io::Result<usize> {
        self.received = 0;
        let mut iovecs: [libc::iovec; BATCH] = std::array::from_fn(|slot| libc::iovec {
            iov_base: self.slots[slot * STRIDE_BYTES..].as_mut_ptr().cast(),
            iov_len: self.packet_bytes_max,
        });
        // Made anew for each call, so that no length is left over from the last.
        // SAFETY: all-zero is a valid `mmsghdr` (null pointers, zero lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (header, iovec) in headers.iter_mut().zip(&mut iovecs) {
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
        }
        for (header, source) in headers.iter_mut().zip(&mut self.sources) {
            source.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
            header.msg_hdr.msg_name = (&raw mut *source).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: the headers point to `iovecs`, those to distinct parts of
        // `slots`, each no longer than SLOT_BYTES, and to one of `sources` each,
        // if to any; all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        self.received = count as usize;
        for (slot, header) in headers.iter().take(self.received).enumerate() {
            self.lengths[slot] = (header.msg_len as usize).min(self.packet_bytes_max);
            self.cut[slot] = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        if let Some(allow) = &self.allow {
            for (refused, source) in self.refused.iter_mut().zip(&self.sources).take(self.received) {
                *refused = !ip(source).is_some_and(|source| allow.contains(source));
            }
        }
        Ok(self.received)
    }

    /// The packets of the last call, without refused ones; cut ones as far as
    /// they go.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        self.taken().map(|slot| self.bytes(slot))
    }

    /// What they hold: whole lines, and of those cut off the line that was hit.
    pub fn pieces(&self, mut take: impl FnMut(Piece<'_>)) {
        for slot in self.taken() {
            if self.cut[slot] {
                cut_packet(self.bytes(slot), &mut take);
            } else {
                take(Piece::Packet(self.bytes(slot)));
            }
        }
    }

    /// How many of them were cut off.
    pub fn truncated(&self) -> usize {
        self.taken().filter(|slot| self.cut[*slot]).count()
    }

    /// How many came from where nobody may send from.
    pub fn refused(&self) -> usize {
        self.refused.iter().take(self.received).filter(|refused| **refused).count()
    }

    fn taken(&self) -> impl Iterator<Item = usize> {
        (0..self.received).filter(|slot| !self.refused[*slot])
    }

    fn bytes(&self, slot: usize) -> &[u8] {
        &self.slots[slot * STRIDE_BYTES..][..self.lengths[slot]]
    }
}

fn ip(source: &libc::sockaddr_storage) -> Option<IpAddr> {
    match i32::from(source.ss_family) {
        libc::AF_INET => {
            // SAFETY: of this family, and large enough for every family.
            let source = unsafe { &*(&raw const *source).cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from_bits(u32::from_be(source.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let source = unsafe { &*(&raw const *source).cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(source.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver =
            bind("127.0.0.1:0".parse().unwrap(), 1 << 20, Duration::from_millis(20), false).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (receiver, sender)
    }

    #[test]
    fn packets_arrive_whole_and_in_order_and_only_those_received_are_seen() {
        let (receiver, sender) = pair();
        let mut batch = Batch::default();
        for packet in [&[b'x'; 65_507][..], b"second", b""] {
            sender.send(packet).unwrap();
        }
        assert_eq!(batch.receive(&receiver, true).unwrap(), 3);
        let lengths: Vec<usize> = batch.packets().map(<[u8]>::len).collect();
        assert_eq!(lengths, [65_507, 6, 0]);
        sender.send(b"one").unwrap();
        assert_eq!(batch.receive(&receiver, true).unwrap(), 1);
        assert_eq!(batch.packets().collect::<Vec<_>>(), [b"one"]);
        assert_eq!(batch.receive(&receiver, true).unwrap(), 0);
        assert_eq!(batch.packets().count(), 0);
    }

    #[test]
    fn the_kernels_drops_are_known() {
        let receiver = bind("127.0.0.1:0".parse().unwrap(), 2048, Duration::from_millis(20), false).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..500 {
            sender.send_to(&[0; 1000], receiver.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::default();
        let mut received = 0;
        loop {
            match batch.receive(&receiver, false).unwrap() {
                0 => break,
                more => received += more,
            }
        }
        let (dropped, _) = memory_info(&receiver).unwrap();
        assert!(dropped > 0);
        assert_eq!(received + dropped as usize, 500);
    }

    #[test]
    fn a_packet_that_is_cut_off_loses_the_line_that_was_hit() {
        let (receiver, sender) = pair();
        let mut batch = Batch::new(10, None);
        for packet in ["a:1|c\nb:12", "a:1|c\nb:1234|c", "0123456789abc"] {
            sender.send(packet.as_bytes()).unwrap();
        }
        assert_eq!(batch.receive(&receiver, true).unwrap(), 3);
        let (mut whole, mut hit) = (Vec::new(), Vec::new());
        batch.pieces(|piece| match piece {
            Piece::Packet(packet) => whole.push(String::from_utf8_lossy(packet).into_owned()),
            Piece::TooLong(line) => hit.push(String::from_utf8_lossy(line).into_owned()),
        });
        assert_eq!(whole, ["a:1|c\nb:12", "a:1|c\n"]);
        assert_eq!(hit, ["b:12", "0123456789"]);
        assert_eq!(batch.truncated(), 2);
    }

    #[test]
    fn packets_from_elsewhere_are_refused() {
        for (address, network, taken) in
            [("127.0.0.1:0", "127.0.0.0/8", 1), ("127.0.0.1:0", "::/0", 0), ("[::]:0", "127.0.0.1", 1)]
        {
            let receiver = bind(address.parse().unwrap(), 1 << 20, Duration::from_millis(20), false).unwrap();
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(("127.0.0.1", receiver.local_addr().unwrap().port())).unwrap();
            sender.send(b"a:1|c").unwrap();
            let mut batch = Batch::new(SLOT_BYTES, Some(Allow(vec![network.parse().unwrap()])));
            assert_eq!(batch.receive(&receiver, true).unwrap(), 1);
            assert_eq!((batch.packets().count(), batch.refused()), (taken, 1 - taken), "{address} {network}");
        }
    }
}
