//! Where a listener takes packets: a scheme and a socket address or a path.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// See the module's head. Shown as it is written in the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    /// A socket file that takes packets.
    UnixDatagram(PathBuf),
    /// A socket file that takes connections.
    UnixStream(PathBuf),
}

impl Address {
    /// Whether packets arrive whole, so that there are no connections.
    pub fn is_datagram(&self) -> bool {
        matches!(self, Address::Udp(_) | Address::UnixDatagram(_))
    }

    pub fn is_unix(&self) -> bool {
        matches!(self, Address::UnixDatagram(_) | Address::UnixStream(_))
    }

    pub fn scheme(&self) -> &'static str {
        match self {
            Address::Udp(_) => "udp",
            Address::Tcp(_) => "tcp",
            Address::UnixDatagram(_) => "unixgram",
            Address::UnixStream(_) => "unix",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Udp(address) | Address::Tcp(address) => write!(f, "{}://{address}", self.scheme()),
            Address::UnixDatagram(path) | Address::UnixStream(path) => {
                write!(f, "{}://{}", self.scheme(), path.display())
            }
        }
    }
}
