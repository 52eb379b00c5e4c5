//! Start, events, ordered stop: what comes in ends first, the store last.

use super::admin_port::{self, AdminPort};
use super::alerting::{self, Alerting};
use super::evaluator::Evaluator;
use super::flusher::Flusher;
use super::intake::intake;
use super::keeper::Keeper;
use super::kernel_drops::{self, Told};
use super::marker_writer::{self, MarkerWriter};
use super::notices::notices;
use super::receive::{self, Around, Receivers};
use super::reject_log::RejectLog;
use super::secret_file;
use super::self_metrics::SelfMetrics;
use super::store_figures;
use super::store_opening::{open_store, refuse_second, resume};
use super::threads::Threads;
use crate::admin::AdminState;
use crate::aggregate::{Quotas, Registry, SampleTable, Table};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::api::health::{HealthState, ReloadRequest};
use crate::http::api::ingest::IngestState;
use crate::http::api::markers::MarkersState;
use crate::http::api::write::WriteState;
use crate::http::api::{ApiState, Settings};
use crate::http::auth::Auth;
use crate::http::cors::Cors;
use crate::http::guard::Guard;
use crate::http::makers::Makers;
use crate::http::page::{PageParts, PageState};
use crate::http::router::{self, Parts};
use crate::http::scrape::ScrapeState;
use crate::http::server;
use crate::ingest::{Address, Inherited};
use crate::lock::lock;
use crate::mapping::Mapper;
use crate::protocol::TagStyles;
use crate::query::{Engine, Source};
use crate::store;
use crate::telemetry::{Telemetry, Transport};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc as async_mpsc, watch};

