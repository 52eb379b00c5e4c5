//! Start, events, ordered stop: what comes in ends first, the store last.

use super::alerting::{self, Alerting};
use super::evaluator::Evaluator;
use super::flusher::Flusher;
use super::marker_writer::{self, MarkerWriter};
use super::receive::{self, Receiver, Watched};
use super::reject_log::RejectLog;
use super::secret_file;
use super::self_metrics::SelfMetrics;
use crate::aggregate::window::Known;
use crate::aggregate::{Registry, Table, Windows};
use crate::clock::Clock;
use crate::config::Config;
use crate::http::api::ApiState;
use crate::http::api::health::{HealthState, ReloadRequest};
use crate::http::api::ingest::IngestState;
use crate::http::api::markers::MarkersState;
use crate::http::auth::Auth;
use crate::http::guard::Guard;
use crate::http::page::{Intake, PageParts, PageState};
use crate::http::router::{self, Parts};
use crate::http::scrape::ScrapeState;
use crate::http::server;
use crate::protocol::{Reject, TagStyles};
use crate::query::{Engine, Source};
use crate::store::{self, FsBackend, Recovered, Store};
use crate::telemetry::{Counter, Family, FamilyKind, Telemetry, Transport};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc as async_mpsc, watch};

/// How often the store tidies up and drops old blocks.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(60);
/// A flush waits so long for the rules, and half a window at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the kernel is asked for its drops.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
    #[error("{0}")]
    Store(#[from] store::Error),
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
    udp_addresses: Vec<SocketAddr>,
    telemetry: Arc<Telemetry>,
    ready: watch::Sender<bool>,
    stop_receiving: Arc<AtomicBool>,
    receivers: Vec<Receiver>,
    stop_http: watch::Sender<bool>,
    http: tokio::task::JoinHandle<()>,
    reload_requests: async_mpsc::Receiver<ReloadRequest>,
    reloadable: Reloadable,
    alerting: Arc<Alerting>,
    flushed: Arc<Mutex<Option<watch::Sender<i64>>>>,
    stop_flusher: mpsc::Sender<()>,
    flusher: JoinHandle<()>,
    stop_keeper: mpsc::Sender<()>,
    keeper: JoinHandle<()>,
    stop_markers: mpsc::Sender<()>,
    markers: JoinHandle<()>,
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
}

