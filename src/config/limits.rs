//! `[limits]` and `[admin]`: how much is taken in, and the classic management
//! port.

use super::config::{number, socket_address};
use super::error::Problem;
use super::file;
use crate::aggregate::Prefix;
use std::net::SocketAddr;
use toml::Spanned;

const PREFIXES_MAX: usize = 1000;

/// The classic management port.
#[derive(Clone, Debug)]
pub struct Admin {
    pub address: SocketAddr,
    /// Connections at a time.
    pub connections_max: u32,
}

/// Limits of prefixes.
pub fn prefixes(written: &[file::LimitPrefix], problems: &mut Vec<Problem>) -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> = Vec::new();
    for (at, limit) in written.iter().enumerate() {
        let key = |name: &str| format!("limits.prefix[{at}].{name}");
        let prefix = limit.prefix.as_ref();
        if prefix.is_empty() || prefixes.iter().any(|known| known.prefix == *prefix) {
            let message = "must be unique and not empty; for all names there is limits.series";
            problems.push(Problem::new(limit.prefix.span(), key("prefix"), message));
        }
        if prefix.starts_with(crate::model::label::OWN_PREFIX) {
            let message = "names that begin so are the daemon's own and have no limit";
            problems.push(Problem::new(limit.prefix.span(), key("prefix"), message));
        }
        let series = Some(limit.series.clone());
        let series_max = number(&series, &key("series"), 1, 1..=u64::from(u32::MAX), problems) as usize;
        prefixes.push(Prefix { prefix: prefix.clone(), series_max });
    }
    if let Some(beyond) = written.get(PREFIXES_MAX) {
        let message = format!("there can be at most {PREFIXES_MAX} of them");
        problems.push(Problem::new(beyond.prefix.span(), "limits.prefix", message));
    }
    prefixes
}

/// The management port, when one is asked for.
pub fn admin(written: &file::Admin, problems: &mut Vec<Problem>) -> Option<Admin> {
    let connections_max = number(&written.connections, "admin.connections", 16, 1..=1024, problems) as u32;
    let open = match &written.auth {
        None => false,
        Some(word) if word.as_ref() == "none" => true,
        Some(word) => {
            let message = "the only value is \"none\": whoever reaches the address may end series";
            problems.push(Problem::new(word.span(), "admin.auth", message));
            true
        }
    };
    let text = written.address.as_ref()?;
    let address = socket_address(text.as_ref(), text, "admin.address", problems)?;
    if !address.ip().is_loopback() && !open {
        let message = "this address is reached from other machines and the port knows no passwords: \
                       use a loopback address, or say auth = \"none\" if everyone may end series";
        problems.push(Problem::new(written.address.as_ref().map(Spanned::span), "admin.address", message));
    }
    Some(Admin { address, connections_max })
}