/// A flush waits so long for the rules, and half a window at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// Without it nothing becomes durable.
const FLUSH_THREAD: &str = "flush";

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
    #[error("data_dir {} is a file: name a directory, it is made if there is none", .0.display())]
    DataDir(PathBuf),
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("{0}")]
    Loss(String),
    #[error("cannot keep a key in {}: {source}", path.display())]
    Key { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Alerting(#[from] alerting::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

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
    flushed: Arc<Mutex<Option<watch::Sender<i64>>>>,
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
        let now_ms = clock.now_ms();
        let telemetry = Arc::new(Telemetry::default());
        refuse_second(&config)?;
        // Ports first: a second daemon shall not touch the store. And HTTP's
        // before all, which is never shared: UDP sockets that share their port
        // would take packets away from the daemon that runs.
        let http_error = |source| Error::Bind { address: format!("http://{}", config.http.address), source };
        let http_listener = http_listener(config.http.address, &mut inherited).await.map_err(http_error)?;
        let http_address = http_listener.local_addr().map_err(http_error)?;
        let admin_port = match &config.admin {
            Some(admin) => Some(AdminPort::bind(admin).await.map_err(|source| Error::Bind {
                address: format!("tcp://{} (admin.address)", admin.address),
                source,
            })?),
            None => None,
        };
        let admin_address = admin_port.as_ref().map(|port| port.address);
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let address = listener.socket.address.to_string();
            let taken = receive::bind(listener, &mut inherited);
            bound.push(taken.map_err(|source| Error::Bind { address, source })?);
        }
        for address in inherited.left() {
            tracing::warn!(address, "a socket was handed to us that no [[listen]] names; nobody reads it");
        }
        let addresses: Vec<Address> = bound.iter().map(|bound| bound.address.clone()).collect();

        let catalogue = Arc::new(Catalogue::new(config.series_max));
        let (store, recovered) = open_store(&config, catalogue.clone(), now_ms)?;
        let registry = Arc::new(Registry::new(catalogue).with_quotas(Quotas::new(&config.prefixes)));
        let windows = Arc::new(Mutex::new(resume(&config, &telemetry, &registry, recovered, now_ms)));
        let alerting = Alerting::start(
            &config.data_dir,
            config.rules.clone(),
            config.receivers.clone(),
            config.http.public_url.clone(),
            clock.clone(),
            &telemetry,
        )?;
        let key_path = config.data_dir.join("bearer.key");
        let key_error = |source| Error::Key { path: key_path.clone(), source };
        let signing_key = secret_file::read_or_create(&key_path).map_err(key_error)?;
        let auth = Arc::new(ArcSwap::from_pointee(new_auth(&config, http_address, &signing_key)));

        let mapper = config.mapping.mapper.clone();
        let mut tables = Vec::new();
        let (events, waiting) = mpsc::sync_channel(marker_writer::WAITING_MAX);
        let mut new_table = |transport, tag_styles| {
            let mut table = Table::new(config.table, registry.clone(), telemetry.clone(), transport)
                .with_tag_styles(tag_styles)
                .with_window(config.windows.interval_ms, config.lateness_ms)
                .with_markers(events.clone());
            table.set_mapper((!mapper.is_empty()).then(|| mapper.clone()));
            let table = Arc::new(Mutex::new(table));
            tables.push(table.clone());
            table
        };
        let http_table = new_table(Transport::Http, TagStyles::NONE);
        let samples = Arc::new(Mutex::new(SampleTable::new(registry.clone())));
        let mut sources = vec![("http".to_owned(), http_table.clone())];
        let rejects = Arc::new(RejectLog::default());
        let told = Arc::new(Told::read(&config.data_dir));
        let mut receivers = Receivers::new(Around {
            telemetry: telemetry.clone(),
            clock: clock.clone(),
            rejects: rejects.clone(),
            told: told.clone(),
        });
        for bound in bound {
            let name = bound.address.to_string();
            receivers.start(bound, &mut |transport, tag_styles| {
                let table = new_table(transport, tag_styles);
                sources.push((name.clone(), table.clone()));
                table
            })?;
        }

        let source: Arc<dyn Source> = store.clone();
        let engine = Engine::new(source.clone(), config.query.options);
        let api = ApiState::new(engine.clone(), clock.clone(), config.query.bounds);
        let api = Arc::new(api.with_settings(Settings {
            interval_ms: config.windows.interval_ms,
            retention_ms: config.retention_ms,
            max_bytes: config.max_bytes,
            started_ms: clock.now_ms(),
        }));
        api.expose(&telemetry);
        // 0 until the first window is closed.
        let (flushed, follows) = watch::channel(0);
        let flushed = Arc::new(Mutex::new(Some(flushed)));
        let (health_follows, scrape_follows) = (follows.clone(), follows.clone());
        let flusher = Flusher {
            clock: clock.clone(),
            interval: Duration::from_millis(config.windows.interval_ms as u64),
            tables: tables.clone(),
            samples: samples.clone(),
            registry: registry.clone(),
            windows: windows.clone(),
            store: store.clone(),
            telemetry: telemetry.clone(),
            flushed: flushed.clone(),
            after: {
                let (alerting, engine, counts) = (alerting.clone(), engine.clone(), alerting.counters());
                let patience = PATIENCE.min(Duration::from_millis(config.windows.interval_ms as u64 / 2));
                let evaluator = Evaluator::start(patience, move |end_ms| alerting.evaluate(end_ms, &engine))?;
                Box::new(move |end_ms| {
                    if !evaluator.evaluate(end_ms) {
                        counts.note_missed();
                    }
                })
            },
            own: SelfMetrics::default(),
            waiting: VecDeque::new(),
        };
        let mut threads = Threads::default();
        threads.start(FLUSH_THREAD, move |stop| flusher.run(stop))?;

        let keeper = Keeper {
            clock: clock.clone(),
            store: store.clone(),
            windows: windows.clone(),
            registry: registry.clone(),
            telemetry: telemetry.clone(),
            retention_ms: config.retention_ms,
            block_span: Duration::from_millis(config.block_span_ms.unsigned_abs()),
        };
        store_figures::add(&telemetry, &keeper.store);
        threads.start("keeper", move |stop| keeper.run(stop))?;

        let (watched, watch_clock) = (receivers.watched().to_vec(), clock.clone());
        threads.start("kernel-drops", move |stop| {
            kernel_drops::watch(&watched, &told, &*watch_clock, stop);
        })?;

        let makers =
            Makers::new(windows.clone(), registry.clone(), telemetry.clone(), clock.clone(), sources);
        let makers = Arc::new(makers);
        let marker_writer = MarkerWriter {
            store: alerting.store(),
            clock: clock.clone(),
            waiting,
            retention_ms: config.retention_ms,
        };
        threads.start("markers", move |stop| marker_writer.run(stop))?;

        let parts = PageParts {
            engine: engine.clone(),
            clock: clock.clone(),
            calendar: config.http.calendar.clone(),
            window_ms: config.windows.interval_ms,
            alerts: {
                let alerting = alerting.clone();
                Arc::new(move || alerting.rows())
            },
            markers: {
                let store = alerting.store();
                Arc::new(move |start_ms, end_ms, limit| {
                    store.markers(start_ms, end_ms, limit).map_err(|error| error.to_string())
                })
            },
            intake: {
                let (telemetry, addresses, clock) = (telemetry.clone(), addresses.clone(), clock.clone());
                let watched = receivers.watched().to_vec();
                Arc::new(move || intake(&telemetry, &addresses, &watched, clock.now_ms()))
            },
            notices: {
                let (telemetry, clock) = (telemetry.clone(), clock.clone());
                Arc::new(move || notices(&telemetry, clock.now_ms()))
            },
            makers: Some(makers.clone()),
            flushed: follows,
        };
        let pages = Arc::new(PageState::new(parts, config.views.clone()));

        let (stop_http, http_stops) = watch::channel(false);
        let down = Arc::<std::sync::atomic::AtomicBool>::default();
        let admin = admin_port.map(|port| {
            let state = AdminState {
                windows: windows.clone(),
                registry: registry.clone(),
                telemetry: telemetry.clone(),
                started_ms: clock.now_ms(),
                clock: clock.clone(),
                down: down.clone(),
                config: admin_port::shown(&config),
                counts: Arc::default(),
            };
            port.serve(state, stop_http.subscribe())
        });
        let (ready, is_ready) = watch::channel(true);
        let write_rejects = rejects.clone();
        let (reload_sender, reload_requests) = async_mpsc::channel(1);
        let parts = Parts {
            guard: Guard {
                auth: auth.clone(),
                clock: clock.clone(),
                telemetry: telemetry.clone(),
                cors: Cors::new(config.http.cors_origin.as_deref()),
            },
            ingest: Arc::new(IngestState {
                table: http_table,
                limits: config.table,
                refused: Arc::new(move |now_ms, item, refusal| {
                    rejects.note(now_ms, "http", item.as_bytes(), refusal);
                }),
                telemetry: telemetry.clone(),
                auth: auth.clone(),
                clock: clock.clone(),
            }),
            write: Arc::new(WriteState {
                samples,
                limits: config.table,
                interval_ms: config.windows.interval_ms,
                store,
                refused: Arc::new(move |now_ms, series, refusal| {
                    write_rejects.note(now_ms, "remote write", series.as_bytes(), refusal);
                }),
                telemetry: telemetry.clone(),
                auth: auth.clone(),
                clock: clock.clone(),
                turns: WriteState::turns(),
            }),
            markers: Arc::new(MarkersState {
                store: alerting.store(),
                auth: auth.clone(),
                clock: clock.clone(),
                retention_ms: config.retention_ms,
            }),
            scrape: Arc::new(ScrapeState::new(windows, registry, source, telemetry.clone(), scrape_follows)),
            api,
            makers,
            alerts: alerting.state.clone(),
            pages: pages.clone(),
            health: Arc::new(HealthState {
                ready: is_ready,
                flushed: health_follows,
                reload: reload_sender,
                down,
                telemetry: telemetry.clone(),
                clock: clock.clone(),
            }),
        };
        let options =
            server::Options { connections_max: config.http.connections_max, ..server::Options::default() };
        let serving = server::serve(http_listener, router::router(parts), options, http_stops);
        let http = tokio::spawn(serving);
        Ok(Daemon {
            http_address,
            admin_address,
            addresses,
            telemetry: telemetry.clone(),
            ready,
            receivers,
            stop_http,
            http,
            admin,
            reload_requests,
            reloadable: Reloadable {
                reload,
                http_address,
                auth,
                signing_key,
                alerting: alerting.clone(),
                pages,
                telemetry,
                tables,
                mapper,
            },
            alerting,
            flushed,
            threads,
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

/// `bound` is where HTTP is answered in fact: a config read anew may name
/// another address, which only the next start brings.
fn new_auth(config: &Config, bound: SocketAddr, signing_key: &[u8]) -> Auth {
    let open = config.http.open && config.http.tokens.is_empty();
    let closed = !bound.ip().is_loopback() && !open;
    Auth::new(config.http.tokens.clone(), closed, signing_key)
}