impl Daemon {
    /// Starts everything: when this returns, packets are taken and requests
    /// are answered. Call it within a tokio runtime.
    pub async fn start(config: Config, reload: Reload, clock: Arc<dyn Clock>) -> Result<Daemon, Error> {
        let now_ms = clock.now_ms();
        let telemetry = Arc::new(Telemetry::default());
        // Ports first: a second daemon shall not touch the store. And HTTP's
        // before all, which is never shared: UDP sockets that share their port
        // would take packets away from the daemon that runs.
        let http_error = |source| Error::Bind { address: format!("http://{}", config.http.address), source };
        let http_listener = TcpListener::bind(config.http.address).await.map_err(http_error)?;
        let http_address = http_listener.local_addr().map_err(http_error)?;
        let mut bound = Vec::new();
        for listener in &config.listeners {
            let address = format!("udp://{}", listener.socket.address);
            bound.push(receive::bind(listener).map_err(|source| Error::Bind { address, source })?);
        }
        let udp_addresses: Vec<SocketAddr> = bound.iter().map(|bound| bound.address).collect();

        let (store, recovered) = open_store(&config, now_ms)?;
        let registry = Arc::new(Registry::new(config.series_max));
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

        let mut tables = Vec::new();
        let (events, waiting) = mpsc::sync_channel(marker_writer::WAITING_MAX);
        let mut new_table = |transport, tag_styles| {
            let table = Table::new(config.table, registry.clone(), telemetry.clone(), transport)
                .with_tag_styles(tag_styles)
                .with_window(config.windows.interval_ms)
                .with_markers(events.clone());
            let table = Arc::new(Mutex::new(table));
            tables.push(table.clone());
            table
        };
        let http_table = new_table(Transport::Http, TagStyles::NONE);
        let stop_receiving = Arc::new(AtomicBool::new(false));
        let rejects = Arc::new(RejectLog::default());
        let mut receivers = Vec::new();
        for (bound, listener) in bound.into_iter().zip(&config.listeners) {
            let table = || new_table(Transport::Udp, listener.tag_styles);
            receivers.extend(receive::start(bound, &telemetry, &clock, &rejects, &stop_receiving, table)?);
        }

        let source: Arc<dyn Source> = store.clone();
        let engine = Engine::new(source.clone(), crate::query::Options::default());
        // 0 until the first window is closed.
        let (flushed, follows) = watch::channel(0);
        let flushed = Arc::new(Mutex::new(Some(flushed)));
        let health_follows = follows.clone();
        let (stop_flusher, flusher_stops) = mpsc::channel();
        let flusher = Flusher {
            clock: clock.clone(),
            interval: Duration::from_millis(config.windows.interval_ms as u64),
            tables,
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
            unnamed: Vec::new(),
        };
        let flusher =
            std::thread::Builder::new().name("flush".into()).spawn(move || flusher.run(&flusher_stops))?;

        let keeper = Keeper {
            clock: clock.clone(),
            store,
            windows: windows.clone(),
            registry,
            telemetry: telemetry.clone(),
            watched: receivers.iter().map(|receiver| receiver.watched.clone()).collect(),
            retention_ms: config.retention_ms,
        };
        add_store_figures(&telemetry, &keeper.store);
        let (stop_keeper, keeper_stops) = mpsc::channel();
        let keeper =
            std::thread::Builder::new().name("keeper".into()).spawn(move || keeper.run(&keeper_stops))?;

        let marker_writer = MarkerWriter {
            store: alerting.store(),
            clock: clock.clone(),
            waiting,
            retention_ms: config.retention_ms,
        };
        let (stop_markers, markers_stop) = mpsc::channel();
        let markers = std::thread::Builder::new()
            .name("markers".into())
            .spawn(move || marker_writer.run(&markers_stop))?;

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
                let (telemetry, udp) = (telemetry.clone(), udp_addresses.clone());
                Arc::new(move || intake(&telemetry, &udp))
            },
            flushed: follows,
        };
        let pages = Arc::new(PageState::new(parts, config.views.clone()));

        let (ready, is_ready) = watch::channel(true);
        let (reload_sender, reload_requests) = async_mpsc::channel(1);
        let parts = Parts {
            guard: Guard { auth: auth.clone(), clock: clock.clone(), telemetry: telemetry.clone() },
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
            markers: Arc::new(MarkersState {
                store: alerting.store(),
                auth: auth.clone(),
                clock: clock.clone(),
                retention_ms: config.retention_ms,
            }),
            scrape: Arc::new(ScrapeState::new(windows, source, telemetry.clone())),
            api: Arc::new(ApiState::new(engine, clock)),
            alerts: alerting.state.clone(),
            pages: pages.clone(),
            health: Arc::new(HealthState { ready: is_ready, flushed: health_follows, reload: reload_sender }),
        };
        let (stop_http, http_stops) = watch::channel(false);
        let options =
            server::Options { connections_max: config.http.connections_max, ..server::Options::default() };
        let serving = server::serve(http_listener, router::router(parts), options, http_stops);
        let http = tokio::spawn(serving);
        Ok(Daemon {
            http_address,
            udp_addresses,
            telemetry: telemetry.clone(),
            ready,
            stop_receiving,
            receivers,
            stop_http,
            http,
            reload_requests,
            reloadable: Reloadable {
                reload,
                http_address,
                auth,
                signing_key,
                alerting: alerting.clone(),
                pages,
                telemetry,
            },
            alerting,
            flushed,
            stop_flusher,
            flusher,
            stop_keeper,
            keeper,
            stop_markers,
            markers,
        })
    }

    /// Where HTTP is answered; of use when port 0 was asked for.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where packets are taken, in the order of the config.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp_addresses
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
        self.stop_receiving.store(true, Ordering::Release);
        let receivers = self.receivers;
        let joined = tokio::task::spawn_blocking(move || {
            // All are waited for, whatever becomes of one; and what the kernel
            // dropped up to the end is in the last window's books.
            let joined = receivers.into_iter().map(|receiver| {
                let joined = receiver.thread.join().is_ok();
                receiver.watched.look();
                joined
            });
            joined.filter(|joined| !joined).count() == 0
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a receiving thread ended by a panic");
        }
        let (stop_flusher, flusher) = (self.stop_flusher, self.flusher);
        let (stop_keeper, keeper) = (self.stop_keeper, self.keeper);
        let (stop_markers, markers) = (self.stop_markers, self.markers);
        let joined = tokio::task::spawn_blocking(move || {
            drop(stop_markers);
            drop(stop_keeper);
            drop(stop_flusher);
            let others = markers.join().is_ok() & keeper.join().is_ok();
            flusher.join().is_ok() && others
        });
        if !joined.await.unwrap_or(false) {
            tracing::error!("a thread ended by a panic");
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
                tracing::info!("config reloaded: tokens, views, rules and receivers");
            }
            Err(error) => {
                self.telemetry.config_reload_failures.add(1);
                tracing::error!(error, "the new config is not taken; the old one goes on");
            }
        }
        reloaded
    }

    /// All or nothing: what can fail comes first.
    async fn take(&mut self, config: Config) -> Result<(), alerting::Error> {
        let auth = new_auth(&config, self.http_address, &self.signing_key);
        self.alerting.replace(config.rules, config.receivers).await?;
        self.auth.store(Arc::new(auth));
        self.pages.views.store(Arc::new(config.views));
        Ok(())
    }
}

/// Keeps the house: old blocks go, forgotten series go, the kernel's figures
/// come into the books.
struct Keeper {
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    windows: Arc<Mutex<Windows>>,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    watched: Vec<Watched>,
    retention_ms: i64,
}

