//! Sockets that whoever started the process opened for it, as systemd does
//! with a socket unit (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`): they
//! outlive the process, so that the kernel keeps what arrives while it restarts.
//!
//! They are found by their address; their names are for messages. What is read
//! from one is gone from it, so that whoever reads must take it all; what is left
//! unread is the next one's.

use super::address::Address;
use super::socket;
use socket2::{SockAddr, Socket, Type};
use std::io;
use std::os::fd::RawFd;

/// Number of the first socket, by systemd's convention.
const FIRST: RawFd = 3;
/// More than anybody opens; a number beyond it is a mistake.
const SOCKETS_MAX: u32 = 1024;

/// Sockets not yet taken, with their names where they have some.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Socket, String)>);

impl Inherited {
    /// Sockets that the environment announces for the process `pid`; once, before
    /// anything else is opened.
    ///
    /// # Errors
    /// When a socket that was announced is not open.
    pub fn from_env(env: impl Fn(&str) -> Option<String>, pid: u32) -> io::Result<Inherited> {
        let number = |name| env(name)?.trim().parse::<u32>().ok();
        if number("LISTEN_PID") != Some(pid) {
            return Ok(Inherited::default());
        }
        let announced = number("LISTEN_FDS").unwrap_or(0).min(SOCKETS_MAX);
        let names = env("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        Ok(Inherited(socket::take_over(FIRST, announced)?.into_iter().zip(names).collect()))
    }

    /// The sockets with this address, removed from the rest.
    pub fn take(&mut self, address: &Address) -> Vec<Socket> {
        let matches =
            |(socket, _): &mut (Socket, String)| address_of(socket).is_some_and(|bound| bound == *address);
        self.0.extract_if(.., matches).map(|(socket, _)| socket).collect()
    }

    /// Addresses and names of those that nobody took.
    pub fn left(&self) -> Vec<String> {
        let shown = |(socket, name): &(Socket, String)| {
            let address = address_of(socket).map_or("a socket of another kind".into(), |a| a.to_string());
            if name.is_empty() { address } else { format!("{address} ({name})") }
        };
        self.0.iter().map(shown).collect()
    }
}

impl From<Vec<Socket>> for Inherited {
    fn from(sockets: Vec<Socket>) -> Self {
        Inherited(sockets.into_iter().map(|socket| (socket, String::new())).collect())
    }
}

/// The address of a socket that we could take packets from.
fn address_of(socket: &Socket) -> Option<Address> {
    let address: SockAddr = socket.local_addr().ok()?;
    let (kind, listens) = (socket.r#type().ok()?, socket.is_listener().unwrap_or(false));
    let path = || address.as_pathname().map(ToOwned::to_owned);
    match (kind, listens) {
        (Type::DGRAM, _) => {
            address.as_socket().map(Address::Udp).or_else(|| path().map(Address::UnixDatagram))
        }
        (Type::STREAM, true) => {
            address.as_socket().map(Address::Tcp).or_else(|| path().map(Address::UnixStream))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    #[test]
    fn sockets_are_found_by_their_address() {
        let dir = tempfile::tempdir().unwrap();
        let (gram, stream) = (dir.path().join("g"), dir.path().join("s"));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let sockets: Vec<Socket> = vec![
            udp.into(),
            tcp.into(),
            UnixDatagram::bind(&gram).unwrap().into(),
            UnixListener::bind(&stream).unwrap().into(),
            UnixDatagram::unbound().unwrap().into(),
        ];
        let mut inherited = Inherited::from(sockets);
        assert_eq!(inherited.take(&Address::UnixDatagram(stream.clone())).len(), 0);
        for address in [
            Address::Udp(udp_address),
            Address::Tcp(tcp_address),
            Address::UnixDatagram(gram),
            Address::UnixStream(stream),
        ] {
            assert_eq!(inherited.take(&address).len(), 1, "{address}");
            assert_eq!(inherited.take(&address).len(), 0, "{address}");
        }
        assert_eq!(inherited.left(), ["a socket of another kind"]);
    }

    #[test]
    fn sockets_of_another_process_are_left_alone() {
        let env = |name: &str| Some(if name == "LISTEN_FDS" { "3".into() } else { "77".to_owned() });
        assert!(Inherited::from_env(env, 78).unwrap().0.is_empty());
        assert!(Inherited::from_env(|_| None, 78).unwrap().0.is_empty());
    }
}
