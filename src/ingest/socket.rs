//! A UDP socket read many packets at a time: `recvmmsg(2)` and the kernel's own
//! count of what it dropped. The only file with system calls, and `unsafe`.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Packets taken in one call.
pub const BATCH: usize = 64;
/// Room for one packet: more than the largest UDP payload (65,507 bytes).
const SLOT_BYTES: usize = 65_536;
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
    if force_receive_buffer(&socket, receive_buffer).is_err() {
        // Without the right to exceed net.core.rmem_max the kernel clamps it.
        socket.set_recv_buffer_size(receive_buffer)?;
    }
    socket.set_read_timeout(Some(wait))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Packets dropped so far because the receive buffer was full, and the size of
/// that buffer in bytes (as the kernel counts it: twice what was asked for).
pub fn memory_info(socket: &UdpSocket) -> io::Result<(u32, u32)> {
    let mut info = [0u32; MEMINFO_LEN];
    let mut len = mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is valid for writes of `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
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
    received: usize,
    truncated: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { slots: vec![0; BATCH * SLOT_BYTES].into(), lengths: [0; BATCH], received: 0, truncated: 0 }
    }
}

impl Batch {
    /// Receives up to [`BATCH`] packets: waits for the first one (up to the
    /// socket's time-out; not at all without `wait`), then takes what is there.
    /// Returns how many; 0 after a time-out.
    pub fn receive(&mut self, socket: &UdpSocket, wait: bool) -> io::Result<usize> {
        (self.received, self.truncated) = (0, 0);
        let mut iovecs: [libc::iovec; BATCH] = std::array::from_fn(|slot| libc::iovec {
            iov_base: self.slots[slot * SLOT_BYTES..].as_mut_ptr().cast(),
            iov_len: SLOT_BYTES,
        });
        // Made anew for each call, so that no length is left over from the last.
        // SAFETY: all-zero is a valid `mmsghdr` (null pointers, zero lengths).
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (header, iovec) in headers.iter_mut().zip(&mut iovecs) {
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: the headers point to `iovecs`, those to distinct parts of
        // `slots`, each SLOT_BYTES long; all of them outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
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
            self.lengths[slot] = (header.msg_len as usize).min(SLOT_BYTES);
            self.truncated += usize::from(header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0);
        }
        Ok(self.received)
    }

    /// The packets of the last call.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.received).map(|slot| &self.slots[slot * SLOT_BYTES..][..self.lengths[slot]])
    }

    /// How many of them were cut off.
    pub fn truncated(&self) -> usize {
        self.truncated
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
}