impl Keeper {
    fn run(self, stop: &mpsc::Receiver<()>) {
        let mut until_maintenance = Duration::ZERO;
        loop {
            self.watched.iter().for_each(Watched::look);
            if until_maintenance.is_zero() {
                self.maintain();
                until_maintenance = MAINTENANCE_INTERVAL;
            }
            match stop.recv_timeout(WATCH_INTERVAL) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            until_maintenance = until_maintenance.saturating_sub(WATCH_INTERVAL);
        }
    }

    fn maintain(&self) {
        let now_ms = self.clock.now_ms();
        // Before the store forgets them, so that one that returns is named anew.
        lock(&self.windows).forget(now_ms - self.retention_ms, &self.registry);
        match self.store.maintain(now_ms) {
            Ok(done) if done != store::Maintained::default() => {
                tracing::info!(written = done.blocks_written, dropped = done.blocks_dropped, "blocks");
            }
            Ok(_) => {}
            Err(error) => {
                self.telemetry.store_errors.add(1);
                tracing::error!(%error, "the store could not tidy up; will be tried again");
            }
        }
    }
}

fn add_store_figures(telemetry: &Telemetry, store: &Arc<Store>) {
    let store = store.clone();
    telemetry.add_figures(move || {
        let stats = store.stats();
        let family =
            |name, kind, help, value: u64| Family { name, kind, help, samples: vec![(vec![], value as f64)] };
        use FamilyKind::{Counter, Gauge};
        vec![
            family("statsdeck_store_wal_bytes", Gauge, "Size of the write-ahead log.", stats.wal_bytes),
            family("statsdeck_store_block_bytes", Gauge, "Size of the blocks.", stats.block_bytes),
            family("statsdeck_store_blocks", Gauge, "Blocks on disk.", stats.blocks),
            family("statsdeck_store_series", Gauge, "Series that have points anywhere.", stats.series),
            family(
                "statsdeck_store_head_bytes",
                Gauge,
                "Memory of the points that are not in a block yet.",
                stats.head_bytes,
            ),
            family(
                "statsdeck_store_frames_lost_total",
                Counter,
                "Acknowledged windows that could not be read at the start.",
                stats.frames_lost,
            ),
            family(
                "statsdeck_store_tails_cut_total",
                Counter,
                "Unfinished writes cut away at the start.",
                stats.tails_cut,
            ),
            family(
                "statsdeck_store_blocks_lost_total",
                Counter,
                "Blocks that could not be opened; their files are left alone.",
                stats.blocks_lost,
            ),
            family(
                "statsdeck_store_chunks_lost_total",
                Counter,
                "Chunks that could not be read.",
                stats.chunks_lost,
            ),
            family(
                "statsdeck_store_samples_refused_total",
                Counter,
                "Samples that had no place in the store.",
                stats.samples_refused,
            ),
        ]
    });
}

fn open_store(config: &Config, now_ms: i64) -> Result<(Arc<Store>, Recovered), Error> {
    let options = store::Options::new(&config.data_dir).with_retention(config.retention_ms);
    let (store, recovered) = Store::open(options, FsBackend, now_ms)?;
    let stats = store.stats();
    tracing::info!(
        data_dir = %config.data_dir.display(),
        series = recovered.series.len(),
        frames_lost = stats.frames_lost,
        blocks_lost = stats.blocks_lost,
        "store open"
    );
    Ok((Arc::new(store), recovered))
}

/// Windows and registry as the store remembers them.
fn resume(
    config: &Config,
    telemetry: &Arc<Telemetry>,
    registry: &Registry,
    recovered: Recovered,
    now_ms: i64,
) -> Windows {
    let names = recovered.series.iter().map(|series| (series.id, series.key.clone()));
    registry.restore(names, recovered.next_id);
    let known = recovered.series.into_iter().map(|series| Known {
        id: series.id,
        ended: series.ended,
        last_ms: series.last_ms,
        last: series.last,
        key: series.key,
    });
    let last_end_ms = recovered.last_end_ms.unwrap_or(now_ms).max(now_ms);
    let windows = Windows::new(config.windows, telemetry.clone(), known.collect(), last_end_ms);
    // Those that ended make room from the first window on.
    registry.note_ended(windows.ended());
    windows
}

/// What came in since the start.
fn intake(telemetry: &Telemetry, udp: &[SocketAddr]) -> Intake {
    let rejected =
        Reject::ALL.iter().map(|reject| (*reject, telemetry.lines_rejected[*reject as usize].value()));
    Intake {
        received: telemetry.lines_received.iter().map(Counter::value).sum(),
        rejected: rejected
            .filter(|(_, lines)| *lines > 0)
            .map(|(reject, lines)| (reject.explanation().to_owned(), lines))
            .collect(),
        udp: udp.iter().map(SocketAddr::to_string).collect(),
    }
}

/// `bound` is where HTTP is answered in fact: a config read anew may name
/// another address, which only the next start brings.
fn new_auth(config: &Config, bound: SocketAddr, signing_key: &[u8]) -> Auth {
    let open = config.http.open && config.http.tokens.is_empty();
    let closed = !bound.ip().is_loopback() && !open;
    Auth::new(config.http.tokens.clone(), closed, signing_key)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
