//! Start, events, ordered stop: what comes in ends first, the store last.

use super::alerting::{self, Alerting};
use super::core::{Core, Flushed, new_auth};
use super::error::Error;
use super::kernel_drops::{self, Told};
use super::marker_writer;
use super::ports::Ports;
use super::receive::{Around, Receivers};
use super::recovery;
use super::serving::Served;
use super::store_figures;
use super::threads::Threads;
use crate::aggregate::{SampleTable, Table};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::api::health::ReloadRequest;
use crate::http::auth::Auth;
use crate::http::page::PageState;
use crate::http::{router, server};
use crate::ingest::{Address, Inherited};
use crate::lock::lock;
use crate::mapping::Mapper;
use crate::protocol::TagStyles;
use crate::telemetry::{Telemetry, Transport};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use tokio::sync::{mpsc as async_mpsc, watch};

/// Without it nothing becomes durable.
const FLUSH_THREAD: &str = "flush";

/// Reads the config anew: what was written may have changed.
pub type Reload = Box<dyn Fn() -> Result<Config, crate::config::Error> + Send>;

/// A running daemon.
pub struct Daemon {
    http_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    addresses: Vec<Address>,
    telemetry: Arc<Telemetry>,
    ready: watch::Sender<bool>,
    receivers: Receivers,
    stop_http: watch::Sender<bool>,
    http: tokio::task::JoinHandle<()>,
    admin: Option<tokio::task::JoinHandle<()>>,
    reload_requests: async_mpsc::Receiver<ReloadRequest>,
    reloadable: Reloadable,
    alerting: Arc<Alerting>,
    flushed: Flushed,
    threads: Threads,
}

/// What a reload exchanges.
struct Reloadable {
    reload: Reload,
    http_address: SocketAddr,
    auth: Arc<ArcSwap<Auth>>,
    signing_key: Vec<u8>,
    alerting: Arc<Alerting>,
    pages: Arc<PageState>,
    telemetry: Arc<Telemetry>,
    tables: Vec<Arc<Mutex<Table>>>,
    mapper: Arc<Mapper>,
}

impl Daemon {
    /// Starts everything: when this returns, packets are taken and requests
    /// are answered. Call it within a tokio runtime.
    pub async fn start(config: Config, reload: Reload, clock: Arc<dyn Clock>) -> Result<Daemon, Error> {
        Daemon::start_on(Inherited::default(), config, reload, clock).await
    }

    /// The same, on sockets that are there already where their address is that
    /// of a listener or of HTTP. What they hold at the stop is left in them.
    pub async fn start_on(
        mut inherited: Inherited,
        config: Config,
        reload: Reload,
        clock: Arc<dyn Clock>,
    ) -> Result<Daemon, Error> {
        // Ports first: a second daemon shall not touch the store.
        let ports = Ports::bind(&config, &mut inherited).await;
        let ports = ports.map_err(|error| recovery::second_daemon(&config).unwrap_or(error))?;
        let (http_address, admin_address) = (ports.http_address, ports.admin_address());
        let addresses = ports.addresses();
        let core = Core::open(&config, clock, http_address)?;

        let mut tables = Vec::new();
        let (events, waiting) = mpsc::sync_channel(marker_writer::WAITING_MAX);
        let mut new_table = |transport, tag_styles| {
            let table = core.table(&config, transport, tag_styles, events.clone());
            tables.push(table.clone());
            table
        };
        let http_table = new_table(Transport::Http, TagStyles::NONE);
        let mut sources = vec![("http".to_owned(), http_table.clone())];
        let told = Arc::new(Told::read(&config.data_dir));
        let mut receivers = Receivers::new(Around {
            telemetry: core.telemetry.clone(),
            clock: core.clock.clone(),
            rejects: core.rejects.clone(),
            told: told.clone(),
        });
        for bound in ports.listeners {
            let name = bound.address.to_string();
            receivers.start(bound, &mut |transport, tag_styles| {
                let table = new_table(transport, tag_styles);
                sources.push((name.clone(), table.clone()));
                table
            })?;
        }

        let samples = Arc::new(Mutex::new(SampleTable::new(core.registry.clone())));
        let (flushed, follows) = watch::channel(0);
        let flushed: Flushed = Arc::new(Mutex::new(Some(flushed)));
        let mut threads = Threads::default();
        let flusher = core.flusher(&config, tables.clone(), samples.clone(), flushed.clone())?;
        threads.start(FLUSH_THREAD, move |stop| flusher.run(stop))?;
        let keeper = core.keeper(&config);
        store_figures::add(&core.telemetry, &core.store);
        threads.start("keeper", move |stop| keeper.run(stop))?;
        let (watched, watch_clock) = (receivers.watched().to_vec(), core.clock.clone());
        threads.start("kernel-drops", move |stop| {
            kernel_drops::watch(&watched, &told, &*watch_clock, stop);
        })?;
        let marker_writer = core.marker_writer(&config, waiting);
        threads.start("markers", move |stop| marker_writer.run(stop))?;

        let (stop_http, http_stops) = watch::channel(false);
        let down = Arc::<AtomicBool>::default();
        let admin = ports
            .admin
            .map(|port| port.serve(core.admin_state(&config, down.clone()), stop_http.subscribe()));
        let (ready, is_ready) = watch::channel(true);
        let (reload_sender, reload_requests) = async_mpsc::channel(1);
        let parts = core.http_parts(
            &config,
            Served {
                table: http_table,
                samples,
                sources,
                addresses: addresses.clone(),
                watched: receivers.watched().to_vec(),
                flushed: follows,
                ready: is_ready,
                reload: reload_sender,
                down,
            },
        );
        let pages = parts.pages.clone();
        let options =
            server::Options { connections_max: config.http.connections_max, ..server::Options::default() };
        let http = tokio::spawn(server::serve(ports.http, router::router(parts), options, http_stops));
        Ok(Daemon {
            http_address,
            admin_address,
            addresses,
            telemetry: core.telemetry.clone(),
            ready,
            receivers,
            stop_http,
            http,
            admin,
            reload_requests,
            alerting: core.alerting.clone(),
            flushed,
            threads,
            reloadable: Reloadable {
                reload,
                http_address,
                auth: core.auth,
                signing_key: core.signing_key,
                alerting: core.alerting,
                pages,
                telemetry: core.telemetry,
                tables,
                mapper: config.mapping.mapper,
            },
        })
    }

