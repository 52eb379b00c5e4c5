//! What HTTP answers from, made of the core.

use super::admin_port;
use super::core::Core;
use super::intake::intake;
use super::kernel_drops::Watched;
use super::notices::notices;
use crate::admin::AdminState;
use crate::aggregate::{SampleTable, Table};
use crate::config::Config;
use crate::http::api::health::{HealthState, ReloadRequest};
use crate::http::api::ingest::IngestState;
use crate::http::api::markers::MarkersState;
use crate::http::api::write::WriteState;
use crate::http::api::{ApiState, Settings};
use crate::http::cors::Cors;
use crate::http::guard::Guard;
use crate::http::makers::Makers;
use crate::http::page::{PageParts, PageState};
use crate::http::router::Parts;
use crate::http::scrape::ScrapeState;
use crate::ingest::Address;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// What the answers are about beside the core.
pub(super) struct Served {
    /// Lines and samples posted go in here.
    pub table: Arc<Mutex<Table>>,
    pub samples: Arc<Mutex<SampleTable>>,
    /// Every table by the listener it belongs to.
    pub sources: Vec<(String, Arc<Mutex<Table>>)>,
    pub addresses: Vec<Address>,
    pub watched: Vec<Arc<Watched>>,
    /// The end of the last window flushed; 0 before the first.
    pub flushed: watch::Receiver<i64>,
    pub ready: watch::Receiver<bool>,
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Taken out of service by hand.
    pub down: Arc<AtomicBool>,
}

impl Core {
    pub fn admin_state(&self, config: &Config, down: Arc<AtomicBool>) -> AdminState {
        AdminState {
            windows: self.windows.clone(),
            registry: self.registry.clone(),
            telemetry: self.telemetry.clone(),
            started_ms: self.clock.now_ms(),
            clock: self.clock.clone(),
            down,
            config: admin_port::shown(config),
            counts: Arc::default(),
        }
    }

    /// The parts of the whole surface.
    pub fn http_parts(&self, config: &Config, served: Served) -> Parts {
        let makers = Arc::new(Makers::new(
            self.windows.clone(),
            self.registry.clone(),
            self.telemetry.clone(),
            self.clock.clone(),
            served.sources.clone(),
        ));
        let pages = PageState::new(self.page_parts(config, &served, makers.clone()), config.views.clone());
        let guard = Guard {
            auth: self.auth.clone(),
            clock: self.clock.clone(),
            telemetry: self.telemetry.clone(),
            cors: Cors::new(config.http.cors_origin.as_deref()),
        };
        let markers = MarkersState {
            store: self.alerting.store(),
            auth: self.auth.clone(),
            clock: self.clock.clone(),
            retention_ms: config.retention_ms,
        };
        let scrape = ScrapeState::new(
            self.windows.clone(),
            self.registry.clone(),
            self.store.clone(),
            self.telemetry.clone(),
            served.flushed.clone(),
        );
        let health = HealthState {
            ready: served.ready,
            flushed: served.flushed,
            reload: served.reload,
            down: served.down,
            telemetry: self.telemetry.clone(),
            clock: self.clock.clone(),
        };
        Parts {
            guard,
            ingest: Arc::new(self.ingest(config, served.table)),
            write: Arc::new(self.write(config, served.samples)),
            markers: Arc::new(markers),
            scrape: Arc::new(scrape),
            api: self.api(config),
            makers,
            alerts: self.alerting.state.clone(),
            pages: Arc::new(pages),
            health: Arc::new(health),
        }
    }

    fn api(&self, config: &Config) -> Arc<ApiState> {
        let api = ApiState::new(self.engine.clone(), self.clock.clone(), config.query.bounds);
        let api = Arc::new(api.with_settings(Settings {
            interval_ms: config.windows.interval_ms,
            retention_ms: config.retention_ms,
            max_bytes: config.max_bytes,
            started_ms: self.clock.now_ms(),
        }));
        api.expose(&self.telemetry);
        api
    }

    fn ingest(&self, config: &Config, table: Arc<Mutex<Table>>) -> IngestState {
        let rejects = self.rejects.clone();
        IngestState {
            table,
            limits: config.table,
            refused: Arc::new(move |now_ms, item, refusal| {
                rejects.note(now_ms, "http", item.as_bytes(), refusal);
            }),
            telemetry: self.telemetry.clone(),
            auth: self.auth.clone(),
            clock: self.clock.clone(),
        }
    }

    fn write(&self, config: &Config, samples: Arc<Mutex<SampleTable>>) -> WriteState {
        let rejects = self.rejects.clone();
        WriteState {
            samples,
            limits: config.table,
            interval_ms: config.windows.interval_ms,
            store: self.store.clone(),
            refused: Arc::new(move |now_ms, series, refusal| {
                rejects.note(now_ms, "remote write", series.as_bytes(), refusal);
            }),
            telemetry: self.telemetry.clone(),
            auth: self.auth.clone(),
            clock: self.clock.clone(),
            turns: WriteState::turns(),
        }
    }

    fn page_parts(&self, config: &Config, served: &Served, makers: Arc<Makers>) -> PageParts {
        let (telemetry, clock) = (self.telemetry.clone(), self.clock.clone());
        let (addresses, watched) = (served.addresses.clone(), served.watched.clone());
        let (notice_telemetry, notice_clock) = (telemetry.clone(), clock.clone());
        let (alerting, markers) = (self.alerting.clone(), self.alerting.store());
        PageParts {
            engine: self.engine.clone(),
            clock: self.clock.clone(),
            calendar: config.http.calendar.clone(),
            window_ms: config.windows.interval_ms,
            alerts: Arc::new(move || alerting.rows()),
            markers: Arc::new(move |start_ms, end_ms, limit| {
                markers.markers(start_ms, end_ms, limit).map_err(|error| error.to_string())
            }),
            intake: Arc::new(move || intake(&telemetry, &addresses, &watched, clock.now_ms())),
            notices: Arc::new(move || notices(&notice_telemetry, notice_clock.now_ms())),
            makers: Some(makers),
            flushed: served.flushed.clone(),
        }
    }
}
