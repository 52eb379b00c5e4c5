//! The management port as part of the daemon: bound early, served late.

use crate::admin::{self, AdminState};
use crate::config::Config;
use crate::config::limits::Admin;
use crate::model::duration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The port, not yet served.
pub struct AdminPort {
    listener: TcpListener,
    pub address: SocketAddr,
    connections_max: u32,
}

impl AdminPort {
    pub async fn bind(config: &Admin) -> io::Result<Self> {
        let listener = TcpListener::bind(config.address).await?;
        let address = listener.local_addr()?;
        Ok(AdminPort { listener, address, connections_max: config.connections_max })
    }

    /// Serves until `stop` becomes true.
    pub fn serve(self, state: AdminState, stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let figures = state.counts.clone();
        state.telemetry.add_figures(move || figures.families());
        tokio::spawn(admin::serve(self.listener, Arc::new(state), self.connections_max, stop))
    }
}

/// What the config says, without tokens, receivers and rules.
pub fn shown(config: &Config) -> Vec<(String, String)> {
    let ms = |ms: i64| duration::format_ms(ms.unsigned_abs());
    let mut shown = vec![("data_dir".to_owned(), config.data_dir.display().to_string())];
    let mut put = |key: &str, value: String| shown.push((key.to_owned(), value));
    for listener in &config.listeners {
        put("listen > address", listener.socket.address.to_string());
    }
    put("http > address", config.http.address.to_string());
    put("window > interval", ms(config.windows.interval_ms));
    put("window > expire.counter", ms(config.windows.counter_expire_ms));
    put("window > expire.gauge", ms(config.windows.gauge_expire_ms));
    put("window > expire.timer", ms(config.windows.timer_expire_ms));
    put("window > expire.set", ms(config.windows.set_expire_ms));
    put("limits > series", config.series_max.to_string());
    for prefix in &config.prefixes {
        put("limits > prefix", format!("{} {}", prefix.prefix, prefix.series_max));
    }
    put("limits > line_bytes", config.table.line_bytes_max.to_string());
    put("limits > labels", config.table.labels_max.to_string());
    put("limits > label_bytes", config.table.label_bytes_max.to_string());
    put("tier > retention", ms(config.retention_ms));
    shown
}