    /// Where HTTP is answered; of use when port 0 was asked for.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the management port is, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Where StatsD is taken, in the order of the config.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Whether windows are still flushed.
    pub fn is_healthy(&self) -> bool {
        self.threads.is_running(FLUSH_THREAD)
    }

    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Waits for the next request to reload that came by HTTP; whoever asked
    /// waits for the answer. Giving up waiting loses no request.
    pub async fn reload_request(&mut self) -> ReloadRequest {
        match self.reload_requests.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Reads the config anew and takes over what can change while running. A
    /// config that is wrong changes nothing.
    pub async fn reload(&mut self) -> Result<(), String> {
        self.reloadable.reload().await
    }

    /// Stops in order: HTTP, whose open requests may take a while, then the
    /// sockets, so that they are deaf for a moment only; what came in is
    /// flushed, the store is closed. Nothing that was received is lost.
    pub async fn stop(self) {
        self.ready.send_replace(false);
        self.stop_http.send_replace(true);
        // Streams to open pages end with it.
        drop(lock(&self.flushed).take());
        if let Err(error) = self.http.await {
            tracing::error!(%error, "the HTTP server ended badly");
        }
        if let Some(admin) = self.admin
            && let Err(error) = admin.await
        {
            tracing::error!(%error, "the management port ended badly");
        }
        self.receivers.stop().await;
        let threads = self.threads;
        if tokio::task::spawn_blocking(move || threads.stop()).await.is_err() {
            tracing::error!("the threads were not waited for");
        }
        // Last, so that what the last window brought is told.
        self.alerting.stop().await;
    }
}

impl Reloadable {
    async fn reload(&mut self) -> Result<(), String> {
        let reloaded = match (self.reload)() {
            Ok(config) => self.take(config).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match &reloaded {
            Ok(()) => {
                self.telemetry.config_reloads.add(1);
                tracing::info!("config reloaded: tokens, views, mappings, rules and receivers");
            }
            Err(error) => {
                self.telemetry.config_reload_failures.add(1);
                tracing::error!(error, "the new config is not taken; the old one goes on");
            }
        }
        reloaded
    }

    /// New mappings hold from the next window on.
    fn map(&mut self, mapper: Arc<Mapper>) {
        // To ask about every spelling anew has a price.
        if *mapper == *self.mapper {
            return;
        }
        for table in &self.tables {
            lock(table).set_mapper(Some(mapper.clone()));
        }
        self.mapper = mapper;
    }

    /// All or nothing: what can fail comes first.
    async fn take(&mut self, config: Config) -> Result<(), alerting::Error> {
        let auth = new_auth(&config, self.http_address, &self.signing_key);
        self.alerting.replace(config.rules, config.receivers).await?;
        self.auth.store(Arc::new(auth));
        self.pages.views.store(Arc::new(config.views));
        self.map(config.mapping.mapper);
        Ok(())
    }
}
