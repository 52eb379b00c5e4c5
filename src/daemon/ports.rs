//! Every port of the daemon, bound before anything else and served last.

use super::admin_port::AdminPort;
use super::error::Error;
use super::receive::{self, Bound};
use crate::config::Config;
use crate::ingest::{Address, Inherited};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Bound, and not yet read.
pub(super) struct Ports {
    pub http: TcpListener,
    pub http_address: SocketAddr,
    pub admin: Option<AdminPort>,
    /// In the order of the config.
    pub listeners: Vec<Bound>,
}

impl Ports {
    /// HTTP's comes before all, which is never shared: UDP sockets that share
    /// their port would take packets away from a daemon that runs.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`], with the address.
    pub async fn bind(config: &Config, inherited: &mut Inherited) -> Result<Ports, Error> {
        let http_error = |source| Error::Bind { address: format!("http://{}", config.http.address), source };
        let http = http_listener(config.http.address, inherited).await.map_err(http_error)?;
        let http_address = http.local_addr().map_err(http_error)?;
        let admin = match &config.admin {
            Some(admin) => Some(AdminPort::bind(admin).await.map_err(|source| Error::Bind {
                address: format!("tcp://{} (admin.address)", admin.address),
                source,
            })?),
            None => None,
        };
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let address = listener.socket.address.to_string();
            let taken = receive::bind(listener, inherited);
            listeners.push(taken.map_err(|source| Error::Bind { address, source })?);
        }
        for address in inherited.left() {
            tracing::warn!(address, "a socket was handed to us that no [[listen]] names; nobody reads it");
        }
        Ok(Ports { http, http_address, admin, listeners })
    }

    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|port| port.address)
    }

    /// Where StatsD is taken.
    pub fn addresses(&self) -> Vec<Address> {
        self.listeners.iter().map(|bound| bound.address.clone()).collect()
    }
}

/// The socket for HTTP that is there already, or a new one.
async fn http_listener(address: SocketAddr, inherited: &mut Inherited) -> io::Result<TcpListener> {
    match inherited.take(&Address::Tcp(address)).pop() {
        Some(socket) => {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket.into())
        }
        None => TcpListener::bind(address).await,
    }
}
