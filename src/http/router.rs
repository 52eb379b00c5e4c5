//! All routes, and who may use them.

use super::api;
use super::api::alerts::{self, AlertsState};
use super::api::health::{self, HealthState};
use super::api::ingest::{self, IngestState};
use super::api::markers::{self, MarkersState};
use super::api::sending;
use super::api::write::{self, WriteState};
use super::cors;
use super::guard::{self, Guard};
use super::gzip::{self, Gzip};
use super::makers::Makers;
use super::page::{self, PageState};
use super::scrape::{self, ScrapeState};
use axum::{Router, middleware};
use std::sync::Arc;

/// What the routes are made from.
pub struct Parts {
    pub guard: Guard,
    pub ingest: Arc<IngestState>,
    pub write: Arc<WriteState>,
    pub markers: Arc<MarkersState>,
    pub scrape: Arc<ScrapeState>,
    pub api: Arc<api::ApiState>,
    pub makers: Arc<Makers>,
    pub alerts: Arc<AlertsState>,
    pub pages: Arc<PageState>,
    pub health: Arc<HealthState>,
}

/// The router of the whole surface.
pub fn router(parts: Parts) -> Router {
    let guard = parts.guard;
    let sending = Arc::clone(&parts.api.sending);
    let calls = Router::new()
        .merge(api::router().with_state(parts.api))
        .merge(api::top::router(parts.makers))
        .merge(alerts::router().with_state(parts.alerts))
        .merge(markers::router().with_state(parts.markers.clone()))
        .layer(middleware::from_fn_with_state(Gzip::default(), gzip::layer))
        .layer(middleware::from_fn_with_state(sending, sending::layer))
        .layer(middleware::from_fn_with_state(guard.clone(), guard::read))
        // Before the tokens are asked for: a browser has none yet.
        .layer(middleware::from_fn_with_state(guard.cors.clone(), cors::layer));
    let pages = Router::new()
        .merge(scrape::router(parts.scrape))
        .merge(page::router().with_state(parts.pages))
        .layer(middleware::from_fn_with_state(guard.clone(), guard::read));
    let settings = health::reload_router(parts.health.clone())
        .layer(middleware::from_fn_with_state(guard.clone(), guard::admin));
    Router::new()
        .merge(calls)
        .merge(pages)
        .merge(settings)
        // Senders present their token to the handler, whose answers are JSON.
        .merge(ingest::router(parts.ingest))
        .merge(write::router(parts.write))
        .merge(markers::write_router().with_state(parts.markers))
        .merge(health::router(parts.health))
        .layer(middleware::from_fn_with_state(guard, guard::every))
}
