//! What most parts of a running daemon hold, and the parts that run on threads
//! of their own made from it.

use super::alerting::Alerting;
use super::error::Error;
use super::evaluator::Evaluator;
use super::flusher::Flusher;
use super::keeper::Keeper;
use super::marker_writer::MarkerWriter;
use super::recovery;
use super::reject_log::RejectLog;
use super::secret_file;
use super::self_metrics::SelfMetrics;
use crate::aggregate::{Quotas, Registry, SampleTable, Table, Windows};
use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::auth::Auth;
use crate::model::Marker;
use crate::protocol::TagStyles;
use crate::query::Engine;
use crate::store::Store;
use crate::telemetry::{Telemetry, Transport};
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tokio::sync::watch;

/// A flush waits so long for the rules, and half a window at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// The parts that many share.
pub(super) struct Core {
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<Telemetry>,
    pub registry: Arc<Registry>,
    pub windows: Arc<Mutex<Windows>>,
    pub store: Arc<Store>,
    pub engine: Engine,
    pub alerting: Arc<Alerting>,
    pub rejects: Arc<RejectLog>,
    pub auth: Arc<ArcSwap<Auth>>,
    /// What shared links are signed with.
    pub signing_key: Vec<u8>,
}

/// The end of the last window that was flushed; none once the daemon stops.
pub(super) type Flushed = Arc<Mutex<Option<watch::Sender<i64>>>>;

impl Core {
    /// Opens the store and goes on where the last daemon on it ended.
    pub fn open(config: &Config, clock: Arc<dyn Clock>, http_address: SocketAddr) -> Result<Core, Error> {
        let now_ms = clock.now_ms();
        let telemetry = Arc::new(Telemetry::default());
        let catalogue = Arc::new(Catalogue::new(config.series_max));
        let (store, recovered) = recovery::open_store(config, catalogue.clone(), now_ms)?;
        let registry = Arc::new(Registry::new(catalogue).with_quotas(Quotas::new(&config.prefixes)));
        let windows = recovery::resume(config, &telemetry, &registry, recovered, now_ms);
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
        Ok(Core {
            engine: Engine::new(store.clone(), config.query.options),
            auth: Arc::new(ArcSwap::from_pointee(new_auth(config, http_address, &signing_key))),
            windows: Arc::new(Mutex::new(windows)),
            rejects: Arc::default(),
            clock,
            telemetry,
            registry,
            store,
            alerting,
            signing_key,
        })
    }

    /// A table for what comes in by `transport`, which the flusher is to be given.
    pub fn table(
        &self,
        config: &Config,
        transport: Transport,
        tag_styles: TagStyles,
        markers: mpsc::SyncSender<Marker>,
    ) -> Arc<Mutex<Table>> {
        let mut table = Table::new(config.table, self.registry.clone(), self.telemetry.clone(), transport)
            .with_tag_styles(tag_styles)
            .with_window(config.windows.interval_ms, config.lateness_ms)
            .with_markers(markers);
        let mapper = &config.mapping.mapper;
        table.set_mapper((!mapper.is_empty()).then(|| mapper.clone()));
        Arc::new(Mutex::new(table))
    }

    pub fn flusher(
        &self,
        config: &Config,
        tables: Vec<Arc<Mutex<Table>>>,
        samples: Arc<Mutex<SampleTable>>,
        flushed: Flushed,
    ) -> io::Result<Flusher> {
        let interval = Duration::from_millis(config.windows.interval_ms.unsigned_abs());
        let (alerting, engine, counts) =
            (self.alerting.clone(), self.engine.clone(), self.alerting.counters());
        let evaluator = Evaluator::start(PATIENCE.min(interval / 2), move |end_ms| {
            alerting.evaluate(end_ms, &engine);
        })?;
        Ok(Flusher {
            clock: self.clock.clone(),
            interval,
            tables,
            samples,
            registry: self.registry.clone(),
            windows: self.windows.clone(),
            store: self.store.clone(),
            telemetry: self.telemetry.clone(),
            flushed,
            after: Box::new(move |end_ms| {
                if !evaluator.evaluate(end_ms) {
                    counts.note_missed();
                }
            }),
            own: SelfMetrics::default(),
            waiting: VecDeque::new(),
        })
    }

    pub fn keeper(&self, config: &Config) -> Keeper {
        Keeper {
            clock: self.clock.clone(),
            store: self.store.clone(),
            windows: self.windows.clone(),
            registry: self.registry.clone(),
            telemetry: self.telemetry.clone(),
            retention_ms: config.retention_ms,
            block_span: Duration::from_millis(config.block_span_ms.unsigned_abs()),
        }
    }

    pub fn marker_writer(&self, config: &Config, waiting: mpsc::Receiver<Marker>) -> MarkerWriter {
        MarkerWriter {
            store: self.alerting.store(),
            clock: self.clock.clone(),
            waiting,
            retention_ms: config.retention_ms,
        }
    }
}

/// `bound` is where HTTP is answered in fact: a config read anew may name
/// another address, which only the next start brings.
pub(super) fn new_auth(config: &Config, bound: SocketAddr, signing_key: &[u8]) -> Auth {
    let open = config.http.open && config.http.tokens.is_empty();
    let closed = !bound.ip().is_loopback() && !open;
    Auth::new(config.http.tokens.clone(), closed, signing_key)
}
