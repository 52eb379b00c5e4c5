//! What a service manager wants to hear: `sd_notify(3)`, a datagram to the
//! socket that `NOTIFY_SOCKET` names. Without one nothing is said.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Service {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Service {
    /// The service manager that the environment of the process `pid` names.
    pub fn from_env(env: impl Fn(&str) -> Option<String>, pid: u32) -> io::Result<Service> {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Service::default());
        };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(Path::new(name).as_os_str().as_bytes())?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not listen must not hold us.
        socket.set_nonblocking(true)?;
        let is_for_us = env("WATCHDOG_PID").is_none_or(|wanted| wanted.parse() == Ok(pid));
        let usec = env("WATCHDOG_USEC").filter(|_| is_for_us).and_then(|usec| usec.parse().ok());
        let watchdog = usec.filter(|usec| *usec > 0).map(Duration::from_micros);
        Ok(Service { socket: Some((socket, address)), watchdog })
    }

    /// How often [`Service::alive`] is to be said: twice in the time that the
    /// manager allows.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| (allowed / 2).max(Duration::from_millis(1)))
    }

    pub fn ready(&self) {
        self.say("READY=1");
    }

    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, state, "cannot tell the service manager");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let name = format!("statsdeck-test-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        for (manager, named) in [
            (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}")),
        ] {
            let env = |key: &str| match key {
                "NOTIFY_SOCKET" => Some(named.clone()),
                "WATCHDOG_USEC" => Some("3000000".into()),
                "WATCHDOG_PID" => Some("5".into()),
                _ => None,
            };
            let service = Service::from_env(env, 5).unwrap();
            assert_eq!(service.watchdog_interval(), Some(Duration::from_millis(1500)));
            assert_eq!(Service::from_env(env, 6).unwrap().watchdog_interval(), None);
            service.ready();
            service.alive();
            service.stopping();
            let mut heard = [0; 64];
            for expected in ["READY=1", "WATCHDOG=1", "STOPPING=1"] {
                let len = manager.recv(&mut heard).unwrap();
                assert_eq!(&heard[..len], expected.as_bytes());
            }
        }
        let nobody = Service::from_env(|_| None, 1).unwrap();
        assert_eq!(nobody.watchdog_interval(), None);
        nobody.ready();
    }
}
